"""Files that are damaged, that lie, or that are made to hurt: refused with a reason, or taken exactly."""

from __future__ import annotations

import io
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2, table_pb2
from table_service.arrow_messages import messages as arrow_messages
from table_service.store.database import Limits
from table_service.store.heavy import HeavyLimits
from tests.table_service.serving import Kind, Served, column, reason, refused, serving
from tests.table_service.test_transfers import arrow_file, parquet_file, violations

CSV = messages.FILE_FORMAT_CSV
PARQUET = messages.FILE_FORMAT_PARQUET
ARROW = messages.FILE_FORMAT_ARROW_IPC
JSON_LINES = messages.FILE_FORMAT_JSON_LINES
MIB = 1024 * 1024


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    limits = HeavyLimits(file_bytes=256 * MIB)
    async with serving(tmp_path, limits=limits) as served:
        await served.client().create_table(
            "things",
            column("n", Kind.KIND_INT64),
            column("t", Kind.KIND_STRING),
            column("j", Kind.KIND_JSON),
            column("d", Kind.KIND_DECIMAL, precision=38, scale=20),
            column("day", Kind.KIND_DATE),
            column("at", Kind.KIND_LOCAL_TIMESTAMP),
        )
        yield served
        assert list(served.store.spool.iterdir()) == []
        assert not served.store.writer.broken
        # Whatever came, the service goes on.
        assert await served.client().values("SELECT 1") == [(1,)]


async def assert_refused(
    served: Served, content: bytes, file_format: Any, why: str, expected: str = "FILE_INVALID"
) -> None:
    error = await refused(served.client().import_file("things", content, file_format))
    assert reason(error) == expected
    assert why in str(error.details())
    assert str(served.store.spool) not in str(error.details())
    assert await served.client().values("SELECT count(*) FROM things") == [(0,)]


@pytest.mark.parametrize(
    ("content", "file_format", "why"),
    [
        (b"\x1f\x8b\x08\x00", CSV, "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd....", JSON_LINES, "compressed with Zstandard"),
        (b"PK\x03\x04....", PARQUET, "a ZIP archive or a workbook"),
        (b"\xff\xfen\x00", CSV, "in UTF-16"),
        (b"ARROW1\x00\x00....", ARROW, "an Arrow file"),
        (parquet_file({"n": [1]}), ARROW, "a Parquet file"),
        (b"n\n1\n2\r\n3\n", CSV, "its lines do not end alike"),
        (b"n,t\n1,\xc3\xa9\n2,\xc3\n", CSV, "line 3 is not UTF-8: byte 0xc3"),
        (b"n,t\n1,\xc3", CSV, "it ends in the middle of a character"),
        (b'{"n": 1}\n{"n": 2, "N": 3}\n', JSON_LINES, "differ in case alone"),
        (b'{"n": 1}\n{"n": 2, "n": 3}\n', JSON_LINES, 'duplicate key "n"'),
        (b'{"n": 1}\n[2]\n', JSON_LINES, "row 2 is not a JSON object"),
        (b'{"n": 1}\nnull\n', JSON_LINES, "row 2 is not a JSON object"),
        (b'{"n": 1} {"n": 2}\n', JSON_LINES, "unexpected content after document"),
        (b"\n".join(b'{"k%d": 1}' % k for k in range(1001)), JSON_LINES, "more than 1000 columns"),
        (b",".join(b"c%d" % k for k in range(1001)) + b"\n", CSV, "more than 1000 columns"),
        (arrow_file({f"c{k}": [1] for k in range(1001)}), ARROW, "more than 1000 columns"),
        (arrow_file({"n": [1]}, compression="zstd"), ARROW, "it is compressed"),
        (arrow_file({"n": [1]}, compression="lz4"), ARROW, "it is compressed"),
        (arrow_file({"n": [1]})[:-20], ARROW, "not a whole Arrow IPC stream"),
        (b"PAR1" + b"\0" * 100 + b"PAR1", PARQUET, "Footer length"),
        (parquet_file({"n": [1]})[:-4] + b"\xff\xff\xff\x7fPAR1", PARQUET, "not valid"),
    ],
)
async def test_file_that_is_no_such_file_is_refused(
    served: Served, content: bytes, file_format: Any, why: str
) -> None:
    await assert_refused(served, content, file_format, why)


