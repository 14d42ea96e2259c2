"""Tables as files, and back again."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.scalars import Json, Span
from chassis.values import to_value
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2, table_pb2
from tests.support.waiting import eventually_true
from tests.table_service.serving import (
    Client,
    Kind,
    Served,
    column,
    new_request_id,
    serving,
)

CSV = messages.FILE_FORMAT_CSV
PARQUET = messages.FILE_FORMAT_PARQUET
ARROW = messages.FILE_FORMAT_ARROW_IPC
JSON_LINES = messages.FILE_FORMAT_JSON_LINES
FORMATS = [CSV, PARQUET, ARROW, JSON_LINES]

COLUMNS = [
    column("month", Kind.KIND_INT32, not_null=True),
    column("carrier", Kind.KIND_STRING),
    column("price", Kind.KIND_DECIMAL, precision=9, scale=2),
]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        await served.client().create_table("flights", *COLUMNS)
        yield served


async def test_export_has_the_columns_asked_for(served: Served) -> None:
    client = served.client()
    await client.import_file("flights", b'month,carrier,price\n1,"a,""b",1.5\n2,"",\n')
    assert await client.export_file("flights", CSV, ["carrier", "month"]) == (
        b'carrier,month\n"a,""b",1\n"",2\n'
    )
    lines = (await client.export_file("flights", JSON_LINES)).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"month": 1, "carrier": 'a,"b', "price": "1.50"},
        {"month": 2, "carrier": "", "price": None},
    ]
    table = pq.read_table(io.BytesIO(await client.export_file("flights", PARQUET)))
    assert table.schema.names == ["month", "carrier", "price"]


@pytest.mark.parametrize("file_format", FORMATS)
async def test_empty_table_exports_and_imports(served: Served, file_format: Any) -> None:
    client = served.client()
    content = await client.export_file("flights", file_format)
    assert (await client.import_file("flights", content, file_format)).row_count == 0


async def test_reader_of_an_export_that_goes_stops_it(served: Served) -> None:
    client = served.client()
    await client.create_table("long", column("s", Kind.KIND_STRING))
    await client.import_file("long", b"s\n" + b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * 200_000)
    request = messages.ExportRowsRequest(table="long", format=JSON_LINES)
    call = client.rows.ExportRows(request, metadata=client.metadata)
    await anext(aiter(call))
    call.cancel()
    await eventually_true(lambda: not any(served.store.spool.iterdir()))
    await eventually_true(lambda: served.heavy.export_jobs._jobs == 0)


@pytest.mark.parametrize("file_format", [CSV, PARQUET, JSON_LINES])
async def test_what_duckdb_writes_out_of_order_is_sent_when_it_is_whole(
    served: Served, file_format: Any
) -> None:
    client = served.client()
    await client.create_table("long", column("s", Kind.KIND_STRING))
    await client.import_file("long", b"s\n" + b"".join(b"%0100d\n" % n for n in range(200_000)))
    request = messages.ExportRowsRequest(table="long", format=file_format)
    call = client.rows.ExportRows(request, metadata=client.metadata)
    await anext(aiter(call))
    assert served.heavy.export_jobs._jobs == 0


KINDS: list[tuple[Any, dict[str, Any], st.SearchStrategy[Any]]] = [
    (Kind.KIND_BOOL, {}, st.booleans()),
    (Kind.KIND_INT16, {}, st.integers(-(2**15), 2**15 - 1)),
    (Kind.KIND_INT64, {}, st.integers(-(2**63), 2**63 - 1)),
    (Kind.KIND_INT128, {}, st.integers(-(2**127) + 1, 2**127 - 1)),
    (
        Kind.KIND_DECIMAL,
        {"precision": 38, "scale": 10},
        st.decimals(-(10**27), 10**27, places=10),
    ),
    # Parquet as 1.5 writes it keeps one zero of the two; adding 0.0 does too.
    (Kind.KIND_DOUBLE, {}, st.floats().map(lambda number: number + 0.0)),
    (Kind.KIND_FLOAT, {}, st.floats(width=32).map(lambda number: number + 0.0)),
    (Kind.KIND_STRING, {}, st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    (Kind.KIND_BYTES, {}, st.binary(max_size=20)),
    (Kind.KIND_UUID, {}, st.uuids()),
    (Kind.KIND_DATE, {}, st.dates()),
    (Kind.KIND_TIME, {}, st.times()),
    (Kind.KIND_TIMESTAMP, {}, st.datetimes(timezones=st.just(UTC))),
    (Kind.KIND_LOCAL_TIMESTAMP, {}, st.datetimes()),
    (
        Kind.KIND_INTERVAL,
        {},
        st.builds(
            Span,
            months=st.integers(-1000, 1000),
            days=st.integers(-1000, 1000),
            microseconds=st.integers(-(10**15), 10**15),
        ),
    ),
    (Kind.KIND_JSON, {}, st.sampled_from(['{"a":1}', "[1,null]", '"x,\\"y"', "1.5"]).map(Json)),
    (
        Kind.KIND_LIST,
        {"element": table_pb2.Type(kind=Kind.KIND_STRING)},
        st.lists(st.none() | st.text("ab,\"'[]{} \\\n", max_size=8), max_size=4),
    ),
    (
        Kind.KIND_LIST,
        {"element": table_pb2.Type(kind=Kind.KIND_DECIMAL, precision=38, scale=3)},
        st.lists(st.none() | st.decimals(-(10**30), 10**30, places=3), max_size=4),
    ),
    (
        Kind.KIND_LIST,
        {
            "element": table_pb2.Type(
                kind=Kind.KIND_LIST, element=table_pb2.Type(kind=Kind.KIND_BYTES)
            )
        },
        st.lists(st.lists(st.binary(max_size=4), max_size=3), max_size=3),
    ),
]
ALL_COLUMNS = [column(f"c{at}", kind, **type_) for at, (kind, type_, _) in enumerate(KINDS)]
ROWS = st.lists(st.tuples(*(st.none() | values for _, _, values in KINDS)), max_size=5)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
async def test_what_is_exported_imports_to_the_same_rows(tmp_path: Path, rows: list[Any]) -> None:
    async with serving(tmp_path / str(new_request_id())) as served:
        client = served.client()
        await client.create_table("source", *ALL_COLUMNS)
        await insert(client, "source", rows)
        expected = await client.values("SELECT * FROM source ORDER BY _row_id")
        for at, file_format in enumerate(FORMATS):
            content = await client.export_file("source", file_format)
            await client.create_table(f"copy_{at}", *ALL_COLUMNS)
            await client.import_file(f"copy_{at}", content, file_format)
            found = await client.values(f"SELECT * FROM copy_{at} ORDER BY _row_id")
            assert repr(found) == repr(expected), messages.FileFormat.Name(file_format)


async def insert(client: Client, table: str, rows: list[Any]) -> None:
    if not rows:
        return
    typed = rows_pb2.TypedRows(
        columns=[c.name for c in ALL_COLUMNS],
        rows=[rows_pb2.TypedRow(values=[to_value(value) for value in row]) for row in rows],
    )
    request = messages.InsertRowsRequest(table=table, rows=rows_pb2.Rows(typed=typed))
    await client.call(client.rows.InsertRows, request)
