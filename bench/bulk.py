"""A year of flights in and out in bulk, beside bare DuckDB and beside Arrow Flight doing the same."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pyarrow as pa
from pyarrow import csv, flight

from bench import bare
from bench.measurement import Measurement
from bench.table_client import Metadata, TableClient
from examples import flights
from flux.table.v1 import row_service_pb2

_CHUNK_BYTES = 1024 * 1024
_FLIGHT_ROWS = 100_000
_REPEATS = 5
_ARROW = row_service_pb2.FILE_FORMAT_ARROW_IPC
_CSV = row_service_pb2.FILE_FORMAT_CSV


async def measure_bulk(
    gateway: grpc.aio.Channel, table: grpc.aio.Channel, metadata: Metadata, folder: Path
) -> list[Measurement]:
    """Return rows/s in and out: through the gateway beside bare DuckDB, and directly beside Arrow Flight."""
    file = folder / "flights.csv"
    with file.open("wb") as output:
        output.writelines(flights.read_file("flights"))
    options = csv.ConvertOptions(null_values=[flights.NULL_TEXT], strings_can_be_null=True)
    arrow = csv.read_csv(file, convert_options=options)
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, arrow.schema) as writer:
        writer.write_table(arrow)
    content = stream.getvalue().to_pybytes()
    through = _Bulk(TableClient(gateway, metadata), "through")
    direct = _Bulk(TableClient(table, metadata), "direct")
    in_s, out_s = await through.best(_ARROW, content)
    csv_s, _ = await through.best(_CSV, file.read_bytes())
    # One after the other each time, so that both meet the same machine.
    async with _flight_server(folder / "flight.duckdb") as client:
        theirs = _Flight(client, arrow)
        ours_s, theirs_s = await _alternating(
            lambda: direct.once(_ARROW, content), lambda: asyncio.to_thread(theirs.once)
        )
    bare_name = "bare DuckDB, the same rows in the same form"
    flight_name = "an Arrow Flight server over DuckDB, the same rows; neither through a gateway"
    bare_in_s = bare.insert_arrow_seconds(folder / "in", arrow)
    bare_csv_s = bare.insert_csv_seconds(folder / "csv", file, flights.NULL_TEXT)
    bare_out_s = bare.read_arrow_seconds(folder / "out", arrow)
    figures = [
        ("bulk_in_ratio", in_s, bare_in_s, bare_name),
        ("bulk_in_csv_ratio", csv_s, bare_csv_s, bare_name),
        ("bulk_out_ratio", out_s, bare_out_s, bare_name),
        ("bulk_in_ratio_flight", ours_s[0], theirs_s[0], flight_name),
        ("bulk_out_ratio_flight", ours_s[1], theirs_s[1], flight_name),
    ]
    return [
        Measurement(
            metric=metric,
            value=arrow.num_rows / taken_s,
            unit="rows/s",
            baseline=arrow.num_rows / baseline_s,
            baseline_name=name,
        )
        for metric, taken_s, baseline_s, name in figures
    ]


class _Bulk:
    """Imports into a new table each time, and exports it."""

    def __init__(self, client: TableClient, name: str) -> None:
        self._client = client
        self._names = (f"{name}_{number}" for number in itertools.count())

    async def once(
        self, file_format: row_service_pb2.FileFormat.ValueType, content: bytes
    ) -> tuple[float, float]:
        """Return the seconds in, to the answer, and out as Arrow, to the last byte."""
        name = next(self._names)
        await self._client.create(name, flights.FLIGHTS)
        start = time.perf_counter()
        taken = await self._client.import_file(name, file_format, _pieces(content))
        between = time.perf_counter()
        sent = await self._client.export_file(name, _ARROW)
        end = time.perf_counter()
        assert taken == sent == flights.FLIGHT_COUNT
        return between - start, end - between

    async def best(
        self, file_format: row_service_pb2.FileFormat.ValueType, content: bytes
    ) -> tuple[float, float]:
        """Return the least seconds of each."""
        return _least([await self.once(file_format, content) for _ in range(_REPEATS)])


class _Flight:
    """The same by Arrow Flight."""

    def __init__(self, client: flight.FlightClient, rows: pa.Table) -> None:
        self._client = client
        self._rows = rows
        self._names = (f"t{number}" for number in itertools.count())

    def once(self) -> tuple[float, float]:
        """Return the seconds in and out."""
        name = next(self._names)
        start = time.perf_counter()
        writer, _ = self._client.do_put(flight.FlightDescriptor.for_path(name), self._rows.schema)
        writer.write_table(self._rows, max_chunksize=_FLIGHT_ROWS)
        writer.done_writing()
        writer.close()
        between = time.perf_counter()
        sent = sum(chunk.data.num_rows for chunk in self._client.do_get(flight.Ticket(name)))
        end = time.perf_counter()
        assert sent == flights.FLIGHT_COUNT
        return between - start, end - between


@asynccontextmanager
async def _flight_server(file: Path) -> AsyncIterator[flight.FlightClient]:
    async with bare.server("bench.flight_server", file) as port:
        with flight.FlightClient(f"grpc://127.0.0.1:{port}") as client:
            yield client


async def _alternating(
    *works: Callable[[], Awaitable[tuple[float, float]]],
) -> list[tuple[float, float]]:
    """Return the least seconds in and out of each, which take turns."""
    taken: list[list[tuple[float, float]]] = [[] for _ in works]
    for _ in range(_REPEATS):
        for work, seconds in zip(works, taken, strict=True):
            seconds.append(await work())
    return [_least(seconds) for seconds in taken]


def _least(taken: Iterable[tuple[float, float]]) -> tuple[float, float]:
    inward, outward = zip(*taken, strict=True)
    return min(inward), min(outward)


def _pieces(content: bytes) -> Iterable[bytes]:
    view = memoryview(content)
    return (bytes(view[at : at + _CHUNK_BYTES]) for at in range(0, len(content), _CHUNK_BYTES))
