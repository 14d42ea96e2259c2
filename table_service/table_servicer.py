"""flux.table.v1.TableService: parse, call, wrap."""

from __future__ import annotations

import grpc

from chassis.faults import AlreadyExists
from chassis.identity import current_principal
from chassis.ids import IdMaker
from chassis.paging import decode_token, encode_token, page_size
from flux.table.v1 import table_service_pb2 as messages
from flux.table.v1 import table_service_pb2_grpc
from table_service import tables
from table_service.store import Store, catalog
from table_service.store.transaction import Transaction
from table_service.store.writer import Change
from table_service.tables import Table, TableState
from table_service.wire import (
    from_columns,
    from_unique_keys,
    namespace_of,
    receipt_key,
    to_table,
)

Context = grpc.aio.ServicerContext[object, object]


class TableServicer(table_service_pb2_grpc.TableServiceServicer):
    """Definitions of tables."""

    def __init__(self, store: Store, ids: IdMaker) -> None:
        self._store = store
        self._ids = ids

    async def CreateTable(  # the contract's name, as are those below
        self, request: messages.CreateTableRequest, context: Context
    ) -> messages.CreateTableResponse:
        """Create an empty table."""
        principal, wanted = current_principal(), request.table
        namespace = namespace_of(wanted.namespace)
        tables.check_namespace(namespace, principal, writes=True)
        columns = from_columns(wanted.columns)
        keys = from_unique_keys(wanted.unique_keys)
        tables.check_definition(columns, keys)
        receipt = receipt_key(principal, request)
        id_ = self._ids.new_id("tbl")

        def apply(transaction: Transaction) -> bytes:
            table = Table(
                id=id_,
                namespace=namespace,
                name=wanted.name,
                description=wanted.description,
                columns=columns,
                unique_keys=keys,
                schema_version=1,
                state=TableState.ACTIVE,
                owner=principal.subject,
                create_time=transaction.now,
                update_time=transaction.now,
            )
            if (namespace, wanted.name) in transaction.catalog.active:
                raise AlreadyExists(
                    "TABLE_EXISTS", f"table {table.full_name!r} exists", table=table.full_name
                )
            catalog.create_table(transaction, table)
            self._store.writer.new_row_ids(transaction, table.id)
            response = messages.CreateTableResponse(table=to_table(table))
            return response.SerializeToString()

        answer = await self._store.writer.submit(Change(apply=apply, receipt=receipt, alone=True))
        await self._store.checkpoint()
        return messages.CreateTableResponse.FromString(answer)

    async def GetTable(
        self, request: messages.GetTableRequest, context: Context
    ) -> messages.GetTableResponse:
        """Return one table."""
        table = tables.resolve(
            self._store.writer.catalog, request.table, current_principal(), writes=False
        )
        return messages.GetTableResponse(table=to_table(table))

    async def ListTables(
        self, request: messages.ListTablesRequest, context: Context
    ) -> messages.ListTablesResponse:
        """List the active tables of a namespace by name."""
        namespace = namespace_of(request.namespace)
        tables.check_namespace(namespace, current_principal(), writes=False)
        binding = f"ListTables {namespace}".encode()
        after, size = decode_token(request.page_token, binding), page_size(request.page_size)
        names = sorted(
            name
            for space, name in self._store.writer.catalog.active
            if space == namespace and name > after
        )
        active = self._store.writer.catalog.active
        page = [active[namespace, name] for name in names[:size] if (namespace, name) in active]
        more = len(names) > size
        return messages.ListTablesResponse(
            tables=[to_table(table) for table in page],
            next_page_token=encode_token(names[size - 1], binding) if more else "",
        )

    async def DeleteTable(
        self, request: messages.DeleteTableRequest, context: Context
    ) -> messages.DeleteTableResponse:
        """Delete a table softly."""
        principal = current_principal()
        namespace, name = tables.split_name(request.table)
        tables.check_namespace(namespace, principal, writes=True)
        receipt = receipt_key(principal, request)

        def apply(transaction: Transaction) -> bytes:
            # Found here and not before, so that a retry meets its receipt and not a missing table.
            table = tables.deleted(transaction.catalog.find(namespace, name), transaction.now)
            catalog.store_state(transaction, table)
            return messages.DeleteTableResponse(table=to_table(table)).SerializeToString()

        answer = await self._store.writer.submit(Change(apply=apply, receipt=receipt, alone=True))
        return messages.DeleteTableResponse.FromString(answer)
