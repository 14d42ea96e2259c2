"""Readers: a few threads, each with a cursor of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Generic, TypeVar

import duckdb
import pyarrow as pa

from chassis.faults import ResourceExhausted
from table_service.store.cursors import Cursors
from table_service.store.database import Database
from table_service.store.errors import read_fault

WAITING_READS_MAX = 2_000
RETRY_AFTER = timedelta(seconds=1)
INTERRUPT_AGAIN_S = 0.02

Answer = TypeVar("Answer")
Cursor = duckdb.DuckDBPyConnection


def read_arrow(
    cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object] | None = None
) -> pa.Table:
    """Return the whole result of one SELECT; `parameters` are those that it names with `$`."""
    return cursor.sql(sql, params=dict(parameters or {})).to_arrow_table()


class Readers:
    """Runs functions that read, off the event loop."""

    def __init__(self, database: Database, *, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="table-reader")
        self._cursors = Cursors(database, threads)
        self._waiting = 0

    async def read(
        self,
        work: Callable[[duckdb.DuckDBPyConnection], Answer],
        ended: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Return what `work` returns. If the caller is cancelled, its statement is interrupted.

        `ended` is called, in some thread, once nothing of it is under way any more, which may be later.

        Raises:
            ResourceExhausted: QUEUE_FULL; QUERY_LIMIT for a lack of memory.
            InvalidArgument: SQL_INVALID or QUERY_FAILED; what `work` runs may be a caller's SQL.
            Unavailable: STORE_UNAVAILABLE.
        """
        if self._waiting >= WAITING_READS_MAX:
            ended()
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{WAITING_READS_MAX} requests wait already",
                retry_after=RETRY_AFTER,
                limit=WAITING_READS_MAX,
            )
        self._waiting += 1
        reading = _Reading(work, self._cursors)
        job = self._threads.submit(reading.run)
        job.add_done_callback(lambda _: ended())
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            _stop(asyncio.get_running_loop(), reading, job)
            raise
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for reads under way, then stop."""
        self._threads.shutdown()
        self._cursors.close()


class _Reading(Generic[Answer]):
    """One read: which cursor it has while it runs, so that it can be stopped."""

    def __init__(
        self,
        work: Callable[[duckdb.DuckDBPyConnection], Answer],
        cursors: Cursors,
    ) -> None:
        self._work = work
        self._cursors = cursors
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._lock = threading.Lock()

    def run(self) -> Answer:
        cursor = self._cursors.get()
        with self._lock:
            self._cursor = cursor
        try:
            return self._work(cursor)
        except duckdb.Error as error:
            fault = read_fault(error)
            if fault is None:
                raise
            raise fault from error
        finally:
            # Under the lock, so that nobody interrupts the read after this one.
            with self._lock:
                self._cursor = None
            self._cursors.put(cursor)

    def stop(self) -> None:
        with self._lock:
            if self._cursor is not None:
                self._cursor.interrupt()


def _stop(loop: asyncio.AbstractEventLoop, reading: _Reading[Answer], job: Future[Answer]) -> None:
    """Interrupt a read until it has ended: an interrupt that comes between two statements is lost."""
    if not job.done():
        reading.stop()
        loop.call_later(INTERRUPT_AGAIN_S, _stop, loop, reading, job)
