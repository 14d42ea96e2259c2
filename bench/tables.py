"""What single rows, an aggregate and a list of tables cost, table_service being called directly."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import grpc

from bench import bare
from bench.measurement import Measurement, percentile
from bench.table_client import Metadata, TableClient, small_row
from bench.traffic import calls_per_second, latencies_s
from examples import flights
from flux.table.v1 import row_service_pb2

_IN_FLIGHT = 64
_ROWS = 2_000
_LISTED_TABLES = 1_000
_CREATED_AT_ONCE = 8
_AGGREGATE = (
    "SELECT carrier, count(*) AS flight_count, avg(dep_delay) AS average_delay"
    " FROM {table} GROUP BY carrier ORDER BY carrier"
)


async def measure_tables(
    channel: grpc.aio.Channel,
    metadata: Metadata,
    folder: Path,
    *,
    seconds: float,
    commit_s: float,
    rpc_s: float,
) -> list[Measurement]:
    """Return the figures of table_service without a gateway before it."""
    client = TableClient(channel, metadata)
    return [
        *await _rows(client, folder, seconds=seconds, commit_s=commit_s, rpc_s=rpc_s),
        await _aggregate(client, folder, rpc_s),
        await _listing(client, rpc_s),
    ]


async def _rows(
    client: TableClient, folder: Path, *, seconds: float, commit_s: float, rpc_s: float
) -> list[Measurement]:
    await client.create("small")
    numbers, ids = itertools.count(1), itertools.cycle(range(1, _ROWS + 1))
    await client.insert("small", *(small_row(next(numbers)) for _ in range(_ROWS)))

    async def insert() -> int:
        await client.insert("small", small_row(next(numbers)))
        return 1

    async def read() -> int:
        await client.get("small", next(ids))
        return 1

    p50_ms = 1000 * percentile(await latencies_s(insert, count=300), 50)
    inserted = await calls_per_second(insert, in_flight=_IN_FLIGHT, seconds=seconds)
    bare_inserted = await _bare_inserts(folder / "rows.duckdb", numbers, seconds=seconds)
    found = await calls_per_second(read, in_flight=_IN_FLIGHT, seconds=seconds)
    return [
        Measurement(
            metric="insert_rows_per_s_64",
            value=inserted,
            unit="rows/s",
            baseline=bare_inserted,
            baseline_name="a gRPC server over DuckDB that knows no callers, checks nothing and has one table",
        ),
        Measurement(
            metric="insert_p50_ratio",
            value=p50_ms,
            unit="ms",
            baseline=1000 * (commit_s + rpc_s),
            baseline_name="one bare DuckDB commit and one empty RPC",
        ),
        Measurement(
            metric="point_read_per_s_64",
            value=found,
            unit="rows/s",
            baseline=1 / bare.point_read_seconds(folder / "points", _ROWS),
            baseline_name="bare DuckDB: the same reads, one at a time",
        ),
    ]


async def _bare_inserts(file: Path, numbers: Iterator[int], *, seconds: float) -> float:
    async with (
        bare.server("bench.row_server", file) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        client = TableClient(channel, ())

        async def insert() -> int:
            await client.insert("small", small_row(next(numbers)))
            return 1

        return await calls_per_second(insert, in_flight=_IN_FLIGHT, seconds=seconds)


async def _aggregate(client: TableClient, folder: Path, rpc_s: float) -> Measurement:
    await client.create("aggregated", flights.FLIGHTS)
    csv = row_service_pb2.FILE_FORMAT_CSV
    count = await client.import_file("aggregated", csv, flights.read_file("flights"))
    assert count == flights.FLIGHT_COUNT
    sql = _AGGREGATE.format(table="aggregated")
    taken_s = await latencies_s(lambda: client.query(sql), count=60)
    file = folder / "aggregated.csv"
    with file.open("wb") as output:
        output.writelines(flights.read_file("flights"))
    bare_s = bare.query_seconds(
        folder / "aggregate", file, flights.NULL_TEXT, _AGGREGATE.format(table="t")
    )
    return Measurement(
        metric="aggregate_ratio",
        value=1000 * percentile(taken_s, 50),
        unit="ms",
        baseline=1000 * (bare_s + rpc_s),
        baseline_name="bare DuckDB, the same SQL over the same rows, and one empty RPC",
    )


async def _listing(client: TableClient, rpc_s: float) -> Measurement:
    names = iter([f"listed_{number}" for number in range(_LISTED_TABLES)])

    async def create() -> None:
        for name in names:
            await client.create(name)

    await asyncio.gather(*(create() for _ in range(_CREATED_AT_ONCE)))
    token = ""

    async def page() -> None:
        nonlocal token
        token = await client.list_page(token)

    taken_s = await latencies_s(page, count=100)
    return Measurement(
        metric="list_tables_ms",
        value=1000 * percentile(taken_s, 50),
        unit="ms",
        baseline=1000 * rpc_s,
        baseline_name=f"one empty RPC; the value is a page of 50 of {_LISTED_TABLES:,} tables",
    )
