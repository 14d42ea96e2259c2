"""One piece of heavy work in a process of its own, so that making it slows nobody who measures beside it.

`python -m bench.heavy_work WORK ADDRESS`, the caller's token in FLUX_BENCH_TOKEN.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pyarrow as pa
import uvloop

from bench.table_client import TableClient
from flux.table.v1 import row_service_pb2

TABLE = "heavy"
TOKEN = "FLUX_BENCH_TOKEN"  # the name of a variable
QUERY_SECONDS = 30.0
_ROWS = 10_000_000
_BATCH_ROWS = 100_000
_CHUNK_BYTES = 1024 * 1024
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_ARROW = row_service_pb2.FILE_FORMAT_ARROW_IPC
# More pairs than any machine gets through in the time: it ends by being given up.
_LONG_QUERY = (
    f"SELECT count(*) FROM {TABLE} AS a, {TABLE} AS b"
    " WHERE (a.id + b.id) % 7 = 3 AND a.amount < b.amount"
)


def write_file(file: Path) -> None:
    """Write ten million small rows as an Arrow IPC stream, once, before anything is measured."""
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("amount", pa.float64())])
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, _ROWS, _BATCH_ROWS):
            numbers = range(start, start + _BATCH_ROWS)
            columns = [
                pa.array(numbers, pa.int64()),
                pa.array([f"name of row number {number}" for number in numbers]),
                pa.array([number * 0.5 for number in numbers]),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


async def work(name: str, address: str, token: str) -> None:
    """Do the work called "query", "export", or "import" followed by a file's name."""
    options = [("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX)]
    name, _, file = name.partition(":")
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        client = TableClient(channel, (("authorization", token),))
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "import": lambda: _import(client, Path(file)),
            "export": lambda: _export(client),
            "query": lambda: _query(client),
        }
        await works[name]()


async def _import(client: TableClient, file: Path) -> None:
    assert await client.import_file(TABLE, _ARROW, _pieces(file)) == _ROWS


async def _export(client: TableClient) -> None:
    assert await client.export_file(TABLE, _ARROW) == _ROWS


async def _query(client: TableClient) -> None:
    # Given up: the service stops it then.
    with suppress(TimeoutError):
        await asyncio.wait_for(client.query(_LONG_QUERY), QUERY_SECONDS)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            yield piece


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1], sys.argv[2], os.environ[TOKEN]))
