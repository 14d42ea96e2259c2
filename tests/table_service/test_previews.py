"""Looking at files before they are imported."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest

from chassis.values import from_value
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2
from tests.table_service.serving import Kind, Served, column, in_chunks, reason, refused, serving
from tests.table_service.test_transfers import arrow_file, parquet_file

CSV = messages.FILE_FORMAT_CSV
PARQUET = messages.FILE_FORMAT_PARQUET
ARROW = messages.FILE_FORMAT_ARROW_IPC
JSON_LINES = messages.FILE_FORMAT_JSON_LINES


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served
        assert list(served.store.spool.iterdir()) == []
        assert served.heavy.export_jobs._jobs == 0


async def look(served: Served, content: bytes, file_format: Any = CSV, **header: Any) -> Any:
    client = served.client()
    header.setdefault("encoding", rows_pb2.Rows.ENCODING_TYPED)

    def requests() -> Iterator[messages.PreviewImportRequest]:
        yield messages.PreviewImportRequest(
            header=messages.PreviewHeader(format=file_format, **header)
        )
        for chunk in in_chunks(content):
            yield messages.PreviewImportRequest(chunk=chunk)

    return await client.rows.PreviewImport(requests(), metadata=client.metadata)


def columns(found: Any) -> list[tuple[str, str]]:
    return [(c.name, Kind.Name(c.type.kind).removeprefix("KIND_")) for c in found.columns]


def rows(found: Any) -> list[tuple[Any, ...]]:
    return [tuple(map(from_value, row.values)) for row in found.sample.typed.rows]


def problems(found: Any) -> list[tuple[int, str, str]]:
    return [(one.row, one.column, one.description) for one in found.problems]


async def test_types_are_what_all_values_are(served: Served) -> None:
    content = (
        b"whole;huge;money;real;yes;day;clock;moment;local;id;doc;text;zip;empty\n"
        b"1;123456789012345678901;1.50;1.5;true;2013-01-31;05:15;2013-01-31T05:15:00Z;"
        b"2013-01-31 05:15:00.25;0189d4a5-0000-7000-8000-000000000000;[1];x;01234;\n"
        b"-2;-5;-2.25;1e3;FALSE;2013-02-01;05:15:30;2013-01-31 05:15:00+02;"
        b'2013-01-31 05:15;0189D4A5-0000-7000-8000-000000000001;{""a"": 1};2;5;\n'
    ).replace(b'{""a"": 1}', b'"{""a"": 1}"')
    found = await look(served, content)
    assert columns(found) == [
        ("whole", "INT64"),
        ("huge", "INT128"),
        ("money", "DECIMAL"),
        ("real", "DOUBLE"),
        ("yes", "BOOL"),
        ("day", "DATE"),
        ("clock", "TIME"),
        ("moment", "TIMESTAMP"),
        ("local", "LOCAL_TIMESTAMP"),
        ("id", "UUID"),
        ("doc", "JSON"),
        ("text", "STRING"),
        ("zip", "STRING"),
        ("empty", "STRING"),
    ]
    assert (found.columns[2].type.precision, found.columns[2].type.scale) == (18, 2)
    assert found.csv == messages.CsvOptions(delimiter=";", quote='"', header=True)
    assert problems(found) == []
    assert (found.row_count, found.file_bytes) == (2, len(content))
    first = rows(found)[0]
    assert first[:4] == (1, 123456789012345678901, Decimal("1.50"), 1.5)
    assert first[5:10] == (
        date(2013, 1, 31),
        time(5, 15),
        datetime(2013, 1, 31, 5, 15, tzinfo=UTC),
        datetime.fromisoformat("2013-01-31T05:15:00.250000"),
        uuid.UUID("0189d4a5-0000-7000-8000-000000000000"),
    )


async def test_value_far_down_decides_too(served: Served) -> None:
    content = b"n,m\n" + b"".join(b"%d,%d.5\n" % (n, n) for n in range(30_000))
    assert columns(await look(served, content)) == [("n", "INT64"), ("m", "DECIMAL")]
    found = await look(served, content + b"x,1.2345678901234567890123\n")
    assert columns(found) == [("n", "STRING"), ("m", "DECIMAL")]
    assert (found.columns[1].type.precision, found.columns[1].type.scale) == (38, 22)
    assert found.row_count == 30_001


async def test_dialect_is_found_and_tells_how_to_import(served: Served) -> None:
    content = b"day|price|name\n31.12.2013|1.5|'x|y'\n01.02.2013|NA|z\n"
    found = await look(served, content)
    assert found.csv == messages.CsvOptions(
        delimiter="|", quote="'", header=True, null_text="NA", date_format="%d.%m.%Y"
    )
    assert columns(found) == [("day", "DATE"), ("price", "DECIMAL"), ("name", "STRING")]
    assert rows(found) == [
        (date(2013, 12, 31), Decimal("1.5"), "x|y"),
        (date(2013, 2, 1), None, "z"),
    ]
    header = messages.ImportHeader(
        table="made",
        format=CSV,
        mode=messages.ImportHeader.MODE_CREATE,
        columns=found.columns,
        csv=found.csv,
    )
    client = served.client()
    await client.import_answers(header, content)
    assert await client.values('SELECT "day", price, name FROM made ORDER BY name') == rows(found)
    # And the same without what was found.
    header.table, header.csv.detect = "again", True
    header.csv.CopyFrom(messages.CsvOptions(detect=True))
    del header.columns[:]
    await client.import_answers(header, content)
    assert await client.values('SELECT "day", price, name FROM again ORDER BY name') == rows(found)


async def test_file_without_a_header_has_numbered_columns(served: Served) -> None:
    found = await look(served, b"1,2013-01-01\n2,2013-01-02\n")
    assert columns(found) == [("column_1", "INT64"), ("column_2", "DATE")]
    assert found.csv.HasField("header")
    assert not found.csv.header
    assert found.row_count == 2


@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        (
            PARQUET,
            parquet_file({"n": pa.array([1, None], pa.int8()), "x": [[1], []], "_s": ["a", "b"]}),
        ),
        (
            ARROW,
            arrow_file({"n": pa.array([1, None], pa.int8()), "x": [[1], []], "_s": ["a", "b"]}),
        ),
    ],
)
async def test_typed_files_say_their_types(
    served: Served, file_format: Any, content: bytes
) -> None:
    found = await look(served, content, file_format)
    assert columns(found) == [("n", "INT16"), ("x", "LIST"), ("s", "STRING")]
    assert rows(found) == [(1, [1], "a"), (None, [], "b")]
    assert problems(found) == [
        (0, "s", "column 3 is called '_s'; a table would call it 's'"),
    ]


async def test_json_lines_say_most_of_their_types(served: Served) -> None:
    content = (
        b'{"n": 1, "x": 1, "day": "2013-01-31", "s": "1", "doc": {"a": 1}, "mixed": 1}\n'
        b'{"x": 1.5, "day": null, "s": "2", "doc": [2], "mixed": "a", "late": true}\n'
    )
    found = await look(served, content, JSON_LINES)
    assert columns(found) == [
        ("n", "INT64"),
        ("x", "DOUBLE"),
        ("day", "DATE"),
        ("s", "STRING"),
        ("doc", "JSON"),
        ("mixed", "JSON"),
        ("late", "BOOL"),
    ]
    assert rows(found)[1][:4] == (None, 1.5, None, "2")


async def test_what_is_wrong_with_the_file_is_told(served: Served) -> None:
    found = await look(served, b"a,,a\n1,2,3\n4,5\n6,7,8\n")
    assert problems(found) == [
        (0, "column_2", "column 2 is called ''; a table would call it 'column_2'"),
        (0, "a_2", "column 3 is called 'a'; a table would call it 'a_2'"),
        (2, "", "row 2: 2 values for 3 columns"),
    ]
    assert (len(rows(found)), found.row_count) == (2, 3)


async def test_what_a_table_has_against_a_file_is_told(served: Served) -> None:
    client = served.client()
    await client.create_table(
        "prices",
        column("sku", Kind.KIND_STRING, not_null=True),
        column("price", Kind.KIND_INT32),
        column("day", Kind.KIND_DATE),
    )
    found = await look(served, b"price,colour,day\n1,red,2013-01-01\nx,red,1\n", table="prices")
    assert problems(found) == [
        (0, "colour", "table 'prices' has no column 'colour'"),
        (0, "sku", "the file has no column 'sku', which refuses null"),
        (2, "price", "row 2, column 'price': 'x' is not an integer"),
        (2, "day", "row 2, column 'day': '1' is not a date such as '2013-01-31'"),
    ]
    assert columns(found) == [("price", "STRING"), ("colour", "STRING"), ("day", "STRING")]
    found = await look(served, parquet_file({"sku": ["a"], "day": [True]}), PARQUET, table="prices")
    assert problems(found) == [(0, "day", "column 'day': BOOL does not fit DATE")]
    found = await look(served, b"1,2,2013-01-01\n", table="prices")
    assert problems(found) == []
    found = await look(served, b"1,2\n", table="prices")
    assert problems(found) == [
        (0, "", "the file is not valid: its rows have 2 values, and the table 3 columns")
    ]
    error = await refused(look(served, b"a\n1\n", table="nowhere"))
    assert reason(error) == "TABLE_NOT_FOUND"


async def test_beginning_of_a_file_is_cut_after_its_last_whole_row(served: Served) -> None:
    found = await look(served, b'a,b\n1,"x\ny"\n2,"z\nz', partial=True)
    assert rows(found) == [(1, "x\ny")]
    assert problems(found) == []
    found = await look(served, b"a,b\n1,\xc3\xa9\n2,\xc3", partial=True)
    assert rows(found) == [(1, "é")]
    found = await look(served, b'{"a": 1}\n{"a": 2', JSON_LINES, partial=True)
    assert rows(found) == [(1,)]
    whole = arrow_file({"a": list(range(100))})
    found = await look(served, whole + whole[-400:-200], ARROW, partial=True)
    assert found.row_count == 100
    error = await refused(look(served, parquet_file({"a": [1]}), PARQUET, partial=True))
    assert reason(error) == "FILE_INVALID"


async def test_as_many_first_rows_come_as_are_asked_for(served: Served) -> None:
    content = b"n\n" + b"".join(b"%d\n" % n for n in range(2000))
    assert len(rows(await look(served, content))) == 10
    found = await look(served, content, sample_row_count=1000)
    assert rows(found) == [(n,) for n in range(1000)]


@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        (CSV, b""),
        (CSV, b"\xff\xfe\x00"),
        (CSV, b"a\n\xff\n"),
        (JSON_LINES, b"[1]\n"),
        (JSON_LINES, b"nope\n"),
        (PARQUET, b"PAR1nope"),
        (ARROW, b"nope"),
        (ARROW, arrow_file({"a": list(range(1000))}, compression="zstd")),
    ],
)
async def test_damaged_file_is_refused(served: Served, file_format: Any, content: bytes) -> None:
    error = await refused(look(served, content, file_format))
    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "FILE_INVALID")
    assert str(served.store.spool) not in str(error.details())


async def test_more_than_64_mib_are_refused(served: Served) -> None:
    error = await refused(look(served, b"x" * (64 * 1024 * 1024 + 1)))
    assert (error.code(), reason(error)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "FILE_TOO_LARGE",
    )
