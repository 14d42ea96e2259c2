"""The first and the last value of every type, and the ones just past them, through the codec and DuckDB."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import inf, nan
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from google.protobuf import timestamp_pb2

from chassis.faults import InvalidArgument
from chassis.scalars import Json, Span
from chassis.values import from_value
from flux.table.v1 import rows_pb2
from flux.type.v1 import value_pb2
from table_service import codec
from table_service.types import Column, Kind, Type, incoming, outgoing_list, sql_type
from tests.table_service.encoded import (
    ENCODINGS,
    Rows,
    a_list,
    a_struct,
    an_enum,
    as_json,
    of_kind,
    typed,
)

Value = value_pb2.Value
MIB = 1024 * 1024


def decimal(digits: int, scale: int) -> Type:
    """Return a decimal type."""
    return Type(kind=Kind.DECIMAL, precision=digits, scale=scale)


def nested(depth: int) -> tuple[Type, object]:
    """Return a type so deep, and a value as deep."""
    type_, value = Type(kind=Kind.INT64), 1
    for at in range(depth):
        type_ = a_struct(a=type_) if at % 2 else a_list(type_)
        value = {"a": value} if at % 2 else [value]  # type: ignore[assignment] # it grows
    return type_, value


SPAN_MAX = (2**63 - 1) // 1000
HELD: dict[str, tuple[Type | Kind, list[object]]] = {
    "int16": (Kind.INT16, [-(2**15), 2**15 - 1, 0, -1]),
    "int32": (Kind.INT32, [-(2**31), 2**31 - 1]),
    "int64": (Kind.INT64, [-(2**63), 2**63 - 1, 2**53, 2**53 + 1, -(2**53) - 1]),
    "int128": (Kind.INT128, [-(2**127), 2**127 - 1, 2**63, -(2**63) - 1, 0]),
    "decimal(38,0)": (decimal(38, 0), [Decimal(10**38 - 1), Decimal(1 - 10**38), Decimal(0)]),
    "decimal(38,38)": (decimal(38, 38), [Decimal(f"0.{'9' * 38}"), Decimal(f"-0.{'0' * 37}1")]),
    "decimal(1,1)": (decimal(1, 1), [Decimal("0.9"), Decimal("-0.9")]),
    "decimal(18,2)": (decimal(0, 2), [Decimal("9999999999999999.99")]),
    "double": (Kind.DOUBLE, [5e-324, 1.7976931348623157e308, -0.0, 0.0, inf, -inf, nan, 0.1]),
    "float": (Kind.FLOAT, [2.0**-149, 3.4028234663852886e38, -0.0, inf, -inf, nan, 0.5]),
    "text": (Kind.STRING, ["", "\0", "a\0b", "\0" * 100, "\U0010ffff", "x" * MIB, "\ufeff"]),
    "bytes": (Kind.BYTES, [b"", b"\0", bytes(range(256)), b"\xff\xfe\xed\xa0\x80", b"x" * MIB]),
    "date": (
        Kind.DATE,
        [date.min, date.max, date(1582, 10, 10), date(2000, 2, 29), date(1969, 12, 31)],
    ),
    "time": (Kind.TIME, [time.min, time.max, time(0, 0, 0, 1)]),
    "timestamp": (
        Kind.TIMESTAMP,
        [
            datetime.min.replace(tzinfo=UTC),
            datetime.max.replace(tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
            datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC),
        ],
    ),
    "local_timestamp": (Kind.LOCAL_TIMESTAMP, [datetime.min, datetime.max]),  # noqa: DTZ901
    "interval": (
        Kind.INTERVAL,
        [
            Span(months=2**31 - 1, days=-(2**31), microseconds=SPAN_MAX),
            Span(months=-(2**31), days=2**31 - 1, microseconds=-SPAN_MAX),
            Span(months=0, days=0, microseconds=0),
            Span(months=1, days=30, microseconds=-1),
            Span(months=0, days=0, microseconds=-86_400_000_001),
        ],
    ),
    "json": (
        Kind.JSON,
        [
            Json(text)
            for text in (
                "null",
                "1e400",
                "-0",
                "1.0",
                "1" * 5000,
                "0." + "1" * 5000,
                '""',
                '"\\u0000"',
                '"\\ud83d\\ude00"',
                '{"a":1,"a":2}',
                '{"":{"":[]}}',
                " [ 1 , 2 ] ",
                "[" * 500 + "]" * 500,
                '{"a":' * 500 + "{}" + "}" * 500,
                json.dumps("x" * MIB),
                "[" + ",".join(["[]"] * 10_000) + "]",
            )
            if text.count("{") < 501
        ],
    ),
    "enum": (an_enum("a", "A", " ", "\u202e", "x" * 128), ["a", "A", " ", "\u202e", "x" * 128]),
    "list": (a_list(Type(kind=Kind.INT32)), [[], [None], list(range(100_000)), [None] * 1000]),
    "list of lists": (a_list(a_list(Type(kind=Kind.STRING))), [[], [[]], [None, [], [None, ""]]]),
    "struct": (
        a_struct(a=Type(kind=Kind.STRING), b=a_list(Type(kind=Kind.DATE))),
        [{"a": None, "b": None}, {"a": "", "b": []}, {"a": "x", "b": [None, date.min]}],
    ),
    "deep": (nested(16)[0], [nested(16)[1], None]),
}


def of_type(type_: Type | Kind) -> Column:
    """Return a column."""
    return Column(name="v", type=type_) if isinstance(type_, Type) else of_kind(type_)


def stored(rows: pa.Table, column: Column) -> pa.Table:
    """Return rows of carriers as they come back from DuckDB."""
    with duckdb.connect() as database:
        database.execute(f'CREATE TABLE t ("v" {sql_type(column.type)})')
        database.register("rows", rows)
        database.execute(f"INSERT INTO t SELECT {incoming('v', column.type)} FROM rows")
        return database.sql(f"SELECT {outgoing_list([column])} FROM t").to_arrow_table()


def meaning(value: object) -> object:
    """Return a value for comparison, floats by their bits and documents by what they say."""
    match value:
        case float():
            return "nan" if value != value else struct.pack("<d", value)  # noqa: PLR0124
        case Json(text):
            return text
        case list():
            return [meaning(item) for item in value]
        case dict():
            return {key: meaning(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("name", HELD)
def test_values_at_the_edge_come_back_exactly(name: str) -> None:
    type_, values = HELD[name]
    column = of_type(type_)
    rows = stored(
        codec.decode(typed(["v"], *[[value] for value in [*values, None]]), [column]).rows, column
    )
    for encoding in ENCODINGS:
        sent = codec.encode(rows, [column], encoding)
        if encoding == Rows.ENCODING_JSON and column.type.kind is Kind.JSON:
            # JSON rows are for people: what a double does not hold is text there.
            continue
        message = Rows.FromString(sent.SerializeToString())
        again = stored(codec.decode(message, [column]).rows, column)
        answer = codec.encode(again, [column], Rows.ENCODING_TYPED).typed
        found = [meaning(from_value(row.values[0])) for row in answer.rows]
        assert found == [meaning(value) for value in [*values, None]]


def of_text(member: str, *texts: str) -> list[Value]:
    """Return values that carry text."""
    return [Value(**{member: text}) for text in texts]  # type: ignore[arg-type] # by its name


def moments(*pairs: tuple[int, int]) -> list[Value]:
    """Return moments of seconds and nanoseconds."""
    return [Value(timestamp=timestamp_pb2.Timestamp(seconds=s, nanos=n)) for s, n in pairs]


def spans(*parts: tuple[int, int, int]) -> list[Value]:
    """Return intervals."""
    return [
        Value(interval=value_pb2.Interval(months=months, days=days, microseconds=microseconds))
        for months, days, microseconds in parts
    ]


PAST: dict[str, tuple[Type | Kind, list[Value], str]] = {
    "int16": (Kind.INT16, [Value(int64=2**15), Value(int64=-(2**15) - 1)], "does not fit INT16"),
    "int32": (Kind.INT32, [Value(int64=2**31), Value(int64=-(2**31) - 1)], "does not fit INT32"),
    "int64": (Kind.INT64, of_text("hugeint", str(2**63)), "a hugeint is not a INT64"),
    "int128": (
        Kind.INT128,
        of_text("hugeint", str(2**127), str(-(2**127) - 1)),
        "does not fit INT128",
    ),
    "hugeint text": (
        Kind.INT128,
        of_text("hugeint", "", " 1", "1.0", "0x1", "1_0", "\u0661", "9" * 9999),
        "is not an integer",
    ),
    "decimal(38,0)": (decimal(38, 0), of_text("decimal", "1" + "0" * 38, "1e38"), "does not fit"),
    "decimal(38,38)": (decimal(38, 38), of_text("decimal", "1", "-1.0"), "does not fit"),
    "decimal digits": (
        decimal(9, 2),
        of_text("decimal", "0.001", "1e-3", "0.0000000000000000000000000000000000000001"),
        "more than 2 digits after the point",
    ),
    "decimal text": (
        decimal(9, 2),
        of_text(
            "decimal", "", ".", "1.", ".5", "NaN", "Infinity", "1,5", "1e99999", " 1", "\uff11"
        ),
        "is not a decimal number",
    ),
    "float": (Kind.FLOAT, [Value(double=3.4028236e38), Value(double=-1e300)], "does not fit FLOAT"),
    "date": (
        Kind.DATE,
        of_text("date", "0000-01-01", "2013-02-29", "2013-13-01", "9999-12-32"),
        "is not a date",
    ),
    "date text": (
        Kind.DATE,
        of_text(
            "date",
            "10000-01-01",
            "-0044-03-15",
            "infinity",
            "20130131",
            "2013-W05-4",
            "",
            "2013-01-31T00",
        ),
        "is not a date such as '2013-01-31'",
    ),
    "time": (Kind.TIME, of_text("time", "24:00:00", "23:59:60", "23:60"), "is not a time of day"),
    "time text": (
        Kind.TIME,
        of_text("time", "12:00:00.1234567", "12", "noon", "12:00Z", "-01:00", "12:0", ""),
        "is not a time such as",
    ),
    "timestamp": (
        Kind.TIMESTAMP,
        moments((-62_135_596_801, 0), (253_402_300_800, 0), (9_223_372_036_854, 0), (2**62, 0)),
        "outside the years 1 to 9999",
    ),
    "nanoseconds": (
        Kind.TIMESTAMP,
        moments((0, 1), (0, 999_999_999), (0, -1000), (0, 1_000_000_000)),
        "are not whole microseconds",
    ),
    "local_timestamp": (
        Kind.LOCAL_TIMESTAMP,
        of_text(
            "local_timestamp", "2016-12-31T23:59:60", "2016-12-31T24:00:00", "0000-01-01T00:00"
        ),
        "is not a timestamp",
    ),
    "local_timestamp text": (
        Kind.LOCAL_TIMESTAMP,
        of_text(
            "local_timestamp",
            "infinity",
            "290000-01-01T00:00:00",
            "2013-01-31",
            "",
            "2013-01-31T05",
        ),
        "is not a timestamp such as",
    ),
    "interval": (
        Kind.INTERVAL,
        spans((0, 0, SPAN_MAX + 1), (0, 0, -SPAN_MAX - 1), (0, 0, -(2**63))),
        "microseconds do not fit an interval",
    ),
    "json": (
        Kind.JSON,
        of_text(
            "json",
            "",
            " ",
            "{",
            "NaN",
            "Infinity",
            "'a'",
            "[1,]",
            "01",
            "1.",
            "\ufeff1",
            '"\n"',
            '"\\ud800"',
            "1 2",
            "1\0",
            '"\\x"',
        ),
        "is not JSON",
    ),
    "deep json": (
        Kind.JSON,
        of_text("json", *("[" * depth + "]" * depth for depth in (501, 900, 1000, 100_000))),
        "nests deeper than 500",
    ),
    "uuid": (
        Kind.UUID,
        of_text("uuid", "", "0" * 32, "{00000000-0000-0000-0000-000000000000}", "g" * 36),
        "is not a UUID",
    ),
    "enum": (
        an_enum("a", "b"),
        of_text("string", "", "c", "A", "a ", "a\0"),
        "none of the labels 'a', 'b'",
    ),
}


@pytest.mark.parametrize("name", PAST)
def test_values_past_the_edge_are_refused_by_row_column_and_value(name: str) -> None:
    type_, values, why = PAST[name]
    rows = [rows_pb2.TypedRow(values=[value]) for value in values]
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(Rows(typed=rows_pb2.TypedRows(columns=["v"], rows=rows)), [of_type(type_)])
    assert raised.value.reason == "ROW_INVALID"
    assert [v.field for v in raised.value.violations] == [
        f"rows.typed.rows[{at}].values[0]" for at in range(len(values))
    ]
    for at, violation in enumerate(raised.value.violations):
        assert violation.description.startswith(f"row {at}, column 'v': ")
        assert why in violation.description
        assert len(violation.description) < 250


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (Kind.TIMESTAMP, "0001-01-01T00:00:00+00:01", "outside the years 1 to 9999"),
        (Kind.TIMESTAMP, "9999-12-31T23:59:59.999999-00:01", "outside the years 1 to 9999"),
        (Kind.INTERVAL, f"P{2**31}M", "2147483648 months do not fit"),
        (Kind.INTERVAL, "P9999999999999999999Y", "do not fit"),
        (Kind.INTERVAL, "PT9223372036855S", "do not fit"),
        (Kind.INTERVAL, "P1.5M", "is not a duration"),
        (Kind.DECIMAL, 0.30000000000000004, "as a string"),
        (Kind.DECIMAL, 1e300, "as a string"),
        (Kind.INT64, 9007199254740993, "send it as a string"),
        (Kind.FLOAT, 1e39, "does not fit FLOAT"),
        (Kind.DOUBLE, "nan", "is not a DOUBLE"),
        (Kind.BYTES, "é", "is not base64"),
        (Kind.BYTES, "eA=", "is not base64"),
    ],
)
def test_json_values_past_the_edge_are_refused(kind: Kind, value: Any, why: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(as_json({"v": value}), [of_kind(kind)])
    assert why in raised.value.message


def test_sixteen_mebibytes_of_text_come_back(tmp_path: Any) -> None:
    column = of_kind(Kind.STRING)
    rows = stored(codec.decode(typed(["v"], ["ä" * 8 * MIB]), [column]).rows, column)
    assert rows.column("v").to_pylist() == ["ä" * 8 * MIB]


def test_a_document_that_json_rows_cannot_say_is_text_there() -> None:
    column = of_kind(Kind.JSON)
    texts = ["[" * 46 + "]" * 46, '{"a":' * 31 + "1" + "}" * 31, "1e400", "[1e400]", "1" + "0" * 30]
    rows = codec.decode(typed(["v"], *[[Json(text)] for text in texts]), [column]).rows
    answer = codec.encode(rows, [column], Rows.ENCODING_JSON)
    # What is written can be read, whatever the depth.
    read = Rows.FromString(answer.SerializeToString()).json.rows
    kinds = [row.fields["v"].WhichOneof("kind") for row in read]
    assert kinds == ["string_value", "string_value", "string_value", "list_value", "string_value"]
    shallow = codec.decode(
        typed(["v"], [Json("[" * 44 + "]" * 44)], [Json('{"a":' * 29 + "1" + "}" * 29)]), [column]
    ).rows
    answer = codec.encode(shallow, [column], Rows.ENCODING_JSON)
    read = Rows.FromString(answer.SerializeToString()).json.rows
    assert [row.fields["v"].WhichOneof("kind") for row in read] == ["list_value", "struct_value"]
