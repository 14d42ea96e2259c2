"""Rows against a model in plain Python, through real servicers, whatever comes in whatever order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import grpc
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chassis.values import from_value
from flux.table.v1 import row_service_pb2
from tests.table_service import row_calls as calls
from tests.table_service.row_calls import ALL_OR_NOTHING, PER_ROW, Mutation, Precondition
from tests.table_service.row_model import COLUMNS, Goods, Stored, Values, has_twice
from tests.table_service.serving import Client, new_request_id, reason, serving

Answer = TypeVar("Answer")
REASONS = {"ROW_INVALID", "CHECK_FAILED", "DUPLICATE_KEY"}
KEYS = {"code": ("code",), "spot": ("shelf", "place")}

codes = st.sampled_from(["a", "b", "c", "d", "e"])
spots = {"shelf": st.sampled_from([None, 0, 1, 2]), "place": st.sampled_from([None, "x", "y"])}
others = {
    "price": st.sampled_from([None, 1, 500, 999, 1000]),
    "note": st.sampled_from([None, "", "n"]),
}
new_rows = st.lists(
    st.fixed_dictionaries({"code": codes}, optional={**spots, **others}), min_size=1, max_size=5
)
spot_rows = st.lists(
    st.fixed_dictionaries({**spots, "code": codes}, optional=others), min_size=1, max_size=4
)
changes = st.fixed_dictionaries({}, optional={"code": codes, **spots, **others}).filter(bool)


class RowsMachine(RuleBasedStateMachine):
    """One table, one caller; each rule asks the service and the model the same."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.stack = AsyncExitStack()
        self.goods = Goods()
        self.last: tuple[Any, Any, Any] | None = None

    def run(self, work: Awaitable[Answer]) -> Answer:
        async def wait() -> Answer:
            return await work

        return self.runner.run(wait())

    async def open(self) -> None:
        served = await self.stack.enter_async_context(serving(Path(self.folder.name)))
        self.client: Client = served.client()

    @initialize()
    def begin(self) -> None:
        self.run(self.open())
        self.run(calls.create_goods(self.client))

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    def ask(self, name: str, request: Any) -> Any:
        """Return the answer, or the reason why there is none; good answers are asked for again later."""
        request.request_id = new_request_id()
        try:
            answer = self.run(self.client.call(getattr(self.client.rows, name), request))
        except grpc.aio.AioRpcError as error:
            return reason(error)
        self.last = (name, request, answer)
        return answer

    @rule(rows=new_rows, per_row=st.booleans())
    def insert(self, rows: list[Values], per_row: bool) -> None:
        staged = self.goods.new(rows)
        request = row_service_pb2.InsertRowsRequest(
            table="goods",
            rows=calls.json_rows(*rows),
            error_mode=PER_ROW if per_row else ALL_OR_NOTHING,
        )
        answer = self.ask("InsertRows", request)
        if not per_row:
            if self.goods.faults(staged):
                assert answer in REASONS
            else:
                self.goods.write(staged, answer.row_ids)
            return
        good, faults = self.goods.good(staged)
        assert {error[0]: error[2] for error in calls.row_errors(answer)} == faults
        assert [bool(id_) for id_ in answer.row_ids] == [
            at not in faults for at in range(len(rows))
        ]
        self.goods.write(good, [answer.row_ids[one.place] for one in good])

    @rule(
        asked=st.one_of(
            st.tuples(st.just("code"), new_rows), st.tuples(st.just("spot"), spot_rows)
        ),
        per_row=st.booleans(),
    )
    def upsert(self, asked: tuple[str, list[Values]], per_row: bool) -> None:
        name, rows = asked
        staged = self.goods.upserted(rows, KEYS[name])
        request = row_service_pb2.UpsertRowsRequest(
            table="goods",
            key=name,
            rows=calls.json_rows(*rows),
            error_mode=PER_ROW if per_row else ALL_OR_NOTHING,
        )
        answer = self.ask("UpsertRows", request)
        if has_twice(rows, KEYS[name]):
            assert answer == "DUPLICATE_KEY"
            return
        good, faults = (staged, {}) if not per_row else self.goods.good(staged)
        if not per_row and self.goods.faults(staged):
            assert answer in REASONS
            return
        assert {error[0]: error[2] for error in calls.row_errors(answer)} == faults
        new = {one.place for one in good if one.row_id is None}
        assert [at in new for at in range(len(rows))] == list(answer.created)
        assert (answer.created_count, answer.updated_count) == (len(new), len(good) - len(new))
        self.goods.write(good, [answer.row_ids[one.place] for one in good])

    @rule(row_id=st.integers(1, 12), values=changes, stale=st.integers(0, 3))
    def update(self, row_id: int, values: Values, stale: int) -> None:
        there = self.goods.rows.get(row_id)
        expected = (there.version if there else 1) + (5 if stale == 0 else 0)
        request = row_service_pb2.UpdateRowRequest(
            table="goods", row_id=row_id, values=calls.json_rows(values), expected_version=expected
        )
        answer = self.ask("UpdateRow", request)
        if there is None:
            assert answer == "ROW_NOT_FOUND"
        elif stale == 0:
            assert answer == "ETAG_MISMATCH"
        elif self.goods.faults(staged := self.goods.changed([row_id], values)):
            assert answer in REASONS
        else:
            assert answer.version == there.version + 1
            self.goods.write(staged, [row_id])

    @rule(code=codes, values=changes, most=st.integers(0, 3))
    def update_selected(self, code: str, values: Values, most: int) -> None:
        ids = [id_ for id_, row in self.goods.rows.items() if str(row.values["code"]) >= code]
        request = row_service_pb2.UpdateRowsRequest(
            table="goods",
            selection=calls.selection(f"code >= '{code}'", most=most),
            values=calls.json_rows(values),
        )
        answer = self.ask("UpdateRows", request)
        if len(ids) > most:
            assert answer == "TOO_MANY_ROWS"
        elif self.goods.faults(staged := self.goods.changed(ids, values)):
            assert answer in REASONS
        else:
            assert answer.updated_count == len(ids)
            self.goods.write(staged, ids)

    @rule(step=st.integers(1, 600))
    def raise_prices(self, step: int) -> None:
        staged = [
            one
            for id_, row in self.goods.rows.items()
            if isinstance(price := row.values["price"], int)
            for one in self.goods.changed([id_], {"price": price + step})
        ]
        request = row_service_pb2.UpdateRowsRequest(
            table="goods",
            selection=calls.selection("price IS NOT NULL"),
            expressions={"price": f"price + {step}"},
        )
        answer = self.ask("UpdateRows", request)
        if self.goods.faults(staged):
            assert answer == "CHECK_FAILED"
        else:
            assert answer.updated_count == len(staged)
            self.goods.write(staged, [one.row_id for one in staged if one.row_id])

    @rule(code=codes, named=st.booleans())
    def delete(self, code: str, named: bool) -> None:
        ids = [id_ for id_, row in self.goods.rows.items() if row.values["code"] == code]
        chosen = (
            calls.selection(row_ids=ids) if named and ids else calls.selection(f"code = '{code}'")
        )
        request = row_service_pb2.DeleteRowsRequest(table="goods", selection=chosen)
        assert self.ask("DeleteRows", request).deleted_count == len(ids)
        for id_ in ids:
            del self.goods.rows[id_]

    @rule(rows=new_rows, row_id=st.integers(1, 12), version=st.integers(1, 3))
    def transact(self, rows: list[Values], row_id: int, version: int) -> None:
        there = self.goods.rows.get(row_id)
        check = Precondition.RowVersion(table="goods", row_id=row_id, version=version)
        request = row_service_pb2.TransactRequest(
            preconditions=[Precondition(row_version=check)],
            mutations=[
                Mutation(delete=Mutation.Delete(table="goods", row_id=row_id)),
                *(
                    Mutation(insert=Mutation.Insert(table="goods", rows=calls.json_rows(row)))
                    for row in rows
                ),
            ],
        )
        answer = self.ask("Transact", request)
        if there is None or there.version != version:
            assert answer == "PRECONDITION_FAILED"
            return
        after = Goods({id_: row for id_, row in self.goods.rows.items() if id_ != row_id})
        staged = after.new(rows)
        if after.faults(staged):
            assert answer in REASONS
        else:
            after.write(staged, [id_ for result in answer.results for id_ in result.row_ids])
            self.goods = after

    @rule()
    def retry(self) -> None:
        if self.last is not None:
            name, request, answer = self.last
            again = self.run(self.client.call(getattr(self.client.rows, name), request))
            assert again == answer

    @rule()
    def reopen(self) -> None:
        self.run(self.stack.aclose())
        self.run(self.open())

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        request = row_service_pb2.ListRowsRequest(
            table="goods", encoding=calls.TYPED, page_size=1000, columns=[*COLUMNS, "number"]
        )
        rows = self.run(self.client.call(self.client.rows.ListRows, request)).rows.typed.rows
        found = [[from_value(value) for value in row.values] for row in rows]
        assert {
            row[0]: Stored(version=row[1], values=dict(zip(COLUMNS, row[2:-1], strict=True)))  # type: ignore[arg-type]  # a number
            for row in found
        } == self.goods.rows
        assert len({row[-1] for row in found}) == len(found)


RowsMachine.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestRows = RowsMachine.TestCase
