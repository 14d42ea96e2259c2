"""A year of flights in and out in bulk, beside bare DuckDB doing the same."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import grpc
import pyarrow as pa
from pyarrow import csv

from bench import bare
from bench.measurement import Measurement
from examples import flights
from flux.table.v1 import (
    row_service_pb2,
    row_service_pb2_grpc,
    table_service_pb2,
    table_service_pb2_grpc,
)

_CHUNK_BYTES = 1024 * 1024
_REPEATS = 3
Metadata = tuple[tuple[str, str], ...]
_ARROW = row_service_pb2.FILE_FORMAT_ARROW_IPC
_CSV = row_service_pb2.FILE_FORMAT_CSV


async def measure_bulk(
    channel: grpc.aio.Channel, metadata: Metadata, folder: Path
) -> list[Measurement]:
    """Return rows/s in and out as Arrow IPC, and in as CSV."""
    file = folder / "flights.csv"
    with file.open("wb") as output:
        for piece in flights.read_file("flights"):
            output.write(piece)
    options = csv.ConvertOptions(null_values=[flights.NULL_TEXT], strings_can_be_null=True)
    arrow = csv.read_csv(file, convert_options=options)
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, arrow.schema) as writer:
        writer.write_table(arrow)
    stream_bytes = stream.getvalue().to_pybytes()
    arrow_s, csv_s, out_s = [], [], []
    for number in range(_REPEATS):
        name = f"bulk_{number}"
        await _create(channel, metadata, name)
        arrow_s.append(await _import(channel, metadata, name, _ARROW, stream_bytes))
        out_s.append(await _export(channel, metadata, name))
        await _create(channel, metadata, f"{name}_csv")
        csv_s.append(await _import(channel, metadata, f"{name}_csv", _CSV, file.read_bytes()))
    rows = arrow.num_rows
    baselines = {
        "bulk_in_ratio": (min(arrow_s), bare.insert_arrow_seconds(folder / "in", arrow)),
        "bulk_in_csv_ratio": (
            min(csv_s),
            bare.insert_csv_seconds(folder / "csv", file, flights.NULL_TEXT),
        ),
        "bulk_out_ratio": (min(out_s), bare.read_arrow_seconds(folder / "out", arrow)),
    }
    return [
        Measurement(
            metric=metric,
            value=rows / ours_s,
            unit="rows/s",
            baseline=rows / bare_s,
            baseline_name="bare DuckDB, the same rows in the same form",
        )
        for metric, (ours_s, bare_s) in baselines.items()
    ]


async def _create(channel: grpc.aio.Channel, metadata: Metadata, name: str) -> None:
    table = flights.table(name, flights.FLIGHTS, description="")
    await table_service_pb2_grpc.TableServiceStub(channel).CreateTable(
        table_service_pb2.CreateTableRequest(table=table), metadata=metadata
    )


async def _import(
    channel: grpc.aio.Channel,
    metadata: Metadata,
    table: str,
    file_format: row_service_pb2.FileFormat.ValueType,
    content: bytes,
) -> float:
    """Return the seconds of one import, from the first byte sent to the answer."""

    async def requests() -> AsyncIterator[row_service_pb2.ImportRowsRequest]:
        header = row_service_pb2.ImportHeader(
            table=table, format=file_format, request_id=str(uuid4())
        )
        if file_format == _CSV:
            header.csv.null_text = flights.NULL_TEXT
        yield row_service_pb2.ImportRowsRequest(header=header)
        for start in range(0, len(content), _CHUNK_BYTES):
            yield row_service_pb2.ImportRowsRequest(chunk=content[start : start + _CHUNK_BYTES])

    start = time.perf_counter()
    row_count = 0
    async for answer in row_service_pb2_grpc.RowServiceStub(channel).ImportRows(
        requests(), metadata=metadata
    ):
        row_count = answer.row_count
    assert row_count == flights.FLIGHT_COUNT
    return time.perf_counter() - start


async def _export(channel: grpc.aio.Channel, metadata: Metadata, table: str) -> float:
    """Return the seconds of one export as Arrow IPC, to the last byte."""
    request = row_service_pb2.ExportRowsRequest(table=table, format=_ARROW)
    start = time.perf_counter()
    row_count = 0
    async for answer in row_service_pb2_grpc.RowServiceStub(channel).ExportRows(
        request, metadata=metadata
    ):
        row_count = answer.summary.row_count or row_count
    assert row_count == flights.FLIGHT_COUNT
    return time.perf_counter() - start
