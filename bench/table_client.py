"""The calls that the benchmarks of table_service make, on one channel as one person."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from uuid import uuid4

import grpc

from chassis.values import to_value
from examples import flights
from flux.table.v1 import (
    query_service_pb2,
    query_service_pb2_grpc,
    row_service_pb2,
    row_service_pb2_grpc,
    rows_pb2,
    table_service_pb2,
    table_service_pb2_grpc,
)

Metadata = tuple[tuple[str, str], ...]
# Three columns, as in many small tables.
SMALL = "id:count name:text amount:double"
_TYPED = rows_pb2.Rows.ENCODING_TYPED


class TableClient:
    """Calls table_service; every answer is checked a little, so that no figure is of an error."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self._metadata = metadata
        self._rows = row_service_pb2_grpc.RowServiceStub(channel)
        self._tables = table_service_pb2_grpc.TableServiceStub(channel)
        self._queries = query_service_pb2_grpc.QueryServiceStub(channel)

    async def create(self, name: str, columns: str = SMALL) -> None:
        """Create a table whose columns are written as "name:kind name:kind"."""
        table = flights.table(name, columns, description="")
        request = table_service_pb2.CreateTableRequest(table=table)
        await self._tables.CreateTable(request, metadata=self._metadata)

    async def insert(self, table: str, *rows: rows_pb2.TypedRow) -> None:
        """Insert rows of a small table with a request_id."""
        typed = rows_pb2.TypedRows(columns=("id", "name", "amount"), rows=rows)
        request = row_service_pb2.InsertRowsRequest(
            table=table, rows=rows_pb2.Rows(typed=typed), request_id=str(uuid4())
        )
        answer = await self._rows.InsertRows(request, metadata=self._metadata)
        assert len(answer.row_ids) == len(rows)

    async def get(self, table: str, row_id: int) -> None:
        """Read one row."""
        request = row_service_pb2.GetRowRequest(table=table, row_id=row_id, encoding=_TYPED)
        answer = await self._rows.GetRow(request, metadata=self._metadata)
        assert answer.rows.typed.rows[0].values[0].int64 == row_id

    async def query(self, sql: str) -> int:
        """Run a query and return how many rows its result has."""
        request = query_service_pb2.QueryRequest(sql=sql, encoding=_TYPED)
        count = 0
        async for part in self._queries.Query(request, metadata=self._metadata):
            count = part.summary.row_count or count
        return count

    async def list_page(self, token: str) -> str:
        """Read a page of tables and return the token of the next; empty after the last."""
        request = table_service_pb2.ListTablesRequest(page_token=token)
        answer = await self._tables.ListTables(request, metadata=self._metadata)
        assert answer.tables
        return str(answer.next_page_token)

    async def import_file(
        self,
        table: str,
        file_format: row_service_pb2.FileFormat.ValueType,
        pieces: Iterable[bytes],
    ) -> int:
        """Import a file and return how many rows it had."""

        async def requests() -> AsyncIterator[row_service_pb2.ImportRowsRequest]:
            header = row_service_pb2.ImportHeader(
                table=table, format=file_format, request_id=str(uuid4())
            )
            if file_format == row_service_pb2.FILE_FORMAT_CSV:
                header.csv.null_text = flights.NULL_TEXT
            yield row_service_pb2.ImportRowsRequest(header=header)
            for piece in pieces:
                yield row_service_pb2.ImportRowsRequest(chunk=piece)

        count = 0
        async for answer in self._rows.ImportRows(requests(), metadata=self._metadata):
            count = answer.row_count
        return count

    async def export_file(
        self, table: str, file_format: row_service_pb2.FileFormat.ValueType
    ) -> int:
        """Export a table and return how many rows the file has."""
        request = row_service_pb2.ExportRowsRequest(table=table, format=file_format)
        count = 0
        async for answer in self._rows.ExportRows(request, metadata=self._metadata):
            count = answer.summary.row_count or count
        return count


def small_row(number: int) -> rows_pb2.TypedRow:
    """Return a row of a small table."""
    values = (number, f"name of row number {number}", number * 0.5)
    return rows_pb2.TypedRow(values=[to_value(value) for value in values])
