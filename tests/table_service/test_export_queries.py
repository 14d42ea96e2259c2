"""Results of queries as files, and files in other dialects."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chassis.values import to_value
from flux.table.v1 import row_service_pb2 as messages
from tests.support.waiting import eventually_true
from tests.table_service.serving import (
    Kind,
    Served,
    answered,
    column,
    create_dataset,
    new_request_id,
    reason,
    refused,
    serving,
)

CSV = messages.FILE_FORMAT_CSV
PARQUET = messages.FILE_FORMAT_PARQUET
ARROW = messages.FILE_FORMAT_ARROW_IPC
JSON_LINES = messages.FILE_FORMAT_JSON_LINES


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        client = served.client()
        await client.create_table(
            "flights", column("month", Kind.KIND_INT32), column("carrier", Kind.KIND_STRING)
        )
        await client.import_file("flights", b"month,carrier\n1,UA\n2,AA\n3,UA\n")
        yield served
        await eventually_true(lambda: not any(served.store.spool.iterdir()))
        assert served.heavy.export_jobs._jobs == 0


async def exported(served: Served, file_format: Any = CSV, **fields: Any) -> bytes:
    client = served.client()
    request = messages.ExportRowsRequest(format=file_format, **fields)
    parts = await answered(client.rows.ExportRows(request, metadata=client.metadata))
    content = b"".join(part.chunk for part in parts[:-1])
    assert parts[-1].summary.file_bytes == len(content)
    return content


SQL = "SELECT carrier, count(*) AS n FROM flights WHERE month < $m GROUP BY 1 ORDER BY 1"


async def test_result_of_a_query_is_exported_in_each_format(served: Served) -> None:
    fields = {"sql": SQL, "parameters": {"m": to_value(3)}}
    assert await exported(served, CSV, **fields) == b"carrier,n\nAA,1\nUA,1\n"
    lines = (await exported(served, JSON_LINES, **fields)).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"carrier": "AA", "n": 1},
        {"carrier": "UA", "n": 1},
    ]
    parquet = pq.read_table(io.BytesIO(await exported(served, PARQUET, **fields)))
    arrow = pa.ipc.open_stream(await exported(served, ARROW, **fields)).read_all()
    for table in (parquet, arrow):
        assert table.to_pydict() == {"carrier": ["AA", "UA"], "n": [1, 1]}


async def test_query_reads_datasets(served: Served) -> None:
    made = await create_dataset(served.client(), "SELECT 7 AS seven")
    fields = {"sql": "SELECT * FROM mine", "datasets": {"mine": made.dataset.id}}
    assert await exported(served, CSV, **fields) == b"seven\n7\n"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT {'a': 1, 'b': [1.5::DOUBLE]} AS s", {"s": {"a": 1, "b": [1.5]}}),
        ("SELECT MAP {'a': 1} AS m", {"m": {"a": 1}}),
        ("SELECT 255::UTINYINT AS t, 'x'::ENUM('x', 'y') AS e", {"t": 255, "e": "x"}),
        ("SELECT NULL AS nothing", {"nothing": None}),
    ],
)
async def test_types_that_no_table_has_are_exported_as_the_nearest(
    served: Served, sql: str, expected: Any
) -> None:
    [line] = (await exported(served, JSON_LINES, sql=sql)).splitlines()
    assert json.loads(line) == expected
    for file_format in (CSV, PARQUET, ARROW):
        assert await exported(served, file_format, sql=sql)


@pytest.mark.parametrize(
    ("fields", "code", "expected"),
    [
        ({"sql": "SELECT * FROM nowhere"}, grpc.StatusCode.NOT_FOUND, "TABLE_NOT_FOUND"),
        ({"sql": "COPY flights TO 'x'"}, grpc.StatusCode.INVALID_ARGUMENT, "SQL_REFUSED"),
        ({"sql": "SELECT * FROM read_csv('x')"}, grpc.StatusCode.INVALID_ARGUMENT, "SQL_REFUSED"),
        ({"sql": "SELECT nope FROM flights"}, grpc.StatusCode.INVALID_ARGUMENT, "SQL_INVALID"),
        (
            {"sql": "SELECT CAST(carrier AS INTEGER) AS n FROM flights"},
            grpc.StatusCode.INVALID_ARGUMENT,
            "QUERY_FAILED",
        ),
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID"),
        ({"sql": "SELECT 1", "table": "flights"}, None, "FIELDS_INVALID"),
        ({"table": "flights", "parameters": {"a": to_value(1)}}, None, "FIELDS_INVALID"),
        ({"sql": "SELECT 1", "columns": ["a"]}, None, "FIELDS_INVALID"),
        ({"table": "flights", "csv": {"quote": ","}}, None, "FIELDS_INVALID"),
    ],
)
async def test_what_cannot_be_exported_is_refused(
    served: Served, fields: Any, code: Any, expected: str
) -> None:
    error = await refused(exported(served, CSV, **fields))
    assert reason(error) == expected
    assert code in (None, error.code())


async def test_query_sees_what_its_caller_may_see(served: Served) -> None:
    other = served.client("usr_2")
    request = messages.ExportRowsRequest(format=CSV, sql="SELECT * FROM flights")
    error = await refused(answered(other.rows.ExportRows(request, metadata=other.metadata)))
    assert reason(error) == "TABLE_NOT_FOUND"


DIALECTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", ";", "\t", "|"]),
        "quote": st.sampled_from(['"', "'"]),
        "escape": st.sampled_from(["", "\\"]),
        "header": st.booleans(),
        "null_text": st.sampled_from(["", "NA", "null"]),
    }
)
UNUSUAL = {"delimiter": ";", "quote": "'", "escape": "", "header": False, "null_text": "NA"}
TEXTS = st.none() | st.text(st.sampled_from("ab,;|'\"\\\t\r\n NAnull#\0é"), max_size=6)


@example([("\r", None)], UNUSUAL)
@example([("\\", 1), ('"\r\\', 2)], UNUSUAL | {"quote": '"', "escape": "\\"})
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, st.none() | st.integers(0, 9))), DIALECTS)
async def test_every_dialect_brings_back_the_same_rows(
    served: Served, rows: list[tuple[str | None, int | None]], dialect: dict[str, Any]
) -> None:
    client, name = served.client(), f"t{new_request_id().replace('-', '')}"
    columns = (column("s", Kind.KIND_STRING), column("n", Kind.KIND_INT32))
    for table in (name, f"{name}_copy"):
        await client.create_table(table, *columns)
    lines = b"".join(json.dumps({"s": text, "n": number}).encode() + b"\n" for text, number in rows)
    await client.import_file(name, lines, JSON_LINES)
    content = await exported(served, CSV, table=name, csv=messages.CsvOptions(**dialect))
    await client.import_file(f"{name}_copy", content, CSV, **dialect)
    found = await client.values(f"SELECT s, n FROM {name}_copy ORDER BY _row_id")
    assert found == rows