def growing_dictionaries() -> bytes:
    parts = [["x", "y"], ["x", "y", "z"]]
    chunks = [pa.DictionaryArray.from_arrays([0, 1], words) for words in parts]
    return arrow_file({"t": pa.chunked_array(chunks)}, emit_dictionary_deltas=True)


def many_rows() -> bytes:
    sink = io.BytesIO()
    schema = pa.schema([("n", pa.null())])
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.nulls(4 * MIB + 1)], schema=schema))
    return sink.getvalue()


def pointing_out_of_itself() -> bytes:
    """Return a stream whose strings begin far beyond their bytes."""
    content = bytearray(arrow_file({"t": ["abcdefgh", "ijklmnop"]}))
    at = content.index(struct.pack("<iii", 0, 8, 16))
    content[at : at + 12] = struct.pack("<iii", 0, 8, 2**30)
    return bytes(content)


def names_that_are_not_text() -> bytes:
    return arrow_file({"nn": [1]}).replace(b"nn", b"n\xf0")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (growing_dictionaries(), "a dictionary that grows"),
        (many_rows(), "a batch of more than 4194304 rows"),
        (pointing_out_of_itself(), "not a whole Arrow IPC stream"),
        (names_that_are_not_text(), "not a whole Arrow IPC stream"),
        (arrow_file({"t": ["\ud800".encode("utf-8", "surrogatepass")]}), ""),
    ],
)
async def test_arrow_that_lies_is_refused(served: Served, content: bytes, why: str) -> None:
    error = await refused(served.client().import_file("things", content, ARROW))
    assert reason(error) in ("FILE_INVALID", "ROW_INVALID")
    assert why in str(error.details())


async def test_short_arrow_for_long_texts_is_refused_before_it_is_expanded(served: Served) -> None:
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 300), ["x" * MIB])
    await assert_refused(
        served,
        arrow_file({"t": long}),
        ARROW,
        "the values in the file take more than 268435456 bytes",
        "FILE_TOO_LARGE",
    )


async def test_dictionaries_and_other_shapes_of_text_are_read(served: Served) -> None:
    texts = ["x", None, "é", "x"]
    for values in (
        pa.array(texts).dictionary_encode(),
        pa.array(texts, pa.large_string()),
        pa.array(texts, pa.string_view()),
    ):
        client = served.client()
        await client.import_file("things", arrow_file({"t": values}), ARROW)
    found = await client.values("SELECT t FROM things ORDER BY _row_id")
    assert [text for (text,) in found] == texts * 3


async def test_compressed_rows_in_a_message_are_refused(served: Served) -> None:
    client = served.client()
    stream = arrow_file({"n": [1]}, compression="zstd")
    request = messages.InsertRowsRequest(table="things", rows=rows_pb2.Rows(arrow_ipc=stream))
    error = await refused(client.call(client.rows.InsertRows, request))
    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "ROW_INVALID")


async def test_page_that_expands_to_more_than_memory_holds_is_refused(tmp_path: Path) -> None:
    bomb = parquet_file(
        {"t": pa.array(["x" * (128 * MIB)], pa.large_string())},
        compression="zstd",
        use_dictionary=False,
    )
    assert len(bomb) < MIB
    limits = Limits(memory="100MB", spill="1GB", threads=2)
    async with serving(tmp_path, store_limits=limits) as served:
        client = served.client()
        await client.create_table("things", column("t", Kind.KIND_STRING))
        error = await refused(client.import_file("things", bomb, PARQUET))
        assert (error.code(), reason(error)) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "QUERY_LIMIT",
        )
        assert await client.values("SELECT count(*) FROM things") == [(0,)]
        assert list(served.store.spool.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "file_format"),
    [
        (b"t\n" + b"x" * (70 * MIB), CSV),
        (b"t\na\n" + b"x" * (70 * MIB) + b"\nb\n", CSV),
        (b"t\na\n" + b'"' * (70 * MIB + 1), CSV),
        (b't\na\n"' + b"xxxxxxx\n" * (9 * MIB) + b'"\n', CSV),
        (b'{"t": "' + b"x" * (70 * MIB) + b'"}', JSON_LINES),
    ],
)
async def test_row_that_is_too_long_is_refused_and_never_left_out(
    served: Served, content: bytes, file_format: Any
) -> None:
    await assert_refused(served, content, file_format, "it has a row of more than 67108864 bytes")


