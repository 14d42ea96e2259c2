"""Work that is to stop: how soon it does, and that the next to come finds nothing of it."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import grpc
import pytest

from chassis.clock import SystemClock
from chassis.faults import Fault, ResourceExhausted
from flux.table.v1 import query_service_pb2 as messages
from flux.table.v1 import row_service_pb2
from table_service.store.heavy import HeavyLimits
from table_service.store.holdings import Holdings
from table_service.store.statements import reading
from table_service.store.transaction import roll_back
from table_service.store.turns import Turns
from table_service.store.watch import Abandoned, Stop, Watch
from tests.support.waiting import eventually_true
from tests.table_service.serving import Client, Kind, Served, column, reason, refused, serving

ENDLESS = (
    "SELECT count(*) FROM range(100000) a, range(100000) b, range(1000) c"
    " WHERE (a.range * b.range + c.range) % 7 = 9"
)
# What it takes on an idle machine is some ten milliseconds; tests run on busy ones.
SOON_S = 1.0
TRIES = 3
# As many as open_store makes.
READERS = 4


def query(client: Client, **options: Any) -> Any:
    request = messages.QueryRequest(sql=ENDLESS)
    return client.queries.Query(request, metadata=client.metadata, **options)


def explain(client: Client, **options: Any) -> Any:
    request = messages.ExplainQueryRequest(sql=ENDLESS, analyze=True)
    return client.queries.ExplainQuery(request, metadata=client.metadata, **options)


def dataset(client: Client, **options: Any) -> Any:
    request = messages.CreateDatasetRequest(sql=ENDLESS)
    return client.queries.CreateDataset(request, metadata=client.metadata, **options)


def export(client: Client, **options: Any) -> Any:
    request = row_service_pb2.ExportRowsRequest(
        sql=ENDLESS, format=row_service_pb2.FILE_FORMAT_PARQUET
    )
    return client.rows.ExportRows(request, metadata=client.metadata, **options)


def list_rows(client: Client, **options: Any) -> Any:
    slow = "len(list_filter(range(100), lambda x: hash(x + id) = 1)) = 1"
    request = row_service_pb2.ListRowsRequest(table="many", filter=slow)
    return client.rows.ListRows(request, metadata=client.metadata, **options)


@pytest.fixture
async def busy(served: Served) -> Served:
    """A server with a table that a slow filter takes seconds for."""
    client = served.client()
    await client.create_table("many", column("id", Kind.KIND_INT64))
    await client.import_file("many", b"id\n" + b"".join(b"%d\n" % n for n in range(300_000)))
    return served


def at_work(served: Served) -> bool:
    """Return whether DuckDB works for somebody, which it does until the thread has let go."""
    idle = served.store.readers._cursors._idle
    return bool(served.heavy.watch._watched) or idle.qsize() < READERS


@pytest.mark.parametrize("start", [query, explain, dataset, export, list_rows])
async def test_caller_that_goes_stops_the_work(
    busy: Served, start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    client, taken = busy.client(), []
    for _ in range(TRIES):
        call = start(client)
        waiting = asyncio.ensure_future(_first(call))
        await eventually_true(lambda: at_work(busy), every_s=0.001)
        gone = time.monotonic()
        call.cancel()
        await eventually_true(lambda: not at_work(busy), every_s=0.001)
        taken.append(time.monotonic() - gone)
        with suppress(asyncio.CancelledError):
            await waiting
    with capsys.disabled():
        shown = ", ".join(f"{seconds * 1000:.0f}" for seconds in sorted(taken))
        sys.stdout.write(f"\n{start.__name__}: stopped {shown} ms after its caller had gone\n")
    assert min(taken) < SOON_S
    assert await client.values("SELECT 1") == [(1,)]


@pytest.mark.parametrize("start", [query, explain, dataset, export, list_rows])
async def test_deadline_stops_the_work(busy: Served, start: Callable[..., Any]) -> None:
    error = await refused(_first(start(busy.client(), timeout=0.1)))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually_true(lambda: not at_work(busy), within_s=SOON_S + 1)


async def _first(call: Any) -> object:
    return await (call.read() if hasattr(call, "read") else call)


async def test_one_caller_has_their_share_and_others_theirs(tmp_path: Path) -> None:
    limits = HeavyLimits(query_threads=3, caller_queries=2, query_queue=1)
    async with serving(tmp_path, limits=limits) as served:
        greedy, other = served.client(), served.client("usr_2")
        calls = [asyncio.ensure_future(greedy.query(ENDLESS)) for _ in range(4)]
        [refusal], waiting = await asyncio.wait(calls, return_when="FIRST_COMPLETED")
        error = refusal.exception()
        assert isinstance(error, grpc.aio.AioRpcError)
        assert reason(error) == "QUEUE_FULL"
        assert "of your requests wait already" in str(error.details())
        assert await other.values("SELECT 1") == [(1,)]
        describe = messages.DescribeQueryRequest(sql="SELECT 1 AS x")
        assert (await greedy.call(greedy.queries.DescribeQuery, describe)).columns
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)
        await eventually_true(lambda: not served.heavy.query_turns._lines)
        assert await greedy.values("SELECT 1") == [(1,)]


async def test_turns_are_handed_on_in_order() -> None:
    turns, order = Turns(at_once=1, waiting_max=3), []
    end_first = await turns.take("a")

    async def work(name: str) -> None:
        end = await turns.take("a")
        order.append(name)
        end()
        end()

    second, third, fourth = (asyncio.ensure_future(work(name)) for name in ("2", "3", "4"))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await turns.take("a")
    (await turns.take("b"))()
    third.cancel()
    end_first()
    await asyncio.gather(second, fourth)
    assert order == ["2", "4"]
    await eventually_true(lambda: not turns._lines)


async def test_turn_given_to_one_who_gives_up_goes_to_the_next() -> None:
    turns = Turns(at_once=1, waiting_max=3)
    end_first = await turns.take("a")
    second = asyncio.ensure_future(turns.take("a"))
    third = asyncio.ensure_future(turns.take("a"))
    await asyncio.sleep(0)
    end_first()
    line = turns._lines["a"]
    await eventually_true(lambda: len(line.waiting) == 1, every_s=0)
    second.cancel()
    (await third)()
    await eventually_true(lambda: not turns._lines)


def test_bytes_are_held_by_caller_and_by_all() -> None:
    holdings = Holdings(bytes_max=100, caller_bytes_max=60)
    with holdings.of("a") as first, holdings.of("b") as second:
        first(50)
        for take in (first, second):
            with pytest.raises(ResourceExhausted):
                take(51)
        second(50)
        assert holdings.byte_count == 100
    first(10)
    assert holdings.byte_count == 0


async def test_bytes_past_a_callers_share_are_refused(tmp_path: Path) -> None:
    limits = HeavyLimits(caller_results_held_bytes=1_000_000)
    async with serving(tmp_path, limits=limits) as served:
        error = await refused(served.client().query("SELECT * FROM range(1000000)"))
        assert reason(error) == "QUEUE_FULL"
        assert served.heavy.holdings.byte_count == 0
        assert await served.client().values("SELECT 1") == [(1,)]


def test_rollback_is_done_however_often_it_is_interrupted() -> None:
    cursor, ended = duckdb.connect(), threading.Event()

    def interrupt() -> None:
        while not ended.is_set():
            cursor.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        for _ in range(200):
            with suppress(duckdb.Error):
                cursor.execute("BEGIN TRANSACTION")
            roll_back(cursor)
    finally:
        ended.set()
        thread.join()
    cursor.execute("BEGIN TRANSACTION")
    cursor.execute("ROLLBACK")


def test_transaction_that_was_left_open_is_ended_by_whoever_meets_it() -> None:
    cursor = duckdb.connect()
    cursor.execute("BEGIN TRANSACTION")
    with pytest.raises(Fault), reading(cursor):
        raise AssertionError
    with reading(cursor):
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_watch_stops_what_was_given_up_before_it_began() -> None:
    watch, stop, cursor = Watch(SystemClock()), Stop(), duckdb.connect()
    stop.ask()
    with pytest.raises(Abandoned), watch.over(cursor, stop, limit_s=1):
        raise AssertionError
    watch.close()


def test_time_that_ran_out_beside_duckdb_leaves_no_transaction_open() -> None:
    watch, cursor = Watch(SystemClock()), duckdb.connect()

    def read_for_ever() -> None:
        with reading(cursor), watch.over(cursor, Stop(), limit_s=0.01):
            while True:
                cursor.execute("SELECT 1").fetchall()

    for _ in range(5):
        with pytest.raises(ResourceExhausted):
            read_for_ever()
        cursor.execute("BEGIN TRANSACTION")
        cursor.execute("ROLLBACK")
    watch.close()
