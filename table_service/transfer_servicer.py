"""ImportRows, PreviewImport and ExportRows of flux.table.v1.RowService: files in and out, by the spool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from chassis.faults import ResourceExhausted
from chassis.identity import Principal
from chassis.ids import IdMaker
from chassis.values import from_value
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import table_pb2
from table_service import tables, wire
from table_service.access import Right
from table_service.csv_dialect import SAMPLE_BYTES_MAX, AskedDialect, Dialect, detected
from table_service.fresh_tables import stream_with_fresh_table, with_fresh_table
from table_service.new_tables import described_schema
from table_service.result_stream import ROW_BYTES_MAX, first_rows
from table_service.schemas import new_table
from table_service.store import Store
from table_service.store.exports import Exported, export_arrow, export_file, of_query, of_table
from table_service.store.file_bytes import Format
from table_service.store.file_cuts import cut
from table_service.store.files import File
from table_service.store.heavy import Heavy
from table_service.store.inference import inferred
from table_service.store.jobs import Cursor
from table_service.store.loads import Loaded, Loads
from table_service.store.outflow import Outflow, pieces
from table_service.store.previews import Preview, preview
from table_service.store.queries import Query
from table_service.store.receipts import ReceiptKey
from table_service.store.sources import Import
from table_service.store.spool import SpooledFile
from table_service.store.statements import reading
from table_service.store.table_events import EventKind, record_event
from table_service.store.table_versions import record_version
from table_service.store.transaction import Transaction
from table_service.store.watch import Stop
from table_service.tables import Table, resolve, table_exists
from table_service.transfer_wire import (
    Mode,
    check_export,
    check_header,
    from_csv_options,
    from_format,
    to_csv_options,
)
from table_service.uploads import first_of, received

PREVIEW_BYTES_MAX = 64 * 1024 * 1024
SAMPLE_ROWS_DEFAULT = 10

_RIGHTS = {
    Mode.MODE_UNSPECIFIED: (Right.INSERT,),
    Mode.MODE_APPEND: (Right.INSERT,),
    Mode.MODE_UPSERT: (Right.INSERT, Right.UPDATE),
    Mode.MODE_REPLACE: (Right.INSERT, Right.DELETE),
}
Answer = TypeVar("Answer")


class Transfers:
    """Moves files between callers and tables."""

    def __init__(self, store: Store, heavy: Heavy, ids: IdMaker) -> None:
        self._store = store
        self._jobs = heavy.export_jobs
        self._watch = heavy.watch
        self._spool = heavy.spool
        self._turns = heavy.query_turns
        self._queries = heavy.queries
        self._limit_s = heavy.limits.transfer_time_s
        self._ids = ids
        self._loads = Loads(
            store, heavy.watch, limit_s=heavy.limits.transfer_time_s, new_id=ids.new_id
        )

    async def import_rows(
        self, requests: AsyncIterator[messages.ImportRowsRequest], principal: Principal
    ) -> AsyncIterator[messages.ImportRowsResponse]:
        """Receive a file, then load its rows, all or none.

        Nothing of DuckDB's is held while the file comes in, however slowly.
        """
        header = (await first_of(requests)).header
        check_header(header)
        asked = from_csv_options(header.csv, "header.csv")
        receipt = wire.receipt_key(principal, header)
        if (first := await self._store.first_answer(receipt)) is not None:
            yield messages.ImportRowsResponse.FromString(first)
            return
        # Before the file comes, so that nobody sends one in vain.
        self._target(header, principal)
        with self._spool.file() as path:
            spooled = SpooledFile(path, self._spool, from_format(header.format))
            try:
                async for byte_count in received(requests, spooled):
                    yield messages.ImportRowsResponse(
                        phase=messages.ImportRowsResponse.PHASE_RECEIVING, file_bytes=byte_count
                    )
                await asyncio.to_thread(spooled.end)
            finally:
                spooled.close()
            yield messages.ImportRowsResponse(
                phase=messages.ImportRowsResponse.PHASE_LOADING, file_bytes=spooled.byte_count
            )
            file = await asyncio.to_thread(_file, spooled, asked)
            answer = await self._loaded(header, file, principal, receipt)
        yield messages.ImportRowsResponse.FromString(answer)

    def _target(self, header: messages.ImportHeader, principal: Principal) -> Table | None:
        """Return the table that the rows go to, if it is there already.

        Raises:
            AlreadyExists: TABLE_EXISTS.
            Fault: As `tables.resolve`.
        """
        if header.mode == Mode.MODE_CREATE:
            namespace, name = tables.split_name(header.table)
            tables.check_namespace(namespace, principal, writes=True)
            found = self._store.writer.catalog.active.get((namespace, name))
            if found is not None:
                raise table_exists(found)
            return None
        table = resolve(self._store.writer.catalog, header.table, principal, *_RIGHTS[header.mode])
        if header.mode == Mode.MODE_UPSERT:
            table.unique_key(header.key)
        return table

    async def _loaded(
        self,
        header: messages.ImportHeader,
        file: File,
        principal: Principal,
        receipt: ReceiptKey | None,
    ) -> bytes:
        def answer(loaded: Loaded) -> bytes:
            return messages.ImportRowsResponse(
                row_count=loaded.row_count,
                created_count=loaded.created_count,
                replaced_count=loaded.replaced_count,
                file_bytes=file.spooled.byte_count,
                phase=messages.ImportRowsResponse.PHASE_DONE,
            ).SerializeToString()

        async def load() -> bytes:
            table = self._target(header, principal)
            if table is None:
                table = await self._new_table(header, file, principal)
                asked = Import(table=table, file=file)

                def record(transaction: Transaction, made: Table) -> None:
                    record_version(transaction, made, principal.subject)
                    record_event(
                        transaction,
                        id_=self._ids.new_id("evt"),
                        kind=EventKind.CREATED,
                        table=made,
                        principal=principal,
                    )

                return await self._loads.create(asked, answer, receipt, record=record)
            if header.mode == Mode.MODE_UPSERT:
                asked = Import(table=table, file=file, whole=False)
                key = table.unique_key(header.key).columns
                return await self._loads.upsert(asked, key, answer, receipt)
            asked = Import(table=table, file=file)
            if header.mode == Mode.MODE_REPLACE:
                return await self._loads.replace(asked, answer, receipt)
            return await self._loads.append(asked, answer, receipt)

        return await with_fresh_table(load)

    async def _new_table(
        self, header: messages.ImportHeader, file: File, principal: Principal
    ) -> Table:
        """Return the table that the header or the file describes."""
        columns = wire.from_columns(header.columns)
        if not columns:
            columns = await self._looked(lambda cursor: inferred(cursor, file), principal)
        described = table_pb2.Table(columns=header.columns)
        namespace, name = tables.split_name(header.table)
        return new_table(
            await described_schema(self._store, described, columns, "header"),
            id_=self._ids.new_id("tbl"),
            namespace=namespace,
            name=name,
            owner=principal.subject,
            now=self._store.clock.now(),
        )

    async def _looked(self, look: Callable[[Cursor], Answer], principal: Principal) -> Answer:
        """Return what a look at a file gives, without a write."""

        def work(cursor: Cursor, stop: Stop) -> Answer:
            with self._watch.over(cursor, stop, limit_s=self._limit_s), reading(cursor):
                return look(cursor)

        return await self._jobs.run(work, await self._turns.take(("export", principal.subject)))

    async def preview_import(
        self, requests: AsyncIterator[messages.PreviewImportRequest], principal: Principal
    ) -> messages.PreviewImportResponse:
        """Look at a file or the beginning of one."""
        header = (await first_of(requests)).header
        asked = from_csv_options(header.csv, "header.csv")
        catalog = self._store.writer.catalog
        table = resolve(catalog, header.table, principal, Right.INSERT) if header.table else None
        with self._spool.file() as path:
            spooled = SpooledFile(
                path, self._spool, from_format(header.format), bytes_max=PREVIEW_BYTES_MAX
            )
            try:
                async for _ in received(requests, spooled):
                    pass
                await asyncio.to_thread(spooled.end, partial=header.partial)
            finally:
                spooled.close()
            found_in = replace(asked, detect=True)

            def look(cursor: Cursor) -> messages.PreviewImportResponse:
                file = _file(spooled, found_in)
                if header.partial:
                    cut(path, file.format, file.dialect)
                return _previewed(file, preview(cursor, file, table, _sample_rows(header)), header)

            return await self._looked(look, principal)

    async def export_rows(
        self, request: messages.ExportRowsRequest, principal: Principal
    ) -> AsyncIterator[messages.ExportRowsResponse]:
        """Send a table or a result as a file; a slow reader holds no snapshot for long."""
        check_export(request)
        dialect = from_csv_options(request.csv, "csv").plain()

        async def parts() -> AsyncIterator[messages.ExportRowsResponse]:
            with self._spool.file() as path:
                async for part in self._exported(request, principal, dialect, path):
                    yield part

        async for part in stream_with_fresh_table(parts):
            yield part

    async def _exported(
        self,
        request: messages.ExportRowsRequest,
        principal: Principal,
        dialect: Dialect,
        path: Path,
    ) -> AsyncIterator[messages.ExportRowsResponse]:
        format_, stop = from_format(request.format), Stop()
        prepare = self._prepared(request, principal)
        flow: Outflow | None = None
        if format_ is Format.ARROW_IPC:
            flow = Outflow(path, bytes_max=self._spool.file_bytes_max)

        def work(cursor: Cursor, stop: Stop) -> int:
            exported, limit_s = prepare(cursor, stop)
            with (
                self._watch.over(
                    cursor, stop, limit_s=limit_s, passed=lambda: self._spool.passed(path)
                ),
                reading(cursor),
            ):
                if flow is not None:
                    return export_arrow(cursor, exported, flow)
                return export_file(cursor, exported, format_, dialect, path)

        writing = await self._begun(work, stop, principal, path, flow)
        try:
            byte_count = 0
            async for chunk in flow.chunks() if flow is not None else _whole(path, writing):
                byte_count += len(chunk)
                yield messages.ExportRowsResponse(chunk=chunk)
            row_count = await asyncio.wrap_future(writing)
        finally:
            stop.ask()
            if flow is not None:
                flow.abandon()
        yield messages.ExportRowsResponse(
            summary=messages.ExportSummary(row_count=row_count, file_bytes=byte_count)
        )

    async def _begun(
        self,
        work: Callable[[Cursor, Stop], int],
        stop: Stop,
        principal: Principal,
        path: Path,
        flow: Outflow | None,
    ) -> Future[int]:
        """Begin an export in the caller's turn, and see to what it leaves once nothing is under way."""
        end_turn = await self._turns.take(("export", principal.subject))
        try:
            writing = self._jobs.start(work, stop)
        except ResourceExhausted:
            end_turn()
            raise

        def end(_writing: object) -> None:
            end_turn()
            if flow is not None:
                flow.end()
            if stop.asked:
                # DuckDB makes the file anew if it went, with a caller who gave up, before it was opened.
                path.unlink(missing_ok=True)

        writing.add_done_callback(end)
        return writing

    def _prepared(
        self, request: messages.ExportRowsRequest, principal: Principal
    ) -> Callable[[Cursor, Stop], tuple[Exported, float]]:
        """Return what says, in the thread that exports, what is exported, and how long it may take."""
        if request.table:
            table = resolve(self._store.writer.catalog, request.table, principal, Right.READ)
            columns = tuple(table.column(name) for name in request.columns) or table.columns
            exported = of_table(table, columns)
            return lambda _cursor, _stop: (exported, self._limit_s)
        query = Query(
            sql=request.sql,
            parameters={name: from_value(value) for name, value in request.parameters.items()},
            datasets=dict(request.datasets),
            principal=principal,
        )
        queries = self._queries
        return lambda cursor, stop: (
            of_query(queries.bind(cursor, stop, query)),
            queries.limits.time_s,
        )


