"""The baselines: DuckDB and gRPC with nothing of ours around them."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import duckdb
import grpc
import pyarrow as pa

_COMMITS = 200
_REPEATS = 3


def open_bare(folder: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection to a new durable DuckDB file, with DuckDB's own defaults."""
    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute(f"ATTACH '{folder / 'bare.duckdb'}' AS bare")
    connection.execute("USE bare")
    return connection


def commit_seconds(folder: Path) -> float:
    """Return the median seconds of one durable commit of one small row."""
    connection = open_bare(folder)
    connection.execute("CREATE TABLE events (id BIGINT, payload VARCHAR)")
    taken = _after_rpcs(
        lambda number: connection.execute("INSERT INTO events VALUES ($1, $2)", [number, "x" * 100])
    )
    connection.close()
    return taken


def point_read_seconds(folder: Path, row_count: int) -> float:
    """Return the median seconds of reading one small row by its number."""
    connection = open_bare(folder)
    connection.execute("CREATE TABLE rows (id BIGINT, name VARCHAR, amount DOUBLE)")
    connection.execute(
        f"INSERT INTO rows SELECT i, 'name of row number ' || i, i / 2 FROM range({row_count}) r(i)"
    )
    taken = []
    for number in range(_COMMITS):
        start = time.perf_counter()
        connection.execute("SELECT * FROM rows WHERE id = $1", [number]).fetchall()
        taken.append(time.perf_counter() - start)
    connection.close()
    return statistics.median(taken)


def query_seconds(folder: Path, file: Path, null_text: str, sql: str) -> float:
    """Return the median seconds of a query over the rows of a CSV file, which are in the table `t`."""
    connection = open_bare(folder)
    connection.execute(
        f"CREATE TABLE t AS SELECT * FROM read_csv('{file}', nullstr=['{null_text}', ''], header=true)"
    )
    taken = _after_rpcs(lambda _: connection.execute(sql).fetchall())
    connection.close()
    return taken


def empty_rpc_seconds() -> float:
    """Return the median seconds of one unary call of no bytes between a gRPC server and a client."""
    taken = []
    with _echo() as call:
        for _ in range(_COMMITS):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _after_rpcs(work: Callable[[int], object]) -> float:
    """Return the median seconds of work that comes after an empty RPC each time, whose time is not counted.

    So that it is done as a service does it, whose threads and caches have had something else to do. One after
    the other DuckDB's statements take up to a third less than they ever do for a caller.
    """
    taken = []
    with _echo() as call:
        for number in range(_COMMITS):
            call()
            start = time.perf_counter()
            work(number)
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


@asynccontextmanager
async def server(module: str, file: Path) -> AsyncIterator[int]:
    """Yield the port of a server that is a baseline, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, str(file)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


@contextmanager
def _echo() -> Iterator[Callable[[], bytes]]:
    """Yield an empty RPC."""
    server, port = _echo_server()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/bench.Echo/Call"
            )
            yield lambda: call(b"")
    finally:
        server.stop(None).wait()


def _echo_server() -> tuple[grpc.Server, int]:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # the baseline's own

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        lambda request, _context: request
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Echo", {"Call": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def insert_arrow_seconds(folder: Path, table: pa.Table) -> float:
    """Return the best seconds of inserting an Arrow table into a table of a durable file."""

    def insert(number: int) -> None:
        connection.execute(f"INSERT INTO t{number} SELECT * FROM source")

    connection = open_bare(folder)
    connection.register("source", table)
    for number in range(_REPEATS):
        connection.execute(f"CREATE TABLE t{number} AS SELECT * FROM source LIMIT 0")
    taken = _best(insert)
    connection.close()
    return taken


def insert_csv_seconds(folder: Path, file: Path, null_text: str) -> float:
    """Return the best seconds of inserting a CSV file, its types given, into a table of a durable file."""

    def insert(number: int) -> None:
        connection.execute(f"INSERT INTO t{number} {read}")

    connection = open_bare(folder)
    read = f"SELECT * FROM read_csv('{file}', nullstr=['{null_text}', ''], header=true)"
    for number in range(_REPEATS):
        connection.execute(f"CREATE TABLE t{number} AS {read} LIMIT 0")
    taken = _best(insert)
    connection.close()
    return taken


def read_arrow_seconds(folder: Path, table: pa.Table) -> float:
    """Return the best seconds of reading a whole table of a durable file as an Arrow IPC stream."""

    def read(_number: int) -> None:
        reader = connection.sql("SELECT * FROM t").to_arrow_reader(100_000)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)

    connection = open_bare(folder)
    connection.register("source", table)
    connection.execute("CREATE TABLE t AS SELECT * FROM source")
    taken = _best(read)
    connection.close()
    return taken


def _best(work: Callable[[int], None]) -> float:
    """Return the shortest of three; the first pays for what is not loaded yet."""
    taken = []
    for number in range(_REPEATS):
        start = time.perf_counter()
        work(number)
        taken.append(time.perf_counter() - start)
    return min(taken)
