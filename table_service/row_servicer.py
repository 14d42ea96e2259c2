"""flux.table.v1.RowService: parse, call, wrap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import grpc
import pyarrow as pa
from google.protobuf.message import Message

from chassis.identity import Principal, current_principal
from chassis.paging import decode_token, encode_token, page_size
from chassis.values import from_value
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import row_service_pb2_grpc, rows_pb2
from table_service import row_batches, tables
from table_service.access import Right
from table_service.fresh_tables import looking_again, with_fresh_table
from table_service.ordering import Order, parse_order
from table_service.plain_rows import PlainReader
from table_service.result_stream import ROW_BYTES_MAX, first_rows, row_too_large
from table_service.row_answers import row_answers
from table_service.row_batches import stands_alone
from table_service.selection_wire import one_row
from table_service.store import Store, listing, upserts
from table_service.store import rows as row_store
from table_service.store.defaults import marked
from table_service.store.expressions import Expressions
from table_service.store.heavy import Heavy
from table_service.store.listing import Listed, Lister, Page
from table_service.store.ordering import read_position
from table_service.store.readers import Cursor
from table_service.store.receipts import ReceiptKey
from table_service.store.transaction import Transaction
from table_service.store.watch import Stop
from table_service.store.write_queue import Change, Insert
from table_service.tables import Table
from table_service.transact_servicer import Transactions
from table_service.transfer_servicer import Transfers
from table_service.types import Column
from table_service.wire import INLINE_ARROW_BYTES_MAX, INLINE_ROWS_MAX, receipt_key

Context = grpc.aio.ServicerContext[object, object]
Write = Callable[[Principal, ReceiptKey | None], Awaitable[bytes]]


class RowServicer(row_service_pb2_grpc.RowServiceServicer):
    """Rows one by one and together."""

    def __init__(self, store: Store, transfers: Transfers, heavy: Heavy) -> None:
        expressions = Expressions()
        self._store = store
        self._transfers = transfers
        self._heavy = heavy
        self._lister = Lister(expressions)
        self._plain_rows = PlainReader()
        # One function for each encoding, so that reads that want the same can be told.
        self._row_answers = {
            encoding: partial(row_answers, encoding) for encoding in rows_pb2.Rows.Encoding.values()
        }
        self._transactions = Transactions(store, heavy.watch, expressions)

    async def InsertRows(  # the contract's name, as are those below
        self, request: messages.InsertRowsRequest, context: Context
    ) -> messages.InsertRowsResponse:
        """Insert rows, all or those that can be."""

        async def write(principal: Principal, receipt: ReceiptKey | None) -> bytes:
            table = self._table(request.table, principal, Right.INSERT)
            if stands_alone(request.error_mode):
                return await self._insert_good(request, table, receipt)
            rows = self._plain_rows.read(request.rows, table) or await row_batches.decode_whole(
                self._store,
                request.rows,
                table,
                row_store.explain,
                complete=True,
                coerce=request.coerce,
            )
            if isinstance(rows, pa.Table) and rows.num_rows == 0 and receipt is None:
                return b""
            return await self._store.writer.submit(
                Insert(
                    table=table,
                    rows=rows,
                    answer=row_batches.inserted,
                    path=row_batches.rows_path("rows", request.rows),
                    receipt=receipt,
                    byte_count=request.ByteSize(),
                )
            )

        return messages.InsertRowsResponse.FromString(await self._answer(request, write))

    async def _insert_good(
        self, request: messages.InsertRowsRequest, table: Table, receipt: ReceiptKey | None
    ) -> bytes:
        decoded = await row_batches.decode(
            request.rows, table, complete=True, coerce=request.coerce, per_row=True
        )
        rows = marked(decoded.rows, decoded.missing)

        def apply(transaction: Transaction) -> bytes:
            written = row_store.insert_good(transaction, table, rows, decoded.places)
            return row_batches.inserted_some(decoded, written)

        return await self._submit(apply, receipt, request)

    async def UpsertRows(
        self, request: messages.UpsertRowsRequest, context: Context
    ) -> messages.UpsertRowsResponse:
        """Insert rows, or update those that have their key."""

        async def write(principal: Principal, receipt: ReceiptKey | None) -> bytes:
            table = self._table(request.table, principal, Right.INSERT, Right.UPDATE)
            key = table.unique_key(request.key).columns
            path = row_batches.rows_path("rows", request.rows)
            if stands_alone(request.error_mode):
                return await self._upsert_good(request, table, key, receipt)
            rows = await row_batches.decode_whole(
                self._store,
                request.rows,
                table,
                partial(upserts.explain, key=key),
                complete=False,
                coerce=request.coerce,
            )

            def apply(transaction: Transaction) -> bytes:
                return row_batches.upserted(upserts.upsert(transaction, table, key, rows, path))

            return await self._submit(apply, receipt, request)

        return messages.UpsertRowsResponse.FromString(await self._answer(request, write))

    async def _upsert_good(
        self,
        request: messages.UpsertRowsRequest,
        table: Table,
        key: Sequence[str],
        receipt: ReceiptKey | None,
    ) -> bytes:
        decoded = await row_batches.decode(
            request.rows, table, complete=False, coerce=request.coerce, per_row=True
        )
        rows = marked(decoded.rows, decoded.missing)
        path = row_batches.rows_path("rows", request.rows)

        def apply(transaction: Transaction) -> bytes:
            written = upserts.upsert_good(transaction, table, key, rows, decoded.places, path)
            return row_batches.upserted_some(decoded, written)

        return await self._submit(apply, receipt, request)

    @looking_again
    async def GetRow(
        self, request: messages.GetRowRequest, context: Context
    ) -> messages.GetRowResponse:
        """Return one row."""
        table = self._table(request.table, current_principal(), Right.READ)
        answer = await self._store.points.read(
            table, request.row_id, self._row_answers[request.encoding]
        )
        assert isinstance(answer, messages.GetRowResponse)
        return answer

    @looking_again
    async def ListRows(
        self, request: messages.ListRowsRequest, context: Context
    ) -> messages.ListRowsResponse:
        """Return a page of rows."""
        table = self._table(request.table, current_principal(), Right.READ)
        orders = parse_order(request.order_by, table.columns)
        binding = _binding(request, table, orders)
        page = Page(
            columns=listing.read_columns(table, request.columns),
            orders=orders,
            after=read_position(decode_token(request.page_token, binding), orders),
            size=page_size(request.page_size),
            filter=request.filter.strip(),
            parameters={name: from_value(value) for name, value in request.parameters.items()},
            count=request.count,
        )
        listed = await self._listed(table, page)
        encoded, count = await _encoded(listed.rows, page.columns, request.encoding)
        more = listed.more or count < listed.rows.num_rows
        return messages.ListRowsResponse(
            rows=encoded,
            next_page_token=encode_token(listed.position(count - 1), binding) if more else "",
            total_count=listed.total_count,
        )

    async def _listed(self, table: Table, page: Page) -> Listed:
        """Return a page; in the caller's turn and for a limited time, where it may read many rows."""
        if not (page.filter or page.orders or page.count):
            return await self._store.readers.read(
                lambda cursor: self._lister.page(cursor, table, page)
            )
        stop, limit_s = Stop(), self._heavy.limits.query_time_s

        def work(cursor: Cursor) -> Listed:
            with self._heavy.watch.over(cursor, stop, limit_s=limit_s):
                return self._lister.page(cursor, table, page)

        turn = await self._heavy.list_turns.take(current_principal().subject)
        return await self._store.readers.read(work, turn)

    async def UpdateRow(
        self, request: messages.UpdateRowRequest, context: Context
    ) -> messages.UpdateRowResponse:
        """Change some columns of one row."""

        async def write(principal: Principal, receipt: ReceiptKey | None) -> bytes:
            table = self._table(request.table, principal, Right.UPDATE)
            values = one_row(request.values, table, "values", coerce=request.coerce)
            expected = request.expected_version if request.HasField("expected_version") else None

            def apply(transaction: Transaction) -> bytes:
                [version] = row_store.update(
                    transaction, table, [request.row_id], [expected], values
                )
                return messages.UpdateRowResponse(version=version).SerializeToString()

            return await self._submit(apply, receipt, request)

        return messages.UpdateRowResponse.FromString(await self._answer(request, write))

    async def UpdateRows(
        self, request: messages.UpdateRowsRequest, context: Context
    ) -> messages.UpdateRowsResponse:
        """Change the selected rows."""
        write = partial(self._transactions.update_rows, request)
        return messages.UpdateRowsResponse.FromString(await self._answer(request, write))

    async def DeleteRow(
        self, request: messages.DeleteRowRequest, context: Context
    ) -> messages.DeleteRowResponse:
        """Delete one row."""

        async def write(principal: Principal, receipt: ReceiptKey | None) -> bytes:
            table = self._table(request.table, principal, Right.DELETE)
            expected = request.expected_version if request.HasField("expected_version") else None

            def apply(transaction: Transaction) -> bytes:
                row_store.delete(transaction, table, [request.row_id], [expected])
                return b""

            return await self._submit(apply, receipt, request)

        return messages.DeleteRowResponse.FromString(await self._answer(request, write))

    async def DeleteRows(
        self, request: messages.DeleteRowsRequest, context: Context
    ) -> messages.DeleteRowsResponse:
        """Delete the selected rows."""
        write = partial(self._transactions.delete_rows, request)
        return messages.DeleteRowsResponse.FromString(await self._answer(request, write))

    async def Transact(
        self, request: messages.TransactRequest, context: Context
    ) -> messages.TransactResponse:
        """Apply several mutations in one commit."""
        write = partial(self._transactions.transact, request)
        return messages.TransactResponse.FromString(await self._answer(request, write))

    def ImportRows(
        self, request_iterator: AsyncIterator[messages.ImportRowsRequest], context: Context
    ) -> AsyncIterator[messages.ImportRowsResponse]:
        """Take the rows of a file into a table, all or none."""
        return self._transfers.import_rows(request_iterator, current_principal())

    async def PreviewImport(
        self, request_iterator: AsyncIterator[messages.PreviewImportRequest], context: Context
    ) -> messages.PreviewImportResponse:
        """Look at a file, and say how it would be read."""
        return await self._transfers.preview_import(request_iterator, current_principal())

    def ExportRows(
        self, request: messages.ExportRowsRequest, context: Context
    ) -> AsyncIterator[messages.ExportRowsResponse]:
        """Stream a table, or the result of a query, as a file."""
        return self._transfers.export_rows(request, current_principal())

    async def _submit(
        self, apply: Callable[[Transaction], bytes], receipt: ReceiptKey | None, request: Message
    ) -> bytes:
        change = Change(apply=apply, receipt=receipt, byte_count=request.ByteSize())
        return await self._store.writer.submit(change)

    def _table(self, written: str, principal: Principal, *rights: Right) -> Table:
        return tables.resolve(self._store.writer.catalog, written, principal, *rights)

    async def _answer(self, request: Message, write: Write) -> bytes:
        """Return the answer to a write: the first one, if the request has come before."""
        principal = current_principal()
        receipt = receipt_key(principal, request)
        if (first := await self._store.first_answer(receipt)) is not None:
            return first
        return await with_fresh_table(lambda: write(principal, receipt))


def _binding(request: messages.ListRowsRequest, table: Table, orders: Sequence[Order]) -> bytes:
    """Return what a page token depends on: all of the request but where, how many and whether to count."""
    bound = messages.ListRowsRequest()
    bound.CopyFrom(request)
    bound.table, bound.page_size, bound.page_token, bound.count = table.id, 0, "", False
    types = repr([order.column.type for order in orders])
    return bound.SerializeToString(deterministic=True) + types.encode()


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
