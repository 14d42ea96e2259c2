"""Reading single rows by their ids: those of one table that wait together are read by one statement.

A statement costs about a millisecond whether it reads one row or thirty. A read that comes while others
are under way waits for them and is in the next statement, so what was written before it came is seen.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

import duckdb
import pyarrow as pa

from chassis.faults import Fault, ResourceExhausted
from table_service.plain_rows import PlainRows, are_plain
from table_service.store.cursors import Cursors
from table_service.store.database import Database
from table_service.store.errors import read_fault
from table_service.store.rows import row_not_found
from table_service.store.transaction import ParsedStatements, physical
from table_service.store.waiting import Gathering, Waiting, deliver
from table_service.tables import Table
from table_service.types import ROW_ID, SYSTEM_COLUMNS, Column, outgoing_list

WAITING_READS_MAX = 2_000
BATCH_ROWS_MAX = 128
RETRY_AFTER = timedelta(seconds=1)
# The bounds, which are constants, let DuckDB skip every row group without one of the rows.
_ANY_OF = f"{ROW_ID} BETWEEN $1 AND $2 AND {ROW_ID} IN (SELECT unnest($3::BIGINT[]))"

Answer = TypeVar("Answer")
# Makes an answer, or the fault that is one, of each row, plain or of carriers, which have these columns.
Encode = Callable[[pa.Table | PlainRows, Sequence[Column]], Sequence[Answer | Fault]]


class _Batch(Generic[Answer]):
    """Reads of one table that want the same made of their rows; what they ask is a row id."""

    __slots__ = ("encode", "reads", "table")

    def __init__(
        self, table: Table, encode: Encode[Answer], reads: list[Waiting[int, Answer]]
    ) -> None:
        self.table = table
        self.encode = encode
        self.reads = reads


class PointReads(Generic[Answer]):
    """One thread with a cursor of its own that reads what waits: with more, less would wait together."""

    def __init__(self, database: Database) -> None:
        self._cursors = Cursors(database, 1)
        self._latest: tuple[duckdb.DuckDBPyConnection, ParsedStatements] | None = None
        self._batches: dict[tuple[str, int, Encode[Answer]], _Batch[Answer]] = {}
        self._gathering = Gathering()
        self._thread = threading.Thread(target=self._serve, name="table-points", daemon=True)
        self._thread.start()

    async def read(self, table: Table, row_id: int, encode: Encode[Answer]) -> Answer:
        """Return what `encode` makes of a row, the server's columns first; the same function each time.

        Raises:
            NotFound: ROW_NOT_FOUND.
            ResourceExhausted: QUEUE_FULL; QUERY_LIMIT for a lack of memory.
            Aborted: TABLE_CHANGED.
            Unavailable: STORE_UNAVAILABLE.
            Fault: Whatever `encode` returned or raised.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        with self._gathering.lock:
            if self._gathering.count >= WAITING_READS_MAX:
                raise ResourceExhausted(
                    "QUEUE_FULL",
                    f"{WAITING_READS_MAX} requests wait already",
                    retry_after=RETRY_AFTER,
                    limit=WAITING_READS_MAX,
                )
            key = (table.id, table.revision, encode)
            batch = self._batches.get(key)
            if batch is None:
                batch = self._batches[key] = _Batch[Answer](table, encode, [])
            batch.reads.append(Waiting[int, Answer](row_id, future, loop))
            self._gathering.added()
        return await future

    def close(self) -> None:
        """Answer what waits, then stop. Nothing may be asked any more."""
        with self._gathering.lock:
            self._gathering.close()
        self._thread.join()
        self._cursors.close()

    def _serve(self) -> None:
        # Ends when closed and empty.
        while batches := self._next():
            for batch in batches:
                reads = [read for read in batch.reads if not read.future.cancelled()]
                if reads:
                    self._answer(batch, reads)
                    deliver(reads)

    def _next(self) -> list[_Batch[Answer]]:
        """Return all that waits, batch by batch; nothing when closed."""
        with self._gathering.lock:
            self._gathering.wait()
            self._gathering.taken(self._gathering.count)
            batches = list(self._batches.values())
            self._batches.clear()
        return [
            _Batch[Answer](batch.table, batch.encode, batch.reads[start : start + BATCH_ROWS_MAX])
            for batch in batches
            for start in range(0, len(batch.reads), BATCH_ROWS_MAX)
        ]

    def _statements(self) -> ParsedStatements:
        """Return the statements of the cursor, which is another one once the file was opened again."""
        cursor = self._cursors.get()
        # It is this thread's alone, brought back or not.
        self._cursors.put(cursor)
        if self._latest is None or self._latest[0] is not cursor:
            self._latest = cursor, ParsedStatements(cursor)
        return self._latest[1]

    def _answer(self, batch: _Batch[Answer], reads: Sequence[Waiting[int, Answer]]) -> None:
        """Give each read its outcome; if reading fails, each alone, so that it fails for its own reason."""
        try:
            columns = (*SYSTEM_COLUMNS, *batch.table.columns)
            found, rows = self._read(batch.table, columns, [read.asked for read in reads])
            places = {row_id: at for at, row_id in enumerate(found)}
            answers = batch.encode(rows, columns) if places else ()
            for read in reads:
                at = places.get(read.asked)
                answer = row_not_found(batch.table, read.asked) if at is None else answers[at]
                if isinstance(answer, Fault):
                    read.error = answer
                else:
                    read.answer = answer
        except Exception as error:  # noqa: BLE001  # whoever waits for the row gets it, bugs too
            if len(reads) == 1:
                reads[0].error = _told(error)
                return
            for read in reads:
                self._answer(batch, [read])

    def _read(
        self, table: Table, columns: tuple[Column, ...], ids: list[int]
    ) -> tuple[Sequence[object], pa.Table | PlainRows]:
        """Return the ids of those of the rows that exist, and them."""
        select = f"SELECT {outgoing_list(columns)} FROM {physical(table)}"
        if len(ids) == 1:
            found = self._statements().run(f"{select} WHERE {ROW_ID} = $1", ids)
        else:
            found = self._statements().run(f"{select} WHERE {_ANY_OF}", (min(ids), max(ids), ids))
        if not are_plain(columns):
            rows = found.to_arrow_table()
            assert rows is not None
            return rows.column(0).to_pylist(), rows
        cells = tuple(map(list, zip(*found.fetchall(), strict=True)))
        if not cells:
            return (), PlainRows(columns=columns, cells=(), count=0)
        return cells[0], PlainRows(columns=columns, cells=cells, count=len(cells[0]))


def _told(error: Exception) -> Exception:
    """Return what the caller is told: the fault that a DuckDB error is, or the error itself."""
    if isinstance(error, duckdb.Error) and (fault := read_fault(error)) is not None:
        fault.__cause__ = error
        return fault
    return error