def _sample_rows(header: messages.PreviewHeader) -> int:
    return header.sample_row_count or SAMPLE_ROWS_DEFAULT


def _previewed(
    file: File, found: Preview, header: messages.PreviewHeader
) -> messages.PreviewImportResponse:
    """Return a preview as a message, with as many of its rows as there is room for."""
    sample, _ = first_rows(found.sample, found.columns, header.encoding, bytes_max=ROW_BYTES_MAX)
    return messages.PreviewImportResponse(
        csv=to_csv_options(file.dialect) if file.format is Format.CSV else None,
        columns=wire.to_columns(found.columns),
        sample=sample,
        problems=[
            messages.PreviewImportResponse.Problem(
                row=problem.row, column=problem.column, description=problem.description
            )
            for problem in found.problems
        ],
        row_count=found.row_count,
        file_bytes=file.spooled.byte_count,
    )


def _file(spooled: SpooledFile, asked: AskedDialect) -> File:
    """Return the file with the dialect that it has, seen from its beginning if that is asked for."""
    dialect = asked.plain()
    if asked.detect and spooled.seen.format is Format.CSV:
        with spooled.path.open("rb") as beginning:
            dialect = detected(beginning.read(SAMPLE_BYTES_MAX), asked)
    return File(spooled=spooled, format=spooled.seen.format, dialect=dialect)


async def _whole(path: Path, writing: Future[int]) -> AsyncIterator[bytes]:
    """Yield the file once it is whole."""
    await asyncio.wrap_future(writing)
    with path.open("rb") as file:
        left = pieces(file)
        # Ends with the file.
        while chunk := await asyncio.to_thread(next, left, b""):
            yield chunk
