"""Arrow as others send it: every type it has for one of ours, and streams that are larger than they look."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from chassis.faults import InvalidArgument
from table_service import codec
from table_service.arrow_streams import BYTES_MAX, ROWS_MAX, expanded_bytes, is_compressed
from table_service.types import Column, Kind, Type
from tests.table_service.encoded import (
    Rows,
    a_list,
    a_struct,
    an_enum,
    arrow_rows,
    as_arrow,
    of_kind,
)


def decoded(values: pa.Array, type_: Type) -> list[object]:
    """Return what is stored of a column."""
    rows = codec.decode(as_arrow(v=values), (Column(name="v", type=type_),)).rows
    found: list[object] = rows.column("v").to_pylist()
    return found


INT, TEXT = Type(kind=Kind.INT64), Type(kind=Kind.STRING)
TAKEN: list[tuple[Type, pa.Array, list[object]]] = [
    (INT, pa.array([1, None], pa.uint64()), [1, None]),
    (INT, pa.nulls(2), [None, None]),
    (INT, pa.array([1, 2, 1]).dictionary_encode(), [1, 2, 1]),
    (TEXT, pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    (TEXT, pa.array(["a", None], pa.large_string()), ["a", None]),
    (TEXT, pa.array(["a" * 50, None], pa.string_view()), ["a" * 50, None]),
    (an_enum("a", "b"), pa.array(["b", None, "a"]).dictionary_encode(), ["b", None, "a"]),
    (Type(kind=Kind.BYTES), pa.array([b"ab", None], pa.binary(2)), [b"ab", None]),
    (Type(kind=Kind.BYTES), pa.array([b"ab", None], pa.binary_view()), [b"ab", None]),
    (Type(kind=Kind.DOUBLE), pa.array([1.5, None], pa.float16()), [1.5, None]),
    (Type(kind=Kind.FLOAT), pa.array([1, 2**24]), [1.0, 2.0**24]),
    (Type(kind=Kind.INT128), pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
    (Type(kind=Kind.INT128), pa.array([Decimal(-(10**37))]), [str(-(10**37))]),
    (
        Type(kind=Kind.DECIMAL, precision=21, scale=1),
        pa.array([2**64 - 1], pa.uint64()),
        [Decimal(2**64 - 1)],
    ),
    (Type(kind=Kind.DATE), pa.array([date(9999, 12, 31)], pa.date64()), [date(9999, 12, 31)]),
    (
        Type(kind=Kind.UUID),
        pa.array([UUID(int=5).bytes, None], pa.uuid()),
        [str(UUID(int=5)), None],
    ),
    (
        Type(kind=Kind.JSON),
        pa.ExtensionArray.from_storage(pa.json_(), pa.array(["[1]", None])),
        ["[1]", None],
    ),
    (a_list(INT), pa.array([[1, None], None, []]), [[1, None], None, []]),
    (a_list(INT), pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), [[1, 2], None]),
    (a_list(TEXT), pa.array([["a"], None], pa.large_list(pa.string_view())), [["a"], None]),
    (a_list(INT), pa.array([[None], []], pa.list_(pa.null())), [[None], []]),
    (a_list(a_list(INT)), pa.array([[[1], None], []]), [[[1], None], []]),
    (
        a_struct(a=INT, b=a_list(an_enum("x"))),
        pa.array([{"b": ["x", None], "a": 1}, None, {"b": None, "a": None}]),
        [{"a": 1, "b": ["x", None]}, None, {"a": None, "b": None}],
    ),
    (a_struct(a=INT, b=TEXT), pa.array([{"b": "x"}]), [{"a": None, "b": "x"}]),
    (
        a_list(a_struct(a=Type(kind=Kind.UUID))),
        pa.array([[{"a": str(UUID(int=1)).upper()}, None]]),
        [[{"a": str(UUID(int=1))}, None]],
    ),
]


@pytest.mark.parametrize(
    ("type_", "values", "stored"), TAKEN, ids=lambda of: getattr(of, "kind", None)
)
def test_types_of_arrow_that_are_taken(type_: Type, values: pa.Array, stored: list[object]) -> None:
    assert decoded(values, type_) == stored
    # A part of a larger array, as others cut them.
    padded = pa.concat_arrays([values.slice(0, 1), values, values.slice(0, 1)])
    assert decoded(padded.slice(1, len(values)), type_) == stored
    assert decoded(values.slice(0, 0), type_) == []


def test_a_struct_that_is_null_hides_what_is_in_it() -> None:
    hidden = pa.StructArray.from_arrays(
        [pa.array(["not a UUID", str(UUID(int=1))])], names=["a"], mask=pa.array([True, False])
    )
    assert decoded(hidden, a_struct(a=Type(kind=Kind.UUID))) == [None, {"a": str(UUID(int=1))}]


REFUSED: list[tuple[Type, pa.Array, str]] = [
    (INT, pa.array([1.0]), "Arrow's double is not a INT64"),
    (INT, pa.array([True]), "Arrow's bool is not a INT64"),
    (TEXT, pa.array([b"x"]), "Arrow's binary is not a STRING"),
    (an_enum("a"), pa.array([1]), "Arrow's int64 is not a ENUM"),
    (Type(kind=Kind.BYTES), pa.array(["x"]), "Arrow's string is not a BYTES"),
    (Type(kind=Kind.DATE), pa.array([datetime(2020, 1, 1)]), "is not a DATE"),  # noqa: DTZ001
    (Type(kind=Kind.BYTES), pa.array([UUID(int=1).bytes], pa.uuid()), "is not a BYTES"),
    (a_list(INT), pa.array([["x"]]), "Arrow's string is not a INT64"),
    (a_list(INT), pa.array([1]), "Arrow's int64 is not a LIST"),
    (a_struct(a=INT), pa.array([[1]]), "is not a STRUCT"),
    (a_struct(a=INT), pa.array([{"b": 1}]), "the struct has no field 'b'"),
    (a_struct(a=INT), pa.array([{"a": "x"}]), "Arrow's string is not a INT64"),
    (
        a_struct(a=INT),
        pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
        "field 'a' comes twice",
    ),
    (a_list(INT), pa.array([[1]], pa.list_view(pa.int64())), "is not a LIST"),
    (a_struct(a=INT), pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "is not a STRUCT"),
    (INT, pa.RunEndEncodedArray.from_arrays([2], [1]), "is not a INT64"),
]


@pytest.mark.parametrize(("type_", "values", "why"), REFUSED, ids=[why for _, _, why in REFUSED])
def test_types_of_arrow_that_are_not_taken(type_: Type, values: pa.Array, why: str) -> None:
    with pytest.raises(InvalidArgument, match="column 'v': ") as raised:
        decoded(values, type_)
    assert why in raised.value.message
    assert raised.value.reason == "ROW_INVALID"


BENT: list[tuple[Type, pa.Array, str]] = [
    (Type(kind=Kind.FLOAT), pa.array([1.0, 1e39]), "1e+39 does not fit FLOAT"),
    (Type(kind=Kind.FLOAT), pa.array([1, 2**24 + 1]), "16777217 does not fit FLOAT"),
    (Type(kind=Kind.DOUBLE), pa.array([1, 2**53 + 1]), "9007199254740993 does not fit DOUBLE"),
    (Type(kind=Kind.DATE), pa.array([0, 2**30], pa.int32()).cast(pa.date32()), "years 1 to 9999"),
    (Type(kind=Kind.TIMESTAMP), pa.array([0, 2**60], pa.timestamp("s", "UTC")), "does not fit"),
    (
        Type(kind=Kind.INTERVAL),
        pa.array([(0, 0, 0), (1, 2, 3)], pa.month_day_nano_interval()),
        "3 nano",
    ),
    (Type(kind=Kind.INT128), pa.array(["1", str(2**127)]), "does not fit INT128"),
    (Type(kind=Kind.INT128), pa.array(["1", "1.0"]), "'1.0' is not an integer"),
    (an_enum("a", "b"), pa.array(["a", "c"]), "'c' is none of the labels 'a', 'b'"),
    (a_list(an_enum("a")), pa.array([["a"], ["a", "b"]]), "'b' is none of the labels 'a'"),
    (a_struct(a=Type(kind=Kind.UUID)), pa.array([{"a": None}, {"a": "x"}]), "'x' is not a UUID"),
    (Type(kind=Kind.JSON), pa.array(["1", '"\\ud800"']), "is not JSON"),
]


@pytest.mark.parametrize(("type_", "values", "why"), BENT, ids=[why for _, _, why in BENT])
def test_values_of_arrow_that_would_be_bent(type_: Type, values: pa.Array, why: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        decoded(values, type_)
    [violation] = raised.value.violations
    assert violation.field == "rows.arrow_ipc[1].v"
    assert why in violation.description


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (pa.array([86_400_001]).cast(pa.date64()), "86400001 does not represent a whole number of"),
        (pa.array([86_400_000_000]).cast(pa.time64("us")), "86400000000 is not within"),
        (
            pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers()),
            "Invalid UTF8 sequence at string index 0",
        ),
    ],
    ids=["date", "time", "text"],
)
def test_values_that_arrow_itself_does_not_allow(values: pa.Array, why: str) -> None:
    with pytest.raises(InvalidArgument, match="is not an Arrow IPC stream: ") as raised:
        decoded(values, TEXT)
    assert why in raised.value.message


def test_many_bad_values_are_found_among_many() -> None:
    values = pa.array([str(n) if n % 1000 else "bad" for n in range(20_000)])
    rows = codec.decode(as_arrow(v=values), (of_kind(Kind.INT128),), per_row=True)
    assert [fault.index for fault in rows.faults] == list(range(0, 20_000, 1000))
    assert rows.rows.num_rows == 20_000 - 20


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_streams_are_refused_unread(compression: str) -> None:
    bomb = as_arrow(compression, v=pa.array(["x" * 10_000_000]))
    assert len(bomb.arrow_ipc) < 100_000
    with pytest.raises(InvalidArgument, match="compressed; send it as it is"):
        codec.decode(bomb, (of_kind(Kind.STRING),))
    words = pa.array(["y" * 1_000_000]).dictionary_encode()
    assert is_compressed(pa.py_buffer(as_arrow(compression, v=words).arrow_ipc))
    assert not is_compressed(pa.py_buffer(as_arrow(v=words).arrow_ipc))


def list_of(count: int, value: pa.DataType) -> pa.Array:
    """Return one list of so many elements."""
    return pa.ListArray.from_arrays([0, count], pa.nulls(count, value))


def views_of(text: str, count: int) -> pa.Array:
    """Return many views of one text."""
    one = pa.array([text], pa.string_view())
    _, view, content = one.buffers()
    return pa.Array.from_buffers(
        pa.string_view(), count, [None, pa.py_buffer(bytes(view)[:16] * count), content]
    )


def words_of(text: str, count: int) -> pa.Array:
    """Return many places that name one text."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int8()), pa.array([text]))


