"""Calls that fail or are given up leave nothing behind: no file, no thread, no memory, no task."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa

from chassis.tables import one_row
from flux.table.v1 import migration_pb2, query_service_pb2, rows_pb2, table_service_pb2
from flux.table.v1 import row_service_pb2 as messages
from tests.support.waiting import eventually
from tests.table_service.row_calls import create, failure, insert, json_rows, table_rows
from tests.table_service.serving import Client, Kind, Served, column, create_dataset, serving

CALLS = 200
# Pools grow to what they may have; of everything else there is one.
THREADS_MAX = {
    "asyncio": min(32, (os.cpu_count() or 1) + 4),
    "table-query": 4,
    "table-reader": 4,
    "table-export": 2,
    "table-bulk": 2,
}
LONG_SQL = "SELECT sum(a.range * b.range) FROM range(100000) a, range(1000000) b"
LARGE_SQL = "SELECT range AS n, md5(range::VARCHAR) AS h FROM range(150000)"
CSV, PARQUET, ARROW, JSON = (
    getattr(messages, f"FILE_FORMAT_{name}")
    for name in ("CSV", "PARQUET", "ARROW_IPC", "JSON_LINES")
)


def arrow_file() -> bytes:
    rows = pa.table({"key": [f"k{n}" for n in range(5000)], "size": ["no number"] * 5000})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


async def first_of(call: Any) -> Any:
    return await anext(aiter(call))


def failing(client: Client) -> list[Callable[[], Coroutine[Any, Any, Any]]]:
    """Return calls of every kind that fail, each for a reason of its own."""
    lines = b"key,size\n" + b"".join(b"k%d,%d\n" % (n, n) for n in range(5_000))
    update = messages.UpdateRowRequest(table="items", row_id=10**9, values=one_row({"size": 1}))
    stale = messages.DeleteRowRequest(table="items", row_id=1, expected_version=7)
    change = migration_pb2.SchemaOperation(
        retype_column=migration_pb2.SchemaOperation.RetypeColumn(column="nothing")
    )
    alter = table_service_pb2.AlterTableRequest(table="items", operations=[change])
    describe = query_service_pb2.DescribeQueryRequest(sql="SELECT nothing FROM items")
    long = query_service_pb2.QueryRequest(sql=LONG_SQL)
    wrong = rows_pb2.Rows(arrow_ipc=b"no arrow at all")
    row = messages.InsertRowsRequest(table="items", rows=wrong)
    mutation = messages.Mutation.Delete(table="items", row_id=10**9)
    transact = messages.TransactRequest(mutations=[messages.Mutation(delete=mutation)])
    listing = messages.ListRowsRequest(table="items", filter="nothing > 1")
    return [
        lambda: insert(client, "items", {"key": "taken"}),
        lambda: insert(client, "items", *({"key": "taken"} for _ in range(500))),
        lambda: client.call(client.rows.InsertRows, row),
        lambda: client.call(client.rows.UpdateRow, update),
        lambda: client.call(client.rows.DeleteRow, stale),
        lambda: client.call(client.rows.Transact, transact),
        lambda: client.call(client.rows.ListRows, listing),
        lambda: client.call(client.tables.AlterTable, alter),
        lambda: client.call(client.queries.DescribeQuery, describe),
        lambda: client.values("SELECT * FROM nothing"),
        lambda: client.values("SELECT CAST(key AS INTEGER) FROM items"),
        lambda: first_of(client.queries.Query(long, metadata=client.metadata, timeout=0.1)),
        lambda: create_dataset(client, "SELECT CAST(key AS INTEGER) FROM items"),
        lambda: create_dataset(client, f"SELECT CAST(h AS INTEGER) FROM ({LARGE_SQL})"),
        lambda: client.import_file("items", lines + b"taken,1\n"),
        lambda: client.import_file("items", lines + b"bad,number\n"),
        lambda: client.import_file("items", lines, JSON),
        lambda: client.import_file("items", lines, PARQUET),
        lambda: client.import_file("items", arrow_file(), ARROW),
        lambda: client.import_file("items", arrow_file()[:-100], ARROW),
        lambda: client.import_file("nothing", lines),
        lambda: client.export_file("nothing", CSV),
        lambda: client.export_file("items", CSV, columns=["nothing"]),
    ]


async def fails(call: Awaitable[Any]) -> None:
    error = await failure(call)
    # That would be a bug of ours.
    assert error.code() is not grpc.StatusCode.INTERNAL, error


def given_up(client: Client, chance: random.Random) -> list[Callable[[], Coroutine[Any, Any, Any]]]:
    """Return calls of every kind that are cancelled, after their first answer or at some moment."""
    query = query_service_pb2.QueryRequest
    export = messages.ExportRowsRequest(table="many", format=CSV)
    header = messages.ImportRowsRequest(header=messages.ImportHeader(table="items", format=CSV))

    async def upload() -> Any:
        yield header
        for _ in range(6):
            yield messages.ImportRowsRequest(chunk=b"key,size\n".ljust(1 << 20, b"x"))
        await asyncio.Event().wait()

    async def after_first(call: Any) -> None:
        await anext(aiter(call))
        call.cancel()

    async def soon(call: Any) -> None:
        ended = asyncio.ensure_future(call.code())
        await asyncio.wait([ended], timeout=chance.random() * 0.05)
        call.cancel()
        await ended

    metadata = client.metadata
    large = query_service_pb2.CreateDatasetRequest(sql=LARGE_SQL)
    rows = messages.InsertRowsRequest(table="items", rows=json_rows({"key": "taken"}))
    return [
        lambda: after_first(client.queries.Query(query(sql=LARGE_SQL), metadata=metadata)),
        lambda: after_first(client.rows.ExportRows(export, metadata=metadata)),
        lambda: soon(client.queries.Query(query(sql=LONG_SQL), metadata=metadata)),
        lambda: soon(client.queries.CreateDataset(large, metadata=metadata)),
        lambda: soon(client.rows.ImportRows(upload(), metadata=metadata)),
        lambda: soon(client.rows.ExportRows(export, metadata=metadata)),
        lambda: soon(client.rows.InsertRows(rows, metadata=metadata)),
    ]


def held(served: Served, folder: Path) -> dict[str, object]:
    """Return how much the process holds; what lives for the process' life is in it every time."""
    gc.collect()
    threads = Counter(thread.name.rstrip("0123456789_") for thread in threading.enumerate())
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "too many threads": sorted(
            name for name, count in threads.items() if count > THREADS_MAX.get(name, 1)
        ),
        "spool": [path.name for path in (folder / "spool").iterdir()],
        "spill": [path.name for path in (folder / "spill").iterdir()],
        "arrow bytes": pa.total_allocated_bytes(),
        "tasks": len(asyncio.all_tasks()),
        "datasets": len(served.store.datasets),
    }


