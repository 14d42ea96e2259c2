"""The methods of flux.table.v1.TableService that are about schemas: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from chassis.faults import PermissionDenied
from chassis.identity import Principal, PrincipalKind, Role
from chassis.ids import IdMaker
from chassis.paging import decode_number, decode_token, encode_token, page_size
from flux.table.v1 import table_service_pb2 as messages
from table_service import schema_changes, tables
from table_service.access import Right
from table_service.fresh_tables import with_fresh_table
from table_service.migration_wire import from_operations, to_event, to_plan, to_version
from table_service.schema_changes import Changes
from table_service.schema_operations import AddCheck, AddColumn, RetypeColumn, SchemaOperation
from table_service.schema_requirements import changes_nothing
from table_service.schema_reverts import operations_between
from table_service.schemas import schema_of
from table_service.store import Store
from table_service.store.heavy import Heavy
from table_service.store.migration_plans import Plan, conditions, make_plan, refuse_obstacles
from table_service.store.migrations import migrate, migrated
from table_service.store.readers import Cursor
from table_service.store.receipts import ReceiptKey
from table_service.store.statements import reading
from table_service.store.table_events import EventKind, list_events, record_event
from table_service.store.table_versions import get_version, list_versions, record_version
from table_service.store.transaction import Transaction
from table_service.store.watch import Stop
from table_service.store.write_queue import Change
from table_service.table_updates import check_etag, revised
from table_service.tables import Table
from table_service.wire import receipt_key, to_table

# Nobody else writes while a table is written anew.
MIGRATION_TIME_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A migration as its caller asks for it.

    `changes` says what it is, given the table; `answer` makes the answer; `rights` are those it needs;
    `origin` is a sentence about where it comes from, or empty.
    """

    table: str
    etag: str
    validate_only: bool
    changes: Callable[[Cursor, Table], Changes]
    answer: Callable[[Table, Plan], bytes]
    rights: tuple[Right, ...] = (Right.ALTER,)
    allow_loss: bool = False
    keeps_values: bool = False
    origin: str = ""