def fixed_lists_of(count: int, length: int) -> pa.Array:
    """Return so many lists of as many nulls each, which take no bytes at all."""
    type_ = pa.list_(pa.null(), length)
    children = [pa.Array.from_buffers(pa.null(), count * length, [None])]
    return pa.Array.from_buffers(type_, count, [None], children=children)


# Made when they are needed: they are large.
BOMBS: dict[str, tuple[Type, Callable[[], pa.Table]]] = {
    "rows": (INT, lambda: pa.table({"v": pa.nulls(ROWS_MAX + 1)})),
    "nulls": (INT, lambda: pa.table({f"v{at}": pa.nulls(ROWS_MAX) for at in range(40)})),
    "list of nulls": (a_list(INT), lambda: pa.table({"v": list_of(2**31 - 1, pa.null())})),
    "fixed lists": (a_list(INT), lambda: pa.table({"v": fixed_lists_of(7, 2**28)})),
    "views": (TEXT, lambda: pa.table({"v": views_of("x" * 10_000, 30_000)})),
    "words": (TEXT, lambda: pa.table({"v": words_of("x" * 10_000, 30_000)})),
    "list of words": (
        a_list(TEXT),
        lambda: pa.table(
            {"v": pa.ListArray.from_arrays([0, 30_000], words_of("x" * 10_000, 30_000))}
        ),
    ),
    "struct of words": (
        a_struct(a=TEXT),
        lambda: pa.table(
            {"v": pa.StructArray.from_arrays([words_of("x" * 10_000, 30_000)], names=["a"])}
        ),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_take_very_many_bytes_is_refused_before_it_does(name: str) -> None:
    type_, make = BOMBS[name]
    rows = arrow_rows(make())
    assert len(rows.arrow_ipc) < 16 * 1024 * 1024
    columns = [Column(name=f"v{at}", type=type_) for at in range(40)]
    columns.append(Column(name="v", type=type_))
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(InvalidArgument, match=f"more than {ROWS_MAX} rows or {BYTES_MAX} bytes"):
        codec.decode(rows, columns)
    assert pa.default_memory_pool().max_memory() - before < BYTES_MAX // 8


def test_sizes_are_reckoned_as_they_will_be() -> None:
    assert expanded_bytes(views_of("x" * 100, 10)) == 10 * 16 + 1000
    assert expanded_bytes(words_of("x" * 100, 10)) == 10 * 8 + 1000
    assert expanded_bytes(pa.nulls(10)) == 80
    assert expanded_bytes(pa.array([UUID(int=1).bytes], pa.uuid())) == 16
    empty = pa.DictionaryArray.from_arrays(pa.array([None], pa.int8()), pa.array([], pa.string()))
    assert expanded_bytes(empty) == 8
    numbers = pa.array([1, 1, 1], pa.int64()).dictionary_encode()
    assert expanded_bytes(numbers) == 3 * 8 + 3 * 8


def corrupted(stream: bytes, seed: int) -> bytes:
    """Return a stream with one byte changed."""
    at = seed * 7919 % len(stream)
    return stream[:at] + bytes([stream[at] ^ (1 + seed % 255)]) + stream[at + 1 :]


def test_damaged_streams_are_refused_or_read_but_never_more() -> None:
    table: dict[str, Any] = {
        "v": pa.array([["a", "b"], None, ["c"]]),
        "w": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
    stream = as_arrow(**table).arrow_ipc
    columns = (Column(name="v", type=a_list(TEXT)), Column(name="w", type=TEXT))
    for seed in range(600):
        for damaged in (corrupted(stream, seed), stream[: seed * 3]):
            try:
                codec.decode(Rows(arrow_ipc=damaged), columns)
            except InvalidArgument as fault:
                assert fault.reason in ("ROW_INVALID", "COLUMN_NOT_FOUND")  # noqa: PT017
