"""What heavy work shares: its threads, its limits, its watch and its files."""

from __future__ import annotations

from dataclasses import dataclass, field

from chassis.clock import Clock
from chassis.ids import IdMaker
from table_service.datasets import Quota
from table_service.store import Store
from table_service.store.holdings import Holdings
from table_service.store.jobs import Jobs
from table_service.store.queries import Queries, QueryLimits
from table_service.store.readers import WAITING_READS_MAX
from table_service.store.spool import Spool
from table_service.store.turns import Turns
from table_service.store.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyLimits:
    """How much heavy work there may be at once, and how large and long each may be."""

    query_threads: int = 8
    query_queue: int = 64
    caller_queries: int = 4
    query_time_s: float = 300.0
    result_rows: int = 1_000_000
    result_bytes: int = 256 * 1024 * 1024
    results_held_bytes: int = 1024 * 1024 * 1024
    caller_results_held_bytes: int = 512 * 1024 * 1024
    datasets: Quota = field(default_factory=Quota)
    reader_threads: int = 4
    export_threads: int = 2
    export_queue: int = 16
    transfer_time_s: float = 1800.0
    file_bytes: int = 10 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Heavy:
    """Open for work."""

    watch: Watch
    queries: Queries
    query_jobs: Jobs
    query_turns: Turns
    list_turns: Turns
    holdings: Holdings
    export_jobs: Jobs
    spool: Spool
    limits: HeavyLimits

    def close(self) -> None:
        """Finish what is under way; before the store, and that before the watch."""
        self.query_jobs.close()
        self.export_jobs.close()


def open_heavy(
    store: Store, watch: Watch, *, clock: Clock, ids: IdMaker, limits: HeavyLimits
) -> Heavy:
    """Make the threads, and remove the files that an earlier process left."""
    spool = Spool(store.spool, ids, file_bytes_max=limits.file_bytes)
    spool.clear()
    return Heavy(
        watch=watch,
        queries=Queries(
            store,
            watch,
            clock,
            QueryLimits(
                time_s=limits.query_time_s,
                result_rows=limits.result_rows,
                result_bytes=limits.result_bytes,
            ),
        ),
        query_jobs=Jobs(
            store.database,
            threads=limits.query_threads,
            waiting_max=limits.query_queue,
            name="query",
        ),
        query_turns=Turns(at_once=limits.caller_queries, waiting_max=limits.query_queue),
        # One reader is left to everybody else.
        list_turns=Turns(at_once=max(1, limits.reader_threads - 1), waiting_max=WAITING_READS_MAX),
        holdings=Holdings(
            bytes_max=limits.results_held_bytes,
            caller_bytes_max=limits.caller_results_held_bytes,
        ),
        export_jobs=Jobs(
            store.database,
            threads=limits.export_threads,
            waiting_max=limits.export_queue,
            name="export",
        ),
        spool=spool,
        limits=limits,
    )