class Schemas:
    """Schemas of tables: changing them, and what they were."""

    def __init__(self, store: Store, heavy: Heavy, ids: IdMaker) -> None:
        self._store = store
        self._jobs = heavy.query_jobs
        self._turns = heavy.query_turns
        self._watch = heavy.watch
        self._ids = ids

    async def alter(
        self, request: messages.AlterTableRequest, principal: Principal
    ) -> messages.AlterTableResponse:
        """Carry operations out as one new version, or say what that would do."""
        receipt = None if request.validate_only else receipt_key(principal, request)
        operations = from_operations(request.operations)

        def changes(cursor: Cursor, table: Table) -> Changes:
            schema, read = schema_of(table), conditions(cursor)
            return schema_changes.apply(schema, table.column_ids, operations, read)

        def answer(table: Table, plan: Plan) -> bytes:
            response = messages.AlterTableResponse(table=to_table(table), plan=to_plan(plan))
            return response.SerializeToString()

        asked = _Asked(
            table=request.table,
            etag=request.etag,
            validate_only=request.validate_only,
            changes=changes,
            answer=answer,
            rights=(Right.ALTER, *([Right.READ] if any(map(_asks_rows, operations)) else [])),
            allow_loss=request.allow_loss,
        )
        return messages.AlterTableResponse.FromString(await self._answer(asked, principal, receipt))

    async def revert(
        self, request: messages.RevertTableRequest, principal: Principal
    ) -> messages.RevertTableResponse:
        """Bring an earlier schema back as a new version, or say what that would do."""
        receipt = None if request.validate_only else receipt_key(principal, request)

        def changes(cursor: Cursor, table: Table) -> Changes:
            schema, read = schema_of(table), conditions(cursor)
            then = get_version(cursor, table, request.schema_version).schema
            operations = operations_between(schema, then, read)
            return schema_changes.apply(schema, table.column_ids, operations, read)

        def answer(table: Table, plan: Plan) -> bytes:
            response = messages.RevertTableResponse(table=to_table(table), plan=to_plan(plan))
            return response.SerializeToString()

        asked = _Asked(
            table=request.table,
            etag=request.etag,
            validate_only=request.validate_only,
            changes=changes,
            answer=answer,
            keeps_values=True,
            origin=f"reverted to version {request.schema_version}",
        )
        return messages.RevertTableResponse.FromString(
            await self._answer(asked, principal, receipt)
        )

    async def list_versions(
        self, request: messages.ListTableVersionsRequest, principal: Principal
    ) -> messages.ListTableVersionsResponse:
        """Return a page of versions, newest first."""
        table = tables.resolve(self._store.writer.catalog, request.table, principal)
        binding = f"ListTableVersions {table.id}".encode()
        before, size = decode_number(request.page_token, binding), page_size(request.page_size)
        found = await self._store.readers.read(
            lambda cursor: list_versions(cursor, table, before, size + 1)
        )
        more = len(found) > size
        return messages.ListTableVersionsResponse(
            versions=[to_version(version) for version in found[:size]],
            next_page_token=encode_token(str(found[size - 1].schema_version), binding)
            if more
            else "",
        )

    async def get_version(
        self, request: messages.GetTableVersionRequest, principal: Principal
    ) -> messages.GetTableVersionResponse:
        """Return one version."""
        table = tables.resolve(self._store.writer.catalog, request.table, principal)
        found = await self._store.readers.read(
            lambda cursor: get_version(cursor, table, request.schema_version)
        )
        return messages.GetTableVersionResponse(version=to_version(found))

    async def list_events(
        self, request: messages.ListTableEventsRequest, principal: Principal
    ) -> messages.ListTableEventsResponse:
        """Return a page of events, newest first."""
        table_id = self._table_of_events(request.table, principal)
        binding = f"ListTableEvents {table_id}".encode()
        before, size = decode_token(request.page_token, binding), page_size(request.page_size)
        found = await self._store.readers.read(
            lambda cursor: list_events(cursor, table_id, before, size + 1)
        )
        more = len(found) > size
        return messages.ListTableEventsResponse(
            events=[to_event(event) for event in found[:size]],
            next_page_token=encode_token(found[size - 1].id, binding) if more else "",
        )

    def _table_of_events(self, written: str, principal: Principal) -> str:
        """Return the id of the table whose events the caller may see; empty for every table.

        Raises:
            NotFound: TABLE_NOT_FOUND.
            PermissionDenied: RIGHT_REQUIRED, NAMESPACE_CLOSED, or ROLE_REQUIRED for every table.
        """
        if written:
            catalog = self._store.writer.catalog
            return tables.resolve(catalog, written, principal, Right.ALTER).id
        if principal.kind is not PrincipalKind.PERSON or not principal.holds(Role.ADMIN):
            raise PermissionDenied(
                "ROLE_REQUIRED", "the events of every table need role admin", role="admin"
            )
        return ""

    async def _answer(
        self, asked: _Asked, principal: Principal, receipt: ReceiptKey | None
    ) -> bytes:
        if (first := await self._store.first_answer(receipt)) is not None:
            return first
        return await with_fresh_table(lambda: self._migrate(asked, principal, receipt))

    async def _migrate(
        self, asked: _Asked, principal: Principal, receipt: ReceiptKey | None
    ) -> bytes:
        """Plan beside the writer, so that what cannot be holds nobody up; then plan again and do it."""
        table = tables.resolve(self._store.writer.catalog, asked.table, principal, *asked.rights)
        check_etag(table, asked.etag)
        now = self._store.clock.now()

        def look(cursor: Cursor, stop: Stop) -> Plan:
            limit = self._watch.over(cursor, stop, limit_s=MIGRATION_TIME_S)
            with limit, reading(cursor):
                return self._plan(cursor, asked, table, asked.changes(cursor, table), principal)

        plan = await self._jobs.run(look, await self._turns.take(("alter", principal.subject)))
        changes = plan.changes
        if asked.validate_only:
            after = table if changes_nothing(changes) else revised(migrated(table, changes), now)
            return asked.answer(after, plan)
        refuse_obstacles(plan)
        stop, event_id = Stop(), self._ids.new_id("evt")

        def apply(transaction: Transaction) -> bytes:
            before, cursor = transaction.current(table), transaction.cursor
            for right in asked.rights:
                tables.require(before, principal, right)
            check_etag(before, asked.etag)
            with self._watch.over(cursor, stop, limit_s=MIGRATION_TIME_S):
                plan = self._plan(cursor, asked, before, changes, principal)
                refuse_obstacles(plan)
                if changes_nothing(changes):
                    return asked.answer(before, plan)
                after = migrate(transaction, before, changes, plan.row_count)
            told = [asked.origin] if asked.origin else []
            told += [applied.sentence for applied in changes.applied]
            record_version(transaction, after, principal.subject, told)
            record_event(
                transaction,
                id_=event_id,
                kind=EventKind.ALTERED,
                table=after,
                principal=principal,
                changes=told,
            )
            return asked.answer(after, plan)

        async def write() -> bytes:
            change = Change(apply=apply, receipt=receipt, alone=True)
            return await self._store.writer.submit(change)

        try:
            answer = await self._store.gates.run_alone(table.id, write)
        except asyncio.CancelledError:
            stop.ask()
            raise
        await self._store.checkpoint()
        return answer

    def _plan(
        self, cursor: Cursor, asked: _Asked, table: Table, changes: Changes, principal: Principal
    ) -> Plan:
        plan = make_plan(
            cursor,
            table,
            changes,
            self._store.clock.now(),
            counted=self._store.writer.counted,
            allow_loss=asked.allow_loss,
            keeps_values=asked.keeps_values,
        )
        if tables.decide_on(table, principal, Right.READ).allowed:
            return plan
        # The right to alter is not that to see what rows hold.
        return replace(
            plan, obstacles=tuple(replace(found, samples=()) for found in plan.obstacles)
        )


def _asks_rows(operation: SchemaOperation) -> bool:
    """Return whether an expression of the caller's is held against the rows, which tells of them."""
    match operation:
        case RetypeColumn(using=written) | AddColumn(check=written):
            return bool(written)
        case _:
            return isinstance(operation, AddCheck)
