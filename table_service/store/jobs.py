"""Heavy reads: a few threads with a cursor each, and a bounded number of callers who wait for one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import duckdb

from chassis.faults import ResourceExhausted
from table_service.store.cursors import Cursors
from table_service.store.database import Database
from table_service.store.priorities import give_way
from table_service.store.watch import Stop

RETRY_AFTER = timedelta(seconds=1)

Answer = TypeVar("Answer")
# What a job runs on, for those who do not import duckdb.
Cursor = duckdb.DuckDBPyConnection


class Jobs:
    """Runs functions that read for long, off the event loop and apart from the short reads."""

    def __init__(self, database: Database, *, threads: int, waiting_max: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(
            threads, thread_name_prefix=f"table-{name}", initializer=give_way
        )
        self._cursors = Cursors(database, threads)
        self._jobs_max = threads + waiting_max
        self._waiting_max = waiting_max
        self._jobs = 0
        self._lock = threading.Lock()

    async def run(
        self,
        work: Callable[[Cursor, Stop], Answer],
        ended: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Return what `work` returns, which is told to stop when the caller is cancelled.

        `ended` is called, in some thread, once nothing of it is under way any more, which may be later.

        Raises:
            ResourceExhausted: QUEUE_FULL.
            Fault: Whatever `work` raises.
        """
        stop = Stop()
        try:
            job = self.start(work, stop)
        except ResourceExhausted:
            ended()
            raise
        try:
            answer = await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            stop.ask()
            job.add_done_callback(lambda _: ended())
            raise
        except BaseException:
            ended()
            raise
        ended()
        return answer

    def start(self, work: Callable[[Cursor, Stop], Answer], stop: Stop) -> Future[Answer]:
        """Begin a job whose end is awaited elsewhere, and which `stop` ends.

        Raises:
            ResourceExhausted: QUEUE_FULL.
        """
        with self._lock:
            if self._jobs >= self._jobs_max:
                raise ResourceExhausted(
                    "QUEUE_FULL",
                    f"{self._waiting_max} requests wait already",
                    retry_after=RETRY_AFTER,
                    limit=self._waiting_max,
                )
            self._jobs += 1
        job = self._threads.submit(self._work, work, stop)
        # Counted until the thread is done, which may be after the caller has gone.
        job.add_done_callback(self._finished)
        return job

    def close(self) -> None:
        """Wait for jobs under way, drop those that wait, then stop."""
        self._threads.shutdown(cancel_futures=True)
        self._cursors.close()

    def _finished(self, _job: object) -> None:
        with self._lock:
            self._jobs -= 1

    def _work(self, work: Callable[[Cursor, Stop], Answer], stop: Stop) -> Answer:
        cursor = self._cursors.get()
        try:
            return work(cursor, stop)
        finally:
            self._cursors.put(cursor)
