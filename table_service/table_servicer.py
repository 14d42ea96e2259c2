"""flux.table.v1.TableService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import grpc

from chassis.faults import FailedPrecondition
from chassis.identity import Principal, current_principal
from chassis.ids import IdMaker
from chassis.paging import decode_token, encode_token, page_size
from flux.table.v1 import table_service_pb2 as messages
from flux.table.v1 import table_service_pb2_grpc
from table_service import table_updates, tables
from table_service.access import Right
from table_service.grant_servicer import Grants
from table_service.new_tables import described_schema
from table_service.schema_servicer import Schemas
from table_service.schemas import new_table
from table_service.store import Store, catalog
from table_service.store.heavy import Heavy
from table_service.store.receipts import ReceiptKey
from table_service.store.table_events import EventKind, record_event
from table_service.store.table_versions import record_version
from table_service.store.transaction import Transaction
from table_service.store.write_queue import Change
from table_service.table_lists import TableLists, read_position, write_position
from table_service.table_wire import (
    PAGE_BYTES_MAX,
    TableMessages,
    from_order,
    from_update,
    list_binding,
    table_filter,
)
from table_service.tables import Table, TableState
from table_service.wire import (
    from_columns,
    namespace_of,
    receipt_key,
    to_table,
)

# A large page lets other calls have a turn after so many tables.
_UNINTERRUPTED_MAX = 20
Context = grpc.aio.ServicerContext[object, object]


class TableServicer(table_service_pb2_grpc.TableServiceServicer):
    """Definitions of tables."""

    def __init__(self, store: Store, heavy: Heavy, ids: IdMaker) -> None:
        self._store = store
        self._ids = ids
        self._lists = TableLists()
        self._messages = TableMessages()
        self._grants = Grants(store, ids)
        self._schemas = Schemas(store, heavy, ids)

    async def CreateTable(  # the contract's name, as are those below
        self, request: messages.CreateTableRequest, context: Context
    ) -> messages.CreateTableResponse:
        """Create an empty table."""
        principal, wanted = current_principal(), request.table
        namespace = namespace_of(wanted.namespace)
        tables.check_namespace(namespace, principal, writes=True)
        receipt = receipt_key(principal, request)
        if (first := await self._store.first_answer(receipt)) is not None:
            return messages.CreateTableResponse.FromString(first)
        schema = await described_schema(self._store, wanted, from_columns(wanted.columns))
        id_, event_id = self._ids.new_id("tbl"), self._ids.new_id("evt")

        def apply(transaction: Transaction) -> bytes:
            table = new_table(
                schema,
                id_=id_,
                namespace=namespace,
                name=wanted.name,
                owner=principal.subject,
                now=transaction.now,
                description=wanted.description,
                labels=dict(wanted.labels),
            )
            table_updates.check_name_free(transaction.catalog, table)
            catalog.create_table(transaction, table)
            self._store.writer.new_row_ids(transaction, table.id)
            record_version(transaction, table, principal.subject)
            _record(transaction, event_id, EventKind.CREATED, table, principal)
            return messages.CreateTableResponse(table=to_table(table)).SerializeToString()

        answer = await self._define(apply, receipt)
        await self._store.checkpoint()
        return messages.CreateTableResponse.FromString(answer)

    async def GetTable(
        self, request: messages.GetTableRequest, context: Context
    ) -> messages.GetTableResponse:
        """Return one table."""
        table = tables.resolve(self._store.writer.catalog, request.table, current_principal())
        return messages.GetTableResponse(table=to_table(table))

    async def ListTables(
        self, request: messages.ListTablesRequest, context: Context
    ) -> messages.ListTablesResponse:
        """List tables of a namespace."""
        principal, wanted, binding = (
            current_principal(),
            table_filter(request),
            list_binding(request),
        )
        tables.check_namespace(wanted.namespace, principal, writes=False)
        found = self._lists.after(
            self._store.writer.catalog,
            wanted,
            from_order(request),
            read_position(decode_token(request.page_token, binding)),
            principal,
            descending=request.descending,
        )
        response, byte_count = messages.ListTablesResponse(), 0
        last = None
        for at, (position, table) in enumerate(found):
            message, size = self._messages.of(table)
            if at % _UNINTERRUPTED_MAX == _UNINTERRUPTED_MAX - 1:
                await asyncio.sleep(0)
            byte_count += size
            full = len(response.tables) == page_size(request.page_size)
            if last and (full or byte_count > PAGE_BYTES_MAX):
                response.next_page_token = encode_token(write_position(last), binding)
                break
            response.tables.append(message)
            last = position
        return response

    async def UpdateTable(
        self, request: messages.UpdateTableRequest, context: Context
    ) -> messages.UpdateTableResponse:
        """Change a table's name, description or labels."""
        principal = current_principal()
        receipt = receipt_key(principal, request)
        update = table_updates.chosen(from_update(request), request.update_mask.paths)
        event_id = self._ids.new_id("evt")

        def apply(transaction: Transaction) -> bytes:
            before = _alterable(transaction, request.table, principal, request.etag)
            table = table_updates.updated(before, update, transaction.now)
            if table is not before:
                table_updates.check_name_free(transaction.catalog, table)
                catalog.store_table(transaction, table)
                changes = table_updates.differences(before, table)
                _record(transaction, event_id, EventKind.UPDATED, table, principal, changes)
            return messages.UpdateTableResponse(table=to_table(table)).SerializeToString()

        return messages.UpdateTableResponse.FromString(await self._define(apply, receipt))

    async def DeleteTable(
        self, request: messages.DeleteTableRequest, context: Context
    ) -> messages.DeleteTableResponse:
        """Delete a table softly."""
        principal = current_principal()
        receipt = receipt_key(principal, request)
        event_id = self._ids.new_id("evt")

        def apply(transaction: Transaction) -> bytes:
            before = _alterable(transaction, request.table, principal, request.etag)
            table = table_updates.deleted(before, transaction.now)
            catalog.store_table(transaction, table)
            _record(transaction, event_id, EventKind.DELETED, table, principal)
            return messages.DeleteTableResponse(table=to_table(table)).SerializeToString()

        return messages.DeleteTableResponse.FromString(await self._define(apply, receipt))

    async def UndeleteTable(
        self, request: messages.UndeleteTableRequest, context: Context
    ) -> messages.UndeleteTableResponse:
        """Bring a deleted table back."""
        principal = current_principal()
        receipt = receipt_key(principal, request)
        event_id = self._ids.new_id("evt")

        def apply(transaction: Transaction) -> bytes:
            before = transaction.catalog.by_id.get(request.table_id)
            if before is None or before.state is not TableState.DELETED:
                raise tables.table_not_found(request.table_id)
            tables.check_namespace(before.namespace, principal, writes=True)
            tables.require(before, principal, Right.ALTER)
            table = table_updates.undeleted(before, request.name, transaction.now)
            table_updates.check_name_free(transaction.catalog, table)
            catalog.store_table(transaction, table)
            changes = table_updates.differences(before, table)
            _record(transaction, event_id, EventKind.UNDELETED, table, principal, changes)
            return messages.UndeleteTableResponse(table=to_table(table)).SerializeToString()

        return messages.UndeleteTableResponse.FromString(await self._define(apply, receipt))

    async def PurgeTable(
        self, request: messages.PurgeTableRequest, context: Context
    ) -> messages.PurgeTableResponse:
        """Remove a deleted table for good."""
        principal = current_principal()
        receipt = receipt_key(principal, request)

        def apply(transaction: Transaction, event_id: str) -> bytes:
            table = transaction.catalog.by_id.get(request.table_id)
            if table is None:
                return b""
            tables.check_namespace(table.namespace, principal, writes=True)
            if table.state is not TableState.DELETED:
                raise FailedPrecondition(
                    "TABLE_ACTIVE", f"table {table.id!r} is not deleted", table_id=table.id
                )
            catalog.purge_table(transaction, table)
            self._store.writer.drop_row_ids(transaction, table.id)
            _record(transaction, event_id, EventKind.PURGED, table, principal)
            return b""

        # An import that began before the deletion may still be at work.
        await self._store.gates.run_alone(
            request.table_id,
            lambda: self._define(partial(apply, event_id=self._ids.new_id("evt")), receipt),
        )
        await self._store.checkpoint()
        return messages.PurgeTableResponse()

    async def AlterTable(
        self, request: messages.AlterTableRequest, context: Context
    ) -> messages.AlterTableResponse:
        """Change a table's schema."""
        return await self._schemas.alter(request, current_principal())

    async def RevertTable(
        self, request: messages.RevertTableRequest, context: Context
    ) -> messages.RevertTableResponse:
        """Bring an earlier schema back."""
        return await self._schemas.revert(request, current_principal())

    async def ListTableVersions(
        self, request: messages.ListTableVersionsRequest, context: Context
    ) -> messages.ListTableVersionsResponse:
        """List the versions of a table's schema."""
        return await self._schemas.list_versions(request, current_principal())

    async def GetTableVersion(
        self, request: messages.GetTableVersionRequest, context: Context
    ) -> messages.GetTableVersionResponse:
        """Return one version of a table's schema."""
        return await self._schemas.get_version(request, current_principal())

    async def ListTableEvents(
        self, request: messages.ListTableEventsRequest, context: Context
    ) -> messages.ListTableEventsResponse:
        """List what was done to tables."""
        return await self._schemas.list_events(request, current_principal())

    async def GrantAccess(
        self, request: messages.GrantAccessRequest, context: Context
    ) -> messages.GrantAccessResponse:
        """Add rights to a user or a role."""
        return await self._grants.grant_access(request, current_principal())

    async def RevokeAccess(
        self, request: messages.RevokeAccessRequest, context: Context
    ) -> messages.RevokeAccessResponse:
        """Take rights from a user or a role."""
        return await self._grants.revoke_access(request, current_principal())

    async def ListGrants(
        self, request: messages.ListGrantsRequest, context: Context
    ) -> messages.ListGrantsResponse:
        """List the grants of a table."""
        return self._grants.list_grants(request, current_principal())

    async def CheckAccess(
        self, request: messages.CheckAccessRequest, context: Context
    ) -> messages.CheckAccessResponse:
        """Say whether a right is there, and which rule decides."""
        return self._grants.check_access(request, current_principal())

    async def _define(
        self, apply: Callable[[Transaction], bytes], receipt: ReceiptKey | None
    ) -> bytes:
        return await self._store.writer.submit(Change(apply=apply, receipt=receipt, alone=True))


def _alterable(transaction: Transaction, written: str, principal: Principal, etag: str) -> Table:
    """Return a table that the caller may change, found only now: a retry meets its receipt before.

    Raises:
        NotFound: TABLE_NOT_FOUND.
        PermissionDenied: NAMESPACE_CLOSED or RIGHT_REQUIRED.
        Aborted: ETAG_MISMATCH.
    """
    table = tables.resolve(transaction.catalog, written, principal, Right.ALTER)
    table_updates.check_etag(table, etag)
    return table


def _record(
    transaction: Transaction,
    event_id: str,
    kind: EventKind,
    table: Table,
    principal: Principal,
    changes: list[str] | None = None,
) -> None:
    record_event(
        transaction,
        id_=event_id,
        kind=kind,
        table=table,
        principal=principal,
        changes=changes or (),
    )