async def test_rows_of_several_mib_are_taken_wherever_they_stand(served: Served) -> None:
    client = served.client()
    long = "x" * (11 * MIB)
    content = f't\n{long}\na\n"{long}"\nb\n{long}'.encode()
    await client.import_file("things", content)
    lines = f'{{"t": "{long}"}}\n{{"t": "a"}}\n'.encode()
    await client.import_file("things", lines, JSON_LINES)
    found = await client.values("SELECT length(t) FROM things ORDER BY _row_id")
    assert [length for (length,) in found] == [11 * MIB, 1, 11 * MIB, 1, 11 * MIB, 11 * MIB, 1]


@pytest.mark.parametrize("text", ["a\0b", "\0", "\ufeff", "é\r\n\t", "=1+1", "NULL", "'; --"])
async def test_odd_texts_come_through_every_format(served: Served, text: str) -> None:
    client = served.client()
    quoted = '"' + text + '"'
    await client.import_file("things", f"t\n{quoted}\n".encode())
    await client.import_file("things", arrow_file({"t": [text]}), ARROW)
    await client.import_file("things", parquet_file({"t": [text]}), PARQUET)
    document = b'{"t": "' + "".join(f"\\u{ord(c):04x}" for c in text).encode() + b'"}'
    await client.import_file("things", document, JSON_LINES)
    assert await client.values("SELECT t FROM things") == [(text,)] * 4


@pytest.mark.parametrize(
    "document", ["NaN", "[1,]", '{"a": Infinity}', "[" * 501 + "]" * 501, "[" * 100_000]
)
@pytest.mark.parametrize("file_format", [CSV, PARQUET, ARROW])
async def test_document_that_is_none_or_too_deep_is_refused(
    served: Served, document: str, file_format: Any
) -> None:
    content = {
        CSV: b'j\n"' + document.replace('"', '""').encode() + b'"\n',
        PARQUET: parquet_file({"j": [document]}),
        ARROW: arrow_file({"j": [document]}),
    }[file_format]
    error = await refused(served.client().import_file("things", content, file_format))
    assert violations(error)[0][0] == "rows[1].j"


async def test_document_at_the_limit_is_taken(served: Served) -> None:
    client = served.client()
    deepest = "[" * 500 + '"]]]"' + "]" * 500
    await client.import_file("things", parquet_file({"j": [deepest, '["NaN,]", {}]']}), PARQUET)
    assert await client.values("SELECT length(j) FROM things ORDER BY 1") == [(13,), (1005,)]
    deeper = b'{"j": ' + b"[" * 501 + b"]" * 501 + b"}\n"
    error = await refused(client.import_file("things", deeper, JSON_LINES))
    assert violations(error)[0][0] == "rows[1].j"


@pytest.mark.parametrize(
    ("content", "file_format", "field"),
    [
        (b"day\n2013-01-01\n10000-01-01\n", CSV, "rows[2].day"),
        (b"day\ninfinity\n", CSV, "rows[1].day"),
        (b'{"at": "290000-01-01 00:00:00"}\n', JSON_LINES, "rows[1].at"),
        (parquet_file({"day": pa.array([2**30], pa.date32())}), PARQUET, "rows[1].day"),
        (arrow_file({"at": pa.array([2**62], pa.timestamp("us"))}), ARROW, "rows[1].at"),
        (arrow_file({"at": pa.array([1], pa.timestamp("ns"))}), ARROW, "rows[1].at"),
        (arrow_file({"day": pa.array([1], pa.timestamp("s"))}), ARROW, "rows[1].day"),
        (b'{"d": 0.12345678901234567891}\n', JSON_LINES, "rows[1].d"),
        (b'{"n": 1}\n{"n": 9007199254740993.5}\n', JSON_LINES, "rows[2].n"),
        (parquet_file({"n": [1.0, 1.5]}), PARQUET, "rows[2].n"),
    ],
)
async def test_value_that_would_be_bent_is_refused(
    served: Served, content: bytes, file_format: Any, field: str
) -> None:
    error = await refused(served.client().import_file("things", content, file_format))
    assert reason(error) == "ROW_INVALID"
    assert [name for name, _ in violations(error)] == [field]


