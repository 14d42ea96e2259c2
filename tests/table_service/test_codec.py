"""Rows through the three encodings and through DuckDB: nothing is lost, nothing is bent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.faults import InvalidArgument
from chassis.scalars import Json, Span
from chassis.tables import typed_rows
from chassis.values import from_value
from flux.table.v1 import rows_pb2
from table_service import codec
from table_service.row_faults import VIOLATIONS_MAX
from table_service.types import Column, Kind, Type, incoming, outgoing_list, quoted, sql_type
from tests.table_service.encoded import ENCODINGS, as_arrow, as_json, typed

Rows = rows_pb2.Rows

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001
VALUES: dict[Kind, tuple[Type, st.SearchStrategy[Any]]] = {
    Kind.BOOL: (Type(kind=Kind.BOOL), st.booleans()),
    Kind.INT16: (Type(kind=Kind.INT16), st.integers(-(2**15), 2**15 - 1)),
    Kind.INT32: (Type(kind=Kind.INT32), st.integers(-(2**31), 2**31 - 1)),
    Kind.INT64: (Type(kind=Kind.INT64), st.integers(-(2**63), 2**63 - 1)),
    Kind.INT128: (Type(kind=Kind.INT128), st.integers(-(2**127), 2**127 - 1)),
    Kind.DECIMAL: (
        Type(kind=Kind.DECIMAL, precision=38, scale=7),
        st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}e-7")),
    ),
    Kind.FLOAT: (Type(kind=Kind.FLOAT), st.floats(width=32, allow_nan=False)),
    Kind.DOUBLE: (Type(kind=Kind.DOUBLE), st.floats(allow_nan=False)),
    Kind.STRING: (Type(kind=Kind.STRING), _TEXT),
    Kind.BYTES: (Type(kind=Kind.BYTES), st.binary(max_size=20)),
    Kind.UUID: (Type(kind=Kind.UUID), st.uuids()),
    Kind.DATE: (Type(kind=Kind.DATE), st.dates()),
    Kind.TIME: (Type(kind=Kind.TIME), st.times()),
    Kind.TIMESTAMP: (Type(kind=Kind.TIMESTAMP), _MOMENTS.map(lambda m: m.replace(tzinfo=UTC))),
    Kind.LOCAL_TIMESTAMP: (Type(kind=Kind.LOCAL_TIMESTAMP), _MOMENTS),
    Kind.INTERVAL: (
        Type(kind=Kind.INTERVAL),
        st.builds(
            Span,
            months=st.integers(-(2**31), 2**31 - 1),
            days=st.integers(-(2**31), 2**31 - 1),
            microseconds=st.integers(-(10**15), 10**15),
        ),
    ),
    Kind.JSON: (
        Type(kind=Kind.JSON),
        st.recursive(
            st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | _TEXT,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
            max_leaves=5,
        ).map(lambda document: Json(json.dumps(document, ensure_ascii=False))),
    ),
}
_LISTS = {
    kind: (Type(kind=Kind.LIST, element=type_), st.lists(values | st.none(), max_size=4))
    for kind, (type_, values) in VALUES.items()
    if kind in (Kind.INT32, Kind.STRING, Kind.TIMESTAMP, Kind.UUID, Kind.DECIMAL)
}
LABELS = ("new", "it's", 'a "b"', "ü", " ", "😀", "null", "1")
_ENUM = (Type(kind=Kind.ENUM, labels=LABELS), st.sampled_from(LABELS))
_FIELDS = {
    "a": VALUES[Kind.INT128],
    'b "quoted"': VALUES[Kind.STRING],
    "select": _ENUM,
    "Größe": VALUES[Kind.TIMESTAMP],
    "e": _LISTS[Kind.UUID],
    "f": VALUES[Kind.JSON],
}
_STRUCT = (
    Type(
        kind=Kind.STRUCT,
        fields=tuple(Column(name=name, type=type_) for name, (type_, _) in _FIELDS.items()),
    ),
    st.fixed_dictionaries({name: values | st.none() for name, (_, values) in _FIELDS.items()}),
)
_STRUCTS = (Type(kind=Kind.LIST, element=_STRUCT[0]), st.lists(_STRUCT[1] | st.none(), max_size=3))
_DEEP = (
    Type(kind=Kind.STRUCT, fields=(Column(name="in", type=_STRUCTS[0]),)),
    st.fixed_dictionaries({"in": _STRUCTS[1] | st.none()}),
)
_ENUMS = (Type(kind=Kind.LIST, element=_ENUM[0]), st.lists(_ENUM[1] | st.none(), max_size=3))
CASES = [*VALUES.values(), *_LISTS.values(), _ENUM, _ENUMS, _STRUCT, _STRUCTS, _DEEP]


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def through_duckdb(
    database: duckdb.DuckDBPyConnection, rows: pa.Table, columns: list[Column]
) -> pa.Table:
    names = ", ".join(f"{quoted(c.name)} {sql_type(c.type)}" for c in columns)
    reads = ", ".join(incoming(quoted(c.name), c.type) for c in columns)
    database.execute(f"CREATE OR REPLACE TEMP TABLE stored ({names})")
    database.register("incoming", rows)
    database.execute(f"INSERT INTO stored SELECT {reads} FROM incoming")
    return database.sql(f"SELECT {outgoing_list(columns)} FROM stored").to_arrow_table()


@pytest.mark.parametrize("case", CASES, ids=lambda case: sql_type(case[0]))
@settings(max_examples=25, deadline=None)
@given(drawn=st.data())
def test_values_come_back_from_duckdb_in_every_encoding(
    database: duckdb.DuckDBPyConnection,
    case: tuple[Type, st.SearchStrategy[Any]],
    drawn: st.DataObject,
) -> None:
    type_, values = case
    columns = [Column(name="v", type=type_)]
    sent = typed(
        ["v"], *[[value] for value in drawn.draw(st.lists(values | st.none(), max_size=5))]
    )
    stored = through_duckdb(database, codec.decode(sent, columns).rows, columns)
    for encoding in ENCODINGS:
        again = codec.decode(codec.encode(stored, columns, encoding), columns).rows
        if not again.num_columns or not stored.num_rows:
            continue
        once_more = through_duckdb(database, again, columns)
        assert _meaning(once_more, columns) == _meaning(stored, columns)
    # These may be written in more than one way.
    many = (Kind.INT128, Kind.DECIMAL, Kind.LIST, Kind.STRUCT)
    if type_.kind in many or not stored.num_rows:
        return
    assert codec.encode(stored, columns, Rows.ENCODING_TYPED) == sent


def _meaning(rows: pa.Table, columns: list[Column]) -> object:
    """Return rows for comparison: the keys of a JSON object have no order."""
    typed_rows_ = codec.encode(rows, columns, Rows.ENCODING_TYPED).typed
    return [_document(from_value(row.values[0])) for row in typed_rows_.rows]


def _document(value: object) -> object:
    match value:
        case Json(text):
            return json.loads(text)
        case list():
            return [_document(item) for item in value]
        case dict():
            return {key: _document(item) for key, item in value.items()}
    return value


def test_not_a_number_survives() -> None:
    columns = [Column(name="v", type=Type(kind=Kind.DOUBLE))]
    rows = codec.decode(as_json({"v": "NaN"}, {"v": "-Infinity"}), columns).rows
    answer = codec.encode(rows, columns, Rows.ENCODING_JSON).json.rows
    assert [row["v"] for row in answer] == ["NaN", "-Infinity"]


REFUSED = [
    (Kind.INT16, 40_000),
    (Kind.INT32, 2**31),
    (Kind.INT64, 2**63),
    (Kind.INT64, 1.0),
    (Kind.INT64, "1"),
    (Kind.BOOL, 1),
    (Kind.DECIMAL, Decimal("1.234")),
    (Kind.DECIMAL, Decimal(10000000000000000)),
    (Kind.DECIMAL, Decimal("NaN")),
    (Kind.FLOAT, 1e39),
    (Kind.DOUBLE, 2**53 + 1),
    (Kind.STRING, b"x"),
    (Kind.DATE, "2020-01-01"),
    (Kind.TIMESTAMP, datetime(2020, 1, 1)),  # noqa: DTZ001
    (Kind.LOCAL_TIMESTAMP, datetime(2020, 1, 1, tzinfo=UTC)),
    (Kind.JSON, Json("{")),
    (Kind.JSON, Json("NaN")),
    (Kind.JSON, Json("[" * 100_000)),
    (Kind.INTERVAL, Span(months=0, days=0, microseconds=2**62)),
]


@pytest.mark.parametrize(("kind", "value"), REFUSED, ids=str)
def test_what_a_column_cannot_hold_exactly_is_refused(kind: Kind, value: object) -> None:
    columns = [Column(name="v", type=Type(kind=kind, precision=18, scale=2))]
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(typed(["v"], [None], [value]), columns)
    assert raised.value.reason == "ROW_INVALID"
    [violation] = raised.value.violations
    assert violation.field == "rows.typed.rows[1].values[0]"
    assert "row 1, column 'v'" in violation.description


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.INT64, 2.5),
        (Kind.INT64, 2.0**60),
        (Kind.INT32, "70000000000"),
        (Kind.TIMESTAMP, "2020-01-01T00:00:00"),
        (Kind.TIMESTAMP, "2020-01-01T00:00:00.1234567Z"),
        (Kind.DATE, "2020-02-30"),
        (Kind.TIME, "24:00:00"),
        (Kind.UUID, "x"),
        (Kind.BYTES, "not base64!"),
        (Kind.STRING, 1),
        (Kind.BOOL, "true"),
        (Kind.INTERVAL, "P"),
    ],
    ids=str,
)
def test_json_that_does_not_fit_is_refused(kind: Kind, value: object) -> None:
    columns = [Column(name="v", type=Type(kind=kind))]
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(as_json({}, {"v": value}), columns, path="mutations[2].insert.rows")
    [violation] = raised.value.violations
    assert violation.field == "mutations[2].insert.rows.json.rows[1].v"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.INT16, pa.array([1, 70_000])),
        (Kind.INT64, pa.array([0, 2**63], pa.uint64())),
        (Kind.DECIMAL, pa.array([Decimal("1.00"), Decimal("1.234")], pa.decimal128(9, 3))),
        (Kind.TIMESTAMP, pa.array([0, 1], pa.timestamp("ns", "UTC"))),
        (Kind.TIMESTAMP, pa.array([0, 2**62], pa.timestamp("us", "UTC"))),
        (Kind.JSON, pa.array(["{}", "{"])),
        (Kind.UUID, pa.array(["00000000-0000-0000-0000-000000000000", "x"])),
        (Kind.DATE, pa.array([0, 10_000_000], pa.date32())),
    ],
    ids=str,
)
def test_arrow_that_would_be_bent_is_refused_by_row(kind: Kind, values: pa.Array) -> None:
    columns = [Column(name="v", type=Type(kind=kind, precision=18, scale=2))]
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(as_arrow(v=values), columns)
    assert [v.field for v in raised.value.violations] == ["rows.arrow_ipc[1].v"]


def test_arrow_of_another_family_is_refused() -> None:
    columns = [Column(name="v", type=Type(kind=Kind.INT64))]
    with pytest.raises(InvalidArgument, match="string is not a INT64"):
        codec.decode(as_arrow(v=pa.array(["1"])), columns)


def test_a_stream_that_is_none_is_refused() -> None:
    columns = [Column(name="v", type=Type(kind=Kind.INT64))]
    with pytest.raises(InvalidArgument, match="not an Arrow IPC stream"):
        codec.decode(Rows(arrow_ipc=b"junk"), columns)


def test_a_hundred_violations_are_enough() -> None:
    columns = [Column(name="v", type=Type(kind=Kind.INT64))]
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(typed(["v"], *[["x"]] * 500), columns)
    assert len(raised.value.violations) == VIOLATIONS_MAX


@pytest.mark.parametrize(
    "rows",
    [
        typed(["a"], [1], [2]),
        as_json({"a": 1}, {"a": 2}),
        as_arrow(a=pa.array([1, 2])),
    ],
    ids=["typed", "json", "arrow"],
)
def test_null_is_refused_where_a_column_refuses_it(rows: Rows) -> None:
    columns = [
        Column(name="a", type=Type(kind=Kind.INT64)),
        Column(name="b", type=Type(kind=Kind.STRING), not_null=True),
    ]
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(rows, columns)
    assert [v.description for v in raised.value.violations] == [
        f"row {at}, column 'b': null in a column that refuses it" for at in (0, 1)
    ]
    assert codec.decode(rows, columns, complete=False).count == 2


def test_unknown_and_repeated_columns_and_ragged_rows_are_refused() -> None:
    columns = [Column(name="a", type=Type(kind=Kind.INT64))]
    with pytest.raises(InvalidArgument, match="no column 'b'"):
        codec.decode(typed(["b"], [1]), columns)
    with pytest.raises(InvalidArgument, match="comes twice"):
        codec.decode(typed(["a", "a"], [1, 2]), columns)
    with pytest.raises(InvalidArgument, match="row 1: 2 values for 1 columns"):
        codec.decode(typed(["a"], [1], [1, 2]), columns)
    with pytest.raises(InvalidArgument, match="no encoding"):
        codec.decode(Rows(), columns)


def test_rows_of_no_column_are_rows_of_nulls() -> None:
    columns = [Column(name="a", type=Type(kind=Kind.INT64))]
    assert codec.decode(as_json({}, {}), columns).rows.to_pylist() == [{"a": None}, {"a": None}]


def test_json_reads_as_people_write_it() -> None:
    kinds = {
        "i": Kind.INT64,
        "big": Kind.INT64,
        "d": Kind.DECIMAL,
        "t": Kind.TIMESTAMP,
        "n": Kind.INTERVAL,
    }
    columns = [Column(name=n, type=Type(kind=k, precision=9, scale=2)) for n, k in kinds.items()]
    row: dict[str, object] = {
        "i": 7,
        "big": str(2**60),
        "d": "12.5",
        "t": "2013-01-31T05:15:00+01:00",
        "n": "P1Y2M3DT4.5S",
    }
    answer = codec.encode(codec.decode(as_json(row), columns).rows, columns, Rows.ENCODING_JSON)
    assert dict(answer.json.rows[0]) == {
        "i": 7,
        "big": str(2**60),
        "d": "12.50",
        "t": "2013-01-31T04:15:00Z",
        "n": "P14M3DT4.500000S",
    }


def test_a_result_that_has_no_form_outside_is_a_fault(
    database: duckdb.DuckDBPyConnection,
) -> None:
    columns = [Column(name="v", type=Type(kind=Kind.TIMESTAMP))]
    found = database.sql("SELECT TIMESTAMPTZ 'infinity' AS v").to_arrow_table()
    with pytest.raises(InvalidArgument) as raised:
        codec.encode(found, columns, Rows.ENCODING_TYPED)
    assert raised.value.reason == "QUERY_FAILED"


def test_an_integer_is_taken_where_a_double_holds_it() -> None:
    columns = (Column(name="a", type=Type(kind=Kind.DOUBLE)),)
    rows = typed_rows(("a",), [(5,), (1.5,), (None,), (0,)])
    assert codec.decode(rows, columns).rows.column("a").to_pylist() == [5.0, 1.5, None, 0.0]
    with pytest.raises(InvalidArgument, match="not exact"):
        codec.decode(typed_rows(("a",), [(2**53 + 1,)]), columns)
