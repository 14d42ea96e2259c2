"""Schemas, rows, rights and crashes at random, held against a model: equal every time."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from flux.table.v1 import grant_pb2, table_pb2
from flux.table.v1 import row_service_pb2 as rows
from flux.table.v1 import table_service_pb2 as tables
from tests.table_service.killed_service import KilledService
from tests.table_service.row_calls import col, json_rows, selection
from tests.table_service.serving import Kind, new_request_id
from tests.table_service.table_draws import draw_cell, draw_operation, equal, numbers, texts
from tests.table_service.table_model import Code, ModelColumn, ModelTable, Refused

NAMES = ("alpha", "beta")
OTHER_RIGHTS = {"READ": grant_pb2.RIGHT_READ, "INSERT": grant_pb2.RIGHT_INSERT}

# Before which statement of a call the process is killed; most calls are left alone.
kills = st.sampled_from([None] * 12 + [0, 2, 5])


class Tables(RuleBasedStateMachine):
    """One service on one folder, killed and started again, and what it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.service = KilledService()
        self.model: dict[str, ModelTable] = {}
        self.deleted: list[tuple[str, ModelTable]] = []
        self.answered: list[tuple[str, Any, Any]] = []

    @initialize()
    def start(self) -> None:
        self.service.start()

    def change(
        self,
        method: str,
        request: Any,
        expected: Callable[[], Callable[[Any], None]],
        kill: int | None,
    ) -> None:
        """Make a call that changes something, killed on the way or not, and do the same to the model."""
        request.request_id = new_request_id()
        codes: tuple[grpc.StatusCode | None, ...] = (None,)
        then: Callable[[Any], None] | None = None
        try:
            then = expected()
        except Refused as refused:
            codes = refused.codes
        answer, code = self.service.attempt(method, request, kill)
        assert code in codes, (method, request, code, codes)
        if then is not None:
            then(answer)
            # What changes nothing has no receipt.
            if not getattr(request, "validate_only", False):
                self.answered.append((method, request, answer))

    def table(self, data: st.DataObject) -> tuple[str, ModelTable]:
        name = data.draw(st.sampled_from(sorted(self.model)))
        return name, self.model[name]

    def some_values(self, data: st.DataObject, table: ModelTable, *needed: str) -> dict[str, Any]:
        """Return values for some of the columns."""
        return {
            column.name: data.draw(texts if column.text else numbers)
            for column in table.columns
            if column.name in needed or data.draw(st.integers(0, 3))
        }

    # ---- tables ------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), kill=kills)
    def create_table(self, name: str, kill: int | None) -> None:
        table = table_pb2.Table(
            name=name,
            columns=[
                col("key", Kind.KIND_STRING, not_null=True),
                col("size", Kind.KIND_INT64, default=3),
            ],
            unique_keys=[table_pb2.UniqueKey(name="by_key", columns=["key"])],
            checks=[table_pb2.Check(name="size_check", expression="size >= 0")],
        )

        def expected() -> Callable[[Any], None]:
            if name in self.model:
                raise Refused(Code.ALREADY_EXISTS)

            def then(answer: Any) -> None:
                self.model[name] = ModelTable(
                    id=answer.table.id,
                    columns=[
                        ModelColumn(name="key", text=True, not_null=True),
                        ModelColumn(name="size", text=False, default=3),
                    ],
                    keys={"by_key": ("key",)},
                    positive={"size_check": "size"},
                )

            return then

        self.change("CreateTable", tables.CreateTableRequest(table=table), expected, kill)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), kill=kills)
    def delete_table(self, data: st.DataObject, kill: int | None) -> None:
        name, _ = self.table(data)

        def then(_: Any) -> None:
            self.deleted.append((name, self.model.pop(name)))

        self.change("DeleteTable", tables.DeleteTableRequest(table=name), lambda: then, kill)

    @precondition(lambda self: self.deleted)
    @rule(data=st.data(), kill=kills)
    def undelete_table(self, data: st.DataObject, kill: int | None) -> None:
        at = data.draw(st.integers(0, len(self.deleted) - 1))
        name, table = self.deleted[at]

        def expected() -> Callable[[Any], None]:
            if name in self.model:
                raise Refused(Code.ALREADY_EXISTS)

            def then(_: Any) -> None:
                del self.deleted[at]
                self.model[name] = table

            return then

        request = tables.UndeleteTableRequest(table_id=table.id)
        self.change("UndeleteTable", request, expected, kill)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), kill=kills, validate_only=st.booleans())
    def alter_table(self, data: st.DataObject, kill: int | None, validate_only: bool) -> None:
        name, table = self.table(data)
        after = table.copied()
        operations = [
            operation
            for _ in range(data.draw(st.integers(1, 3)))
            if (operation := draw_operation(data, after)) is not None
        ]
        if not operations:
            return

        def expected() -> Callable[[Any], None]:
            def blocked(answer: Any) -> None:
                assert answer.plan.obstacles

            if after.blocked_by_rows():
                if validate_only:
                    return blocked
                raise Refused(Code.FAILED_PRECONDITION)

            def then(answer: Any) -> None:
                assert not answer.plan.obstacles
                assert [column.name for column in answer.table.columns] == after.names()
                if not validate_only:
                    # What changes nothing makes no version; a column that goes and comes is another one.
                    same = (after.columns, after.keys) == (table.columns, table.keys)
                    made = answer.table.schema_version - table.schema_version
                    assert made in ((0, 1) if same and after.positive == table.positive else (1,))
                    after.schema_version = table.schema_version + made
                    self.model[name] = after

            return then

        request = tables.AlterTableRequest(
            table=name, operations=operations, validate_only=validate_only
        )
        self.change("AlterTable", request, expected, kill)

    # ---- rows --------------------------------------------------------------------------------------

    @precondition(lambda self: self.model)
    @rule(data=st.data(), count=st.integers(1, 4), kill=kills)
    def insert_rows(self, data: st.DataObject, count: int, kill: int | None) -> None:
        name, table = self.table(data)
        given = [self.some_values(data, table) for _ in range(count)]

        def expected() -> Callable[[Any], None]:
            new = table.inserted(given)
            return lambda answer: table.insert(new, answer.row_ids)

        request = rows.InsertRowsRequest(table=name, rows=json_rows(*given))
        self.change("InsertRows", request, expected, kill)

    @precondition(lambda self: any(table.keys for table in self.model.values()))
    @rule(data=st.data(), count=st.integers(1, 3), kill=kills)
    def upsert_rows(self, data: st.DataObject, count: int, kill: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, t in self.model.items() if t.keys)))
        table = self.model[name]
        key = data.draw(st.sampled_from(sorted(table.keys)))
        given = [self.some_values(data, table, *table.keys[key]) for _ in range(count)]
        if any(row[column] is None for row in given for column in table.keys[key]):
            return

        def expected() -> Callable[[Any], None]:
            changed, new, ids = table.upserted(key, given)

            def then(answer: Any) -> None:
                assert list(answer.created) == [id_ is None for id_ in ids]
                created = [id_ for id_, had in zip(answer.row_ids, ids, strict=True) if had is None]
                assert all(
                    given_id == id_
                    for given_id, id_ in zip(answer.row_ids, ids, strict=True)
                    if id_ is not None
                )
                table.rows.update(changed)
                table.insert(new, created)

            return then

        request = rows.UpsertRowsRequest(table=name, key=key, rows=json_rows(*given))
        self.change("UpsertRows", request, expected, kill)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), most=st.none() | st.integers(0, 2), kill=kills)
    def update_rows(self, data: st.DataObject, most: int | None, kill: int | None) -> None:
        name, table = self.table(data)
        column, value = draw_cell(data, table)
        changes = self.some_values(data, table)
        if not changes:
            return

        def expected() -> Callable[[Any], None]:
            # The values are looked at before any row.
            table.check_values(changes)
            if most is not None and len(table.having(column, value)) > most:
                raise Refused(Code.FAILED_PRECONDITION)
            changed = table.updated(column, value, changes)

            def then(answer: Any) -> None:
                assert answer.updated_count == len(changed)
                table.rows.update(changed)

            return then

        request = rows.UpdateRowsRequest(
            table=name,
            selection=selection(equal(column, value), most=most),
            values=json_rows(changes),
        )
        self.change("UpdateRows", request, expected, kill)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), kill=kills)
    def delete_rows(self, data: st.DataObject, kill: int | None) -> None:
        name, table = self.table(data)
        column, value = draw_cell(data, table)

        def then(answer: Any) -> None:
            gone = table.having(column, value)
            assert answer.deleted_count == len(gone)
            for row_id in gone:
                del table.rows[row_id]

        request = rows.DeleteRowsRequest(table=name, selection=selection(equal(column, value)))
        self.change("DeleteRows", request, lambda: then, kill)

    @precondition(lambda self: any(table.rows for table in self.model.values()))
    @rule(data=st.data(), stale=st.booleans(), kill=kills)
    def transact(self, data: st.DataObject, stale: bool, kill: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, t in self.model.items() if t.rows)))
        table = self.model[name]
        row_id = data.draw(st.sampled_from(sorted(table.rows)))
        given = self.some_values(data, table)
        version = table.rows[row_id].version + stale

        def expected() -> Callable[[Any], None]:
            without = table.copied()
            del without.rows[row_id]
            try:
                new = without.inserted([given])
            except Refused as refused:
                # With two things wrong, either may be told.
                raise Refused(*refused.codes, *([Code.ABORTED] if stale else [])) from None
            if stale:
                raise Refused(Code.ABORTED)

            def then(answer: Any) -> None:
                del table.rows[row_id]
                table.insert(new, answer.results[1].row_ids)

            return then

        gone, come = rows.Mutation(), rows.Mutation()
        gone.delete.table, gone.delete.row_id = name, row_id
        gone.delete.expected_version = version
        come.insert.table = name
        come.insert.rows.CopyFrom(json_rows(given))
        self.change("Transact", rows.TransactRequest(mutations=[gone, come]), expected, kill)

    # ---- rights, retries, crashes ------------------------------------------------------------------

    @precondition(lambda self: self.model)
    @rule(data=st.data(), right=st.sampled_from(sorted(OTHER_RIGHTS)), grants=st.booleans())
    def grant_or_revoke(self, data: st.DataObject, right: str, grants: bool) -> None:
        name, table = self.table(data)
        grant = grant_pb2.Grant(user_id="usr_2", rights=[OTHER_RIGHTS[right]])
        message = tables.GrantAccessRequest if grants else tables.RevokeAccessRequest
        method = "GrantAccess" if grants else "RevokeAccess"
        self.service.call(method, message(table=name, grant=grant))
        held = table.grants.setdefault("usr_2", set())
        (held.add if grants else held.discard)(right)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def other_reads(self, data: st.DataObject) -> None:
        name, table = self.table(data)
        held = table.grants.get("usr_2", set())
        wanted = Code.NOT_FOUND if not held else Code.PERMISSION_DENIED
        code = None
        try:
            self.service.call("ListRows", rows.ListRowsRequest(table=name), other=True)
        except grpc.aio.AioRpcError as error:
            code = error.code()
        assert code is (None if "READ" in held else wanted)

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        method, request, answer = data.draw(st.sampled_from(self.answered[-8:]))
        assert self.service.call(method, request) == answer

    @rule()
    def crash(self) -> None:
        self.service.crash()
        self.look()

    def look(self) -> None:
        """Compare every row of every table."""
        for name, table in self.model.items():
            columns = ", ".join('"' + c.replace('"', '""') + '"' for c in table.names())
            sql = f"SELECT _row_id, _version, {columns} FROM {name} ORDER BY _row_id"
            found = self.service.values(sql)
            assert found == [
                (row_id, row.version, *(row.values[c] for c in table.names()))
                for row_id, row in sorted(table.rows.items())
            ]

    def teardown(self) -> None:
        try:
            if self.service.started:
                self.look()
        finally:
            self.service.close()


TestTables = pytest.mark.timeout(600)(Tables.TestCase)
TestTables.settings = settings(
    # The same few each time; whoever looks for more says how many.
    max_examples=int(os.environ.get("FLUX_MACHINE_EXAMPLES", "5")),
    derandomize="FLUX_MACHINE_EXAMPLES" not in os.environ,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # To shorten a failure would start the service hundreds of times.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
