"""flux.table.v1.RowService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import grpc
import pyarrow as pa

from chassis.identity import Principal, current_principal
from chassis.paging import decode_number, encode_token, page_size
from chassis.values import from_value
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import row_service_pb2_grpc, rows_pb2
from table_service import codec, datasets, tables
from table_service.mutation_wire import from_mutation, from_precondition, one_row, to_result
from table_service.result_stream import ROW_BYTES_MAX, first_rows, row_too_large
from table_service.store import Store, listing, mutations
from table_service.store import rows as row_store
from table_service.store.catalog import Dataset
from table_service.store.listing import Lister, Page
from table_service.store.transaction import Transaction
from table_service.store.writer import Change, Insert
from table_service.tables import Table
from table_service.transfer_servicer import Transfers
from table_service.types import SYSTEM_COLUMNS, Column
from table_service.wire import (
    INLINE_ARROW_BYTES_MAX,
    INLINE_ROWS_MAX,
    are_many,
    receipt_key,
)

Context = grpc.aio.ServicerContext[object, object]


class RowServicer(row_service_pb2_grpc.RowServiceServicer):
    """Rows one by one and together."""

    def __init__(self, store: Store, transfers: Transfers) -> None:
        self._store = store
        self._transfers = transfers
        self._lister = Lister()

    async def InsertRows(  # the contract's name, as are those below
        self, request: messages.InsertRowsRequest, context: Context
    ) -> messages.InsertRowsResponse:
        """Insert rows, all or none."""
        principal = current_principal()
        receipt = receipt_key(principal, request)
        if (first := await self._store.first_answer(receipt)) is not None:
            return messages.InsertRowsResponse.FromString(first)
        table = self._table(request.table, principal, writes=True)
        rows = await _decoded(request.rows, table.columns)
        if rows.num_rows == 0:
            return messages.InsertRowsResponse()
        insert = Insert(table=table, rows=rows, answer=_inserted, receipt=receipt)
        return messages.InsertRowsResponse.FromString(await self._store.writer.submit(insert))

    async def GetRow(
        self, request: messages.GetRowRequest, context: Context
    ) -> messages.GetRowResponse:
        """Return one row."""
        table = self._table(request.table, current_principal(), writes=False)
        rows = await self._store.readers.read(
            lambda cursor: listing.get_row(cursor, table, request.row_id)
        )
        columns = (*SYSTEM_COLUMNS, *table.columns)
        encoded, _ = await _encoded(rows, columns, request.encoding)
        return messages.GetRowResponse(rows=encoded)

    async def ListRows(
        self, request: messages.ListRowsRequest, context: Context
    ) -> messages.ListRowsResponse:
        """Return a page of rows by row id."""
        table = self._table(request.table, current_principal(), writes=False)
        binding = _binding(request, table)
        page = Page(
            columns=listing.read_columns(table, request.columns),
            after=decode_number(request.page_token, binding),
            size=page_size(request.page_size),
            filter=request.filter.strip(),
            parameters={name: from_value(value) for name, value in request.parameters.items()},
        )
        rows, after = await self._store.readers.read(
            lambda cursor: self._lister.page(cursor, table, page)
        )
        encoded, count = await _encoded(rows, page.columns, request.encoding)
        if count < rows.num_rows:
            after = rows.column(0)[count - 1].as_py()
        return messages.ListRowsResponse(
            rows=encoded,
            next_page_token="" if after is None else encode_token(str(after), binding),
        )

    async def UpdateRow(
        self, request: messages.UpdateRowRequest, context: Context
    ) -> messages.UpdateRowResponse:
        """Change some columns of one row."""
        principal = current_principal()
        receipt = receipt_key(principal, request)
        if (first := await self._store.first_answer(receipt)) is not None:
            return messages.UpdateRowResponse.FromString(first)
        table = self._table(request.table, principal, writes=True)
        values = one_row(request.values, table, "values")
        expected = request.expected_version if request.HasField("expected_version") else None

        def apply(transaction: Transaction) -> bytes:
            [version] = row_store.update(transaction, table, [request.row_id], [expected], values)
            return messages.UpdateRowResponse(version=version).SerializeToString()

        answer = await self._store.writer.submit(Change(apply=apply, receipt=receipt))
        return messages.UpdateRowResponse.FromString(answer)

    async def DeleteRow(
        self, request: messages.DeleteRowRequest, context: Context
    ) -> messages.DeleteRowResponse:
        """Delete one row."""
        principal = current_principal()
        receipt = receipt_key(principal, request)
        if (first := await self._store.first_answer(receipt)) is not None:
            return messages.DeleteRowResponse.FromString(first)
        table = self._table(request.table, principal, writes=True)
        expected = request.expected_version if request.HasField("expected_version") else None

        def apply(transaction: Transaction) -> bytes:
            row_store.delete(transaction, table, [request.row_id], [expected])
            return b""

        answer = await self._store.writer.submit(Change(apply=apply, receipt=receipt))
        return messages.DeleteRowResponse.FromString(answer)

    async def Transact(
        self, request: messages.TransactRequest, context: Context
    ) -> messages.TransactResponse:
        """Apply several mutations in one commit."""
        principal = current_principal()
        receipt = receipt_key(principal, request)
        if (first := await self._store.first_answer(receipt)) is not None:
            return messages.TransactResponse.FromString(first)
        now = self._store.clock.now()

        def find(written: str) -> Table:
            return self._table(written, principal, writes=True)

        def find_dataset(id_: str) -> Dataset:
            return datasets.find_dataset(self._store.datasets, id_, principal, now)

        def parse() -> tuple[list[mutations.Precondition], list[mutations.Mutation]]:
            return (
                [
                    from_precondition(message, f"preconditions[{at}]", find)
                    for at, message in enumerate(request.preconditions)
                ],
                [
                    from_mutation(message, f"mutations[{at}]", find, find_dataset)
                    for at, message in enumerate(request.mutations)
                ],
            )

        many = len(request.mutations) > INLINE_ROWS_MAX or any(
            are_many(m.insert.rows) or are_many(m.upsert.rows) for m in request.mutations
        )
        checks, changes = await asyncio.to_thread(parse) if many else parse()

        def apply(transaction: Transaction) -> bytes:
            results = mutations.apply(transaction, checks, changes)
            response = messages.TransactResponse(results=[to_result(one) for one in results])
            return response.SerializeToString()

        answer = await self._store.writer.submit(Change(apply=apply, receipt=receipt))
        return messages.TransactResponse.FromString(answer)

    async def ImportRows(
        self, request_iterator: AsyncIterator[messages.ImportRowsRequest], context: Context
    ) -> messages.ImportRowsResponse:
        """Insert the rows of a file, all or none."""
        return await self._transfers.import_rows(request_iterator, current_principal())

    def ExportRows(
        self, request: messages.ExportRowsRequest, context: Context
    ) -> AsyncIterator[messages.ExportRowsResponse]:
        """Stream a table as a file."""
        return self._transfers.export_rows(request, current_principal())

    def _table(self, written: str, principal: Principal, *, writes: bool) -> Table:
        return tables.resolve(self._store.writer.catalog, written, principal, writes=writes)


def _inserted(row_ids: range) -> bytes:
    return messages.InsertRowsResponse(row_ids=row_ids).SerializeToString()


def _binding(request: messages.ListRowsRequest, table: Table) -> bytes:
    """Return what a page token depends on: everything in the request but where and how many."""
    bound = messages.ListRowsRequest()
    bound.CopyFrom(request)
    bound.table, bound.page_size, bound.page_token = table.id, 0, ""
    return bound.SerializeToString(deterministic=True)


async def _decoded(rows: rows_pb2.Rows, columns: Sequence[Column]) -> pa.Table:
    work: Callable[[], pa.Table] = lambda: codec.decode(rows, columns)  # noqa: E731
    return await asyncio.to_thread(work) if are_many(rows) else work()


async def _encoded(
    rows: pa.Table, columns: Sequence[Column], encoding: rows_pb2.Rows.Encoding.ValueType
) -> tuple[rows_pb2.Rows, int]:
    """Return as many of the first rows as a message holds, and how many they are.

    Raises:
        ResourceExhausted: QUERY_LIMIT if it does not hold the first.
    """
    work = partial(first_rows, rows, columns, encoding, bytes_max=ROW_BYTES_MAX)
    large = rows.num_rows > INLINE_ROWS_MAX or rows.nbytes > INLINE_ARROW_BYTES_MAX
    encoded, count = await asyncio.to_thread(work) if large else work()
    if count == 0 < rows.num_rows:
        raise row_too_large()
    return encoded, count