async def at_rest(served: Served, folder: Path) -> dict[str, object] | None:
    """Return what is held once nothing is under way, which shows in no task but those of the server."""
    first = held(served, folder)
    await asyncio.sleep(0.1)
    second = held(served, folder)
    return second if first == second and not second["spool"] and not second["spill"] else None


async def test_calls_that_fail_or_are_given_up_leave_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    async with serving(tmp_path) as served:
        client = served.client()
        await create(
            client,
            "items",
            column("key", Kind.KIND_STRING),
            column("size", Kind.KIND_INT64),
            keys={"key": ["key"]},
        )
        await create(client, "many", column("n", Kind.KIND_INT64))
        await insert(client, "items", {"key": "taken"})
        numbers = b"n\n" + b"".join(b"%d\n" % n for n in range(150_000))
        await client.import_file("many", numbers)
        kinds: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            *((lambda call=call: fails(call())) for call in failing(client)),
            *given_up(client, chance),
        ]

        async def round_() -> None:
            chance.shuffle(kinds)
            for at in range(0, len(kinds), 6):
                await asyncio.gather(*(kind() for kind in kinds[at : at + 6]))

            # The writer keeps hold of what it wrote last until it writes again.
            await fails(insert(client, "items", {"key": "taken"}))

        # What is made when it is first needed is there after that.
        await round_()
        before = await eventually(lambda: at_rest(served, tmp_path))
        for _ in range(CALLS // len(kinds) + 1):
            await round_()

        async def as_before() -> bool:
            now = held(served, tmp_path)
            assert now == before, (now, before)
            return True

        await eventually(as_before)
        assert await table_rows(client, "items", "key") == [("taken",)]
