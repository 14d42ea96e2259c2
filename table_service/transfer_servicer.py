"""ImportRows and ExportRows of flux.table.v1.RowService: files in and out, through the spool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path

from chassis.faults import Fault, FieldViolation, InvalidArgument
from chassis.identity import Principal
from flux.table.v1 import row_service_pb2 as messages
from table_service import wire
from table_service.store import Store
from table_service.store.datasets import watched
from table_service.store.errors import write_fault
from table_service.store.exports import export, grows_in_order
from table_service.store.heavy import Heavy
from table_service.store.import_faults import explain
from table_service.store.imports import Format, Import, LoadFailed, load
from table_service.store.jobs import Cursor
from table_service.store.spool import SpooledFile
from table_service.store.statements import reading
from table_service.store.transaction import Transaction
from table_service.store.watch import Stop
from table_service.tables import Table, resolve
from table_service.types import Column

CHUNK_BYTES = 1024 * 1024
# Chunks received are written together, because each write costs a change of threads.
_WRITE_BYTES = 4 * 1024 * 1024
_FOLLOW_S = 0.005

_FORMATS = {
    messages.FILE_FORMAT_CSV: Format.CSV,
    messages.FILE_FORMAT_PARQUET: Format.PARQUET,
    messages.FILE_FORMAT_ARROW_IPC: Format.ARROW_IPC,
    messages.FILE_FORMAT_JSON_LINES: Format.JSON_LINES,
}


class Transfers:
    """Moves files between callers and tables."""

    def __init__(self, store: Store, heavy: Heavy) -> None:
        self._store = store
        self._jobs = heavy.export_jobs
        self._watch = heavy.watch
        self._spool = heavy.spool
        self._limit_s = heavy.limits.transfer_time_s

    async def import_rows(
        self, requests: AsyncIterator[messages.ImportRowsRequest], principal: Principal
    ) -> messages.ImportRowsResponse:
        """Receive a file, then insert its rows, all or none.

        Nothing of DuckDB's is held while the file comes in, however slowly.
        """
        header = await _header(requests)
        receipt = wire.receipt_key(principal, header)
        if (first := await self._store.first_answer(receipt)) is not None:
            return messages.ImportRowsResponse.FromString(first)
        table = resolve(self._store.writer.catalog, header.table, principal, writes=True)
        format_ = _FORMATS[header.format]
        with self._spool.file() as path:
            asked = Import(
                table=table,
                file=await self._received(
                    path, requests, text=format_ in (Format.CSV, Format.JSON_LINES)
                ),
                format=format_,
                delimiter=_delimiter(header.csv.delimiter),
                null_text=header.csv.null_text,
            )
            stop = Stop()

            def apply(transaction: Transaction) -> bytes:
                return messages.ImportRowsResponse(
                    row_count=load(transaction, asked), file_bytes=asked.file.byte_count
                ).SerializeToString()

            work = watched(self._watch, stop, self._limit_s, self._store.spool, apply)
            try:
                answer = await self._store.bulk.run(work, receipt)
            except LoadFailed as failed:
                raise await self._why(asked, failed) from failed
            except asyncio.CancelledError:
                stop.ask()
                raise
        return messages.ImportRowsResponse.FromString(answer)

    async def export_rows(
        self, request: messages.ExportRowsRequest, principal: Principal
    ) -> AsyncIterator[messages.ExportRowsResponse]:
        """Write the table into a file and send that on; a slow reader holds no snapshot."""
        table = resolve(self._store.writer.catalog, request.table, principal, writes=False)
        columns = tuple(table.column(name) for name in request.columns) or table.columns
        format_, stop = _FORMATS[request.format], Stop()
        with self._spool.file() as path:
            writing = self._start_export(table, columns, format_, path, stop)
            try:
                if not grows_in_order(format_):
                    await asyncio.wrap_future(writing)
                byte_count = 0
                async for chunk in _follow(path, writing):
                    byte_count += len(chunk)
                    yield messages.ExportRowsResponse(chunk=chunk)
                row_count = await asyncio.wrap_future(writing)
            finally:
                stop.ask()
        yield messages.ExportRowsResponse(
            summary=messages.ExportSummary(row_count=row_count, file_bytes=byte_count)
        )

    def _start_export(
        self, table: Table, columns: tuple[Column, ...], format_: Format, path: Path, stop: Stop
    ) -> Future[int]:
        def work(cursor: Cursor, stop: Stop) -> int:
            with self._watch.over(
                cursor, stop, limit_s=self._limit_s, passed=lambda: self._spool.passed(path)
            ):
                return export(cursor, table, columns, format_, path)

        return self._jobs.start(work, stop)

    async def _received(
        self, path: Path, requests: AsyncIterator[messages.ImportRowsRequest], *, text: bool
    ) -> SpooledFile:
        file = SpooledFile(path, self._spool, text=text)
        waiting: list[bytes] = []
        size = 0
        try:
            async for request in requests:
                if request.WhichOneof("part") != "chunk":
                    raise _out_of_order("only the first message is the header")
                waiting.append(request.chunk)
                size += len(request.chunk)
                if size >= _WRITE_BYTES:
                    await asyncio.to_thread(file.write, b"".join(waiting))
                    waiting, size = [], 0
            await asyncio.to_thread(file.write, b"".join(waiting))
        finally:
            file.close()
        return file

    async def _why(self, asked: Import, failed: LoadFailed) -> Exception:
        """Return what to tell of a load that failed."""

        def work(cursor: Cursor, stop: Stop) -> None:
            with self._watch.over(cursor, stop, limit_s=self._limit_s), reading(cursor):
                explain(cursor, asked, failed.error)

        try:
            await self._jobs.run(work)
        except Fault as fault:
            return fault
        return write_fault(failed.error) or failed.error


async def _header(
    requests: AsyncIterator[messages.ImportRowsRequest],
) -> messages.ImportHeader:
    async for first in requests:
        if first.WhichOneof("part") == "header":
            return first.header
        break
    raise _out_of_order("the first message must be the header")


async def _follow(path: Path, writing: Future[int]) -> AsyncIterator[bytes]:
    """Yield what is written into the file until `writing` has ended."""
    with path.open("rb") as file:
        # Ends when the file is whole and read.
        while True:
            ended = writing.done()
            chunk = await asyncio.to_thread(file.read, CHUNK_BYTES)
            if chunk:
                yield chunk
            elif ended:
                return
            else:
                await asyncio.sleep(_FOLLOW_S)


def _delimiter(written: str) -> str:
    if written in ('"', "\r", "\n"):
        raise InvalidArgument(
            "FIELDS_INVALID",
            "csv.delimiter: a quote or a line end cannot separate values",
            violations=(
                FieldViolation(
                    field="header.csv.delimiter",
                    description="a quote or a line end cannot separate values",
                ),
            ),
        )
    return written or ","


def _out_of_order(why: str) -> InvalidArgument:
    return InvalidArgument(
        "FIELDS_INVALID", why, violations=(FieldViolation(field="part", description=why),)
    )