async def test_long_numbers_that_fit_are_taken(served: Served) -> None:
    client = served.client()
    content = b'{"n": 9223372036854775807, "d": "0.12345678901234567891", "t": "0.12345678901234567891"}\n'
    await client.import_file("things", content, JSON_LINES)
    found = await client.values("SELECT n, d::VARCHAR, t FROM things")
    assert found == [(2**63 - 1, "0.12345678901234567891", "0.12345678901234567891")]


async def test_nested_values_are_held_to_their_types(served: Served) -> None:
    client = served.client()
    point = table_pb2.Type(
        kind=Kind.KIND_STRUCT,
        fields=[
            column("x", Kind.KIND_INT32),
            column("tags", Kind.KIND_LIST, element=table_pb2.Type(kind=Kind.KIND_STRING)),
        ],
    )
    await client.create_table("points", table_pb2.Column(name="p", type=point))
    await client.import_file("points", b'p\n"{""x"": 1, ""tags"": [""a"", null]}"\n{}\n')
    content = b'{"p": {"x": 2, "tags": null}}\n{"p": null}\n'
    await client.import_file("points", content, JSON_LINES)
    rows = [{"x": 3.0, "tags": ["b"]}, None]
    await client.import_file("points", parquet_file({"p": rows}), PARQUET)
    found = await client.values("SELECT p FROM points ORDER BY _row_id")
    assert [one for (one,) in found] == [
        {"x": 1, "tags": ["a", None]},
        {"x": None, "tags": None},
        {"x": 2, "tags": None},
        None,
        {"x": 3, "tags": ["b"]},
        None,
    ]
    for content, file_format in (
        (b'{"p": {"y": 1}}\n', JSON_LINES),
        (b'{"p": {"x": 1.5}}\n', JSON_LINES),
        (b'{"p": [1]}\n', JSON_LINES),
        (b'{"p": {"x": 1, "x": 2}}\n', JSON_LINES),
        (parquet_file({"p": [{"x": 1.5}]}), PARQUET),
        (parquet_file({"p": [{"y": 1}]}), PARQUET),
        (parquet_file({"p": [1]}), PARQUET),
    ):
        error = await refused(client.import_file("points", content, file_format))
        assert reason(error) == "ROW_INVALID"


WHOLE = {
    PARQUET: parquet_file({"n": list(range(50)), "t": ["é"] * 50}),
    ARROW: arrow_file({"n": list(range(50)), "t": ["é"] * 50}),
    JSON_LINES: b'{"n": 1, "t": "a\\u0000b", "d": "1.5"}\n' * 20,
    CSV: b'n,t,d\n1,"a ""q""\nb",1.5\n' + b"2,b,\n" * 20,
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), file_format=st.sampled_from(list(WHOLE)))
async def test_damage_anywhere_is_refused_or_harmless(
    served: Served, data: st.DataObject, file_format: Any
) -> None:
    content = bytearray(WHOLE[file_format])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        await served.client().import_file("things", bytes(content), file_format)
        code = grpc.StatusCode.OK
    except grpc.aio.AioRpcError as error:
        code = error.code()
    assert code in (
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    assert not served.store.writer.broken


def test_messages_that_are_damaged_are_told_from_others() -> None:
    whole = arrow_file({"n": [1, 2], "t": pa.array(["x", "y"]).dictionary_encode()})
    found = list(arrow_messages(pa.py_buffer(whole)))
    assert [(one.row_count, one.is_dictionary) for one in found] == [(2, True), (2, False)]
    with pytest.raises((ValueError, pa.ArrowException, OSError)):
        list(arrow_messages(pa.py_buffer(whole[:-10])))
    legacy = arrow_file({"n": [1]}, use_legacy_format=True)
    assert [one.row_count for one in arrow_messages(pa.py_buffer(legacy))] == [1]
    assert pq.read_table(io.BytesIO(WHOLE[PARQUET])).num_rows == 50
