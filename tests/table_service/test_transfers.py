"""Files in and out through a real port: what is read, what is refused, and that nothing stays."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.rpc import error_details_pb2

from flux.table.v1 import row_service_pb2 as messages
from table_service.store.database import Limits
from table_service.store.heavy import HeavyLimits
from tests.support.waiting import eventually_true
from tests.table_service.serving import (
    Kind,
    Served,
    answered,
    column,
    detail,
    in_chunks,
    new_request_id,
    reason,
    refused,
    serving,
)

CSV = messages.FILE_FORMAT_CSV
PARQUET = messages.FILE_FORMAT_PARQUET
ARROW = messages.FILE_FORMAT_ARROW_IPC
JSON_LINES = messages.FILE_FORMAT_JSON_LINES

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


async def assert_nothing_kept(served: Served) -> None:
    assert await served.client().values("SELECT count(*) FROM flights") == [(0,)]
    assert list(served.store.spool.iterdir()) == []


def violations(error: grpc.aio.AioRpcError) -> list[tuple[str, str]]:
    found = detail(error, error_details_pb2.BadRequest)
    return [(one.field, one.description) for one in found.field_violations]


def arrow_file(rows: Any, **options: Any) -> bytes:
    table, sink = pa.table(rows), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_file(rows: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(rows), sink, **options)
    return sink.getvalue()


TABLE = pa.table({"month": [1, 2], "carrier": ["UA", None], "price": [1.5, None]})


@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        (CSV, b"month,carrier,price\n1,UA,1.5\n2,,\n"),
        (CSV, b"\xef\xbb\xbfprice,carrier,month\r\n1.50,UA,1\r\n,,2"),
        (PARQUET, parquet_file(TABLE)),
        (ARROW, arrow_file(TABLE)),
        (JSON_LINES, b'{"month": 1, "carrier": "UA", "price": "1.50"}\n{"month": "2"}\n'),
    ],
)
async def test_file_of_each_format_becomes_rows(
    served: Served, file_format: Any, content: bytes
) -> None:
    client = served.client()
    answer = await client.import_file("flights", content, file_format)
    assert (answer.row_count, answer.file_bytes) == (2, len(content))
    found = await client.values("SELECT month, carrier, price FROM flights ORDER BY month")
    assert found == [(1, "UA", Decimal("1.50")), (2, None, None)]
    assert list(served.store.spool.iterdir()) == []


async def test_rows_get_ids_in_the_order_of_the_file(served: Served) -> None:
    client = served.client()
    lines = b"".join(b"%d,x\n" % number for number in range(1, 5001))
    await client.import_file("flights", b"month,carrier\n" + lines)
    await client.import_file("flights", b"month\n6000\n")
    found = await client.values("SELECT _row_id, month FROM flights ORDER BY _row_id")
    assert [month for _, month in found] == [*range(1, 5001), 6000]
    assert len({row_id for row_id, _ in found}) == 5001


async def test_null_is_the_empty_field_or_the_text_named(served: Served) -> None:
    client = served.client()
    await client.import_file(
        "flights", b'month;carrier;price\n1;"";NA\n2;NA;\n3;"NA";1\n', delimiter=";", null_text="NA"
    )
    found = await client.values("SELECT carrier, price FROM flights ORDER BY month")
    assert found == [("", None), (None, None), ("NA", Decimal("1.00"))]


async def test_bad_rows_are_named_by_row_column_and_value(served: Served) -> None:
    content = (
        b"month,carrier,price\n"
        b"1,UA,1.5\n"
        b"x,UA,1\n"
        b'3,"two\nlines",2\n'
        b"4\n"
        b"1.5,UA,1.555\n"
        b"99999999999,UA,abc\n"
        b",UA,1\n"
        b"5,UA,1,7\n"
    )
    error = await refused(served.client().import_file("flights", content))
    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "ROW_INVALID")
    assert violations(error) == [
        ("rows[2].month", "row 2, column 'month': 'x' is not an integer"),
        ("rows[4]", "row 4: 1 values for 3 columns"),
        ("rows[5].month", "row 5, column 'month': '1.5' is not an integer"),
        ("rows[5].price", "row 5, column 'price': '1.555' has more than 2 digits after the point"),
        ("rows[6].month", "row 6, column 'month': 99999999999 does not fit INT32"),
        ("rows[6].price", "row 6, column 'price': 'abc' is not a decimal number"),
        ("rows[7].month", "row 7, column 'month': null in a column that refuses it"),
        ("rows[8]", "row 8: 4 values for 3 columns"),
    ]
    await assert_nothing_kept(served)


async def test_at_most_a_hundred_bad_rows_are_named(served: Served) -> None:
    content = b"month\n" + b"".join(b"m%d\n" % number for number in range(5000))
    error = await refused(served.client().import_file("flights", content))
    named = violations(error)
    assert len(named) <= 101
    assert named[0] == ("rows[1].month", "row 1, column 'month': 'm0' is not an integer")
    await assert_nothing_kept(served)


@pytest.mark.parametrize(
    ("file_format", "content", "field"),
    [
        (PARQUET, parquet_file(pa.table({"month": ["1", "x"]})), "rows[2].month"),
        (ARROW, arrow_file(pa.table({"month": [1.0, 2.5]})), "rows[2].month"),
        (ARROW, arrow_file(pa.table({"month": [1, None]})), "rows[2].month"),
        (ARROW, arrow_file(pa.table({"month": [1, 2**40]})), "rows[2].month"),
        (JSON_LINES, b'{"month": 1}\n{"month": 2.5}\n', "rows[2].month"),
        (JSON_LINES, b'{"month": 1}\n{"carrier": "UA"}\n', "rows[2].month"),
        (JSON_LINES, b'{"month": 1}\n{"month": {"a": 1}}\n', "rows[2].month"),
    ],
)
async def test_bad_rows_of_other_formats_are_named(
    served: Served, file_format: Any, content: bytes, field: str
) -> None:
    error = await refused(served.client().import_file("flights", content, file_format))
    assert reason(error) == "ROW_INVALID"
    assert [name for name, _ in violations(error)] == [field]
    await assert_nothing_kept(served)


WHOLE_PARQUET = parquet_file(pa.table({"month": list(range(10000))}))
WHOLE_ARROW = arrow_file(pa.table({"month": list(range(10000))}))


@pytest.mark.parametrize(
    ("file_format", "content", "expected"),
    [
        (CSV, b"", "FILE_INVALID"),
        (CSV, b"\n", "FILE_INVALID"),
        (CSV, b"nope\n1\n", "COLUMN_NOT_FOUND"),
        (CSV, b"month,_row_id\n1,7\n", "COLUMN_NOT_FOUND"),
        (CSV, b"month,month\n1,7\n", "FILE_INVALID"),
        (CSV, b"carrier\nUA\n", "ROW_INVALID"),
        (CSV, b"month,carrier\n1,\xff\xfe\n", "FILE_INVALID"),
        (CSV, b'month,carrier\n1,"UA\n2,UA\n', "ROW_INVALID"),
        (CSV, gzip.compress(b"month\n1\n", mtime=0), "FILE_INVALID"),
        (CSV, WHOLE_PARQUET, "FILE_INVALID"),
        (PARQUET, b"", "FILE_INVALID"),
        (PARQUET, b"month\n1\n", "FILE_INVALID"),
        (PARQUET, WHOLE_PARQUET[:-100], "FILE_INVALID"),
        (PARQUET, WHOLE_PARQUET[:20] + b"\xff" * 200 + WHOLE_PARQUET[220:], "FILE_INVALID"),
        (ARROW, b"", "FILE_INVALID"),
        (ARROW, b"month\n1\n", "FILE_INVALID"),
        (ARROW, WHOLE_ARROW[:-2000], "FILE_INVALID"),
        (JSON_LINES, b"not json\n", "FILE_INVALID"),
        (JSON_LINES, b'{"month": 1}\n{"month":\n', "FILE_INVALID"),
        (JSON_LINES, b'{"month": 1}\n[2]\n', "FILE_INVALID"),
        (JSON_LINES, b'{"month": 1, "nope": 2}\n', "COLUMN_NOT_FOUND"),
        (JSON_LINES, gzip.compress(b'{"month": 1}\n', mtime=0), "FILE_INVALID"),
    ],
)
async def test_file_that_is_not_what_it_says_is_refused(
    served: Served, file_format: Any, content: bytes, expected: str
) -> None:
    error = await refused(served.client().import_file("flights", content, file_format))
    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, expected)
    assert str(served.store.spool) not in str(error.details())
    await assert_nothing_kept(served)
    assert not served.store.writer.broken


async def test_duplicate_key_in_a_file_is_refused(served: Served) -> None:
    client = served.client()
    await client.create_table("keyed", column("k", Kind.KIND_INT64), keys=[["k"]])
    await client.import_file("keyed", b"k\n1\n2\n")
    for content in (b"k\n3\n4\n3\n", b"k\n5\n2\n"):
        error = await refused(client.import_file("keyed", content))
        assert (error.code(), reason(error)) == (grpc.StatusCode.ALREADY_EXISTS, "DUPLICATE_KEY")
    assert await client.values("SELECT k FROM keyed ORDER BY k") == [(1,), (2,)]


async def test_same_request_id_imports_once(served: Served) -> None:
    client, id_ = served.client(), new_request_id()
    first = await client.import_file("flights", b"month\n1\n", request_id=id_)
    again = await client.import_file("flights", b"month\n1\n", request_id=id_)
    assert first == again
    assert await client.values("SELECT count(*) FROM flights") == [(1,)]


async def test_file_past_the_limit_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=HeavyLimits(file_bytes=1000)) as served:
        client = served.client()
        await client.create_table("flights", *COLUMNS)
        error = await refused(client.import_file("flights", b"month\n" + b"1\n" * 500))
        assert (error.code(), reason(error)) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "FILE_TOO_LARGE",
        )
        await assert_nothing_kept(served)


async def test_stream_out_of_order_is_refused(served: Served) -> None:
    client = served.client()
    header = messages.ImportRowsRequest(header=messages.ImportHeader(table="flights", format=CSV))
    chunk = messages.ImportRowsRequest(chunk=b"month\n1\n")
    for sent in ([chunk], [], [header, header], [header, chunk, header]):
        error = await refused(
            answered(client.rows.ImportRows(iter(sent), metadata=client.metadata))
        )
        assert reason(error) == "FIELDS_INVALID"
    await assert_nothing_kept(served)


async def test_viewers_do_not_import_and_namespaces_stay_closed(served: Served) -> None:
    error = await refused(served.client(role="viewer").import_file("flights", b"month\n1\n"))
    assert reason(error) == "ROLE_REQUIRED"
    error = await refused(served.client().import_file("auth.users", b"month\n1\n"))
    assert reason(error) == "NAMESPACE_CLOSED"
    error = await refused(served.client().export_file("nowhere", CSV))
    assert reason(error) == "TABLE_NOT_FOUND"
    error = await refused(served.client().export_file("flights", CSV, ["nope"]))
    assert reason(error) == "COLUMN_NOT_FOUND"
    assert list(served.store.spool.iterdir()) == []


async def test_client_that_goes_leaves_nothing(served: Served) -> None:
    client = served.client()

    async def endless() -> AsyncIterator[messages.ImportRowsRequest]:
        yield messages.ImportRowsRequest(header=messages.ImportHeader(table="flights", format=CSV))
        yield messages.ImportRowsRequest(chunk=b"month\n1\n")
        await asyncio.Event().wait()

    call = client.rows.ImportRows(endless(), metadata=client.metadata)
    await eventually_true(lambda: any(served.store.spool.iterdir()))
    call.cancel()
    await eventually_true(lambda: not any(served.store.spool.iterdir()))
    await assert_nothing_kept(served)


async def test_import_larger_than_memory(tmp_path: Path) -> None:
    limits = Limits(memory="50MB", spill="1GB", threads=2)
    async with serving(tmp_path, store_limits=limits) as served:
        client = served.client()
        await client.create_table(
            "wide", column("n", Kind.KIND_INT64), column("s", Kind.KIND_STRING)
        )
        line = b"%d," + b"x" * 1000 + b"%d\n"

        def chunks() -> Iterator[bytes]:
            yield b"n,s\n"
            for at in range(150):
                yield b"".join(line % (n, n) for n in range(at * 1000, at * 1000 + 1000))[: 2**20]

        content = (chunk for piece in chunks() for chunk in in_chunks(piece))
        answer = await client.import_file("wide", content)
        assert answer.row_count == 150_000
        assert answer.file_bytes > 2 * 50_000_000
