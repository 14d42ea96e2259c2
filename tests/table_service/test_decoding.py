"""What did not come, and rows that stand alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from chassis.faults import InvalidArgument
from chassis.values import from_value
from table_service import codec
from table_service.defaults import literal_carrier, now_carrier, with_default
from table_service.row_faults import VIOLATIONS_MAX
from table_service.types import Column, Default, DefaultFunction, Kind, Type
from tests.table_service.encoded import (
    Rows,
    a_list,
    a_struct,
    as_arrow,
    as_json,
    of_kind,
    typed,
)

A, B = of_kind(Kind.INT64, "a"), of_kind(Kind.STRING, "b")
STRICT_B = of_kind(Kind.STRING, "b", not_null=True)
FILLED_B = replace(STRICT_B, default=Default(literal="x"))


def test_a_json_key_that_is_missing_is_not_one_that_is_null() -> None:
    decoded = codec.decode(as_json({"a": 1}, {"a": None, "b": "x"}, {"b": None}), (A, B))
    assert decoded.rows.to_pylist() == [
        {"a": 1, "b": None},
        {"a": None, "b": "x"},
        {"a": None, "b": None},
    ]
    assert {name: mask.to_pylist() for name, mask in decoded.missing.items()} == {
        "a": [False, False, True],
        "b": [True, False, False],
    }
    assert decoded.places is None
    assert decoded.faults == ()


@pytest.mark.parametrize(
    "rows",
    [as_json({"a": 1}, {"a": 2}), typed(["a"], [1], [2]), as_arrow(a=pa.array([1, 2]))],
    ids=["json", "typed", "arrow"],
)
def test_a_column_that_no_row_has_is_not_there(rows: Rows) -> None:
    decoded = codec.decode(rows, (A, B))
    assert decoded.rows.schema.names == ["a"]
    assert decoded.missing == {}


@pytest.mark.parametrize(
    "rows",
    [as_json({}, {}), typed([], [], [])],
    ids=["json", "typed"],
)
def test_rows_of_no_column_miss_the_first(rows: Rows) -> None:
    decoded = codec.decode(rows, (A, B))
    assert decoded.rows.to_pylist() == [{"a": None}, {"a": None}]
    assert decoded.missing["a"].to_pylist() == [True, True]
    with pytest.raises(InvalidArgument, match="names no column"):
        codec.decode(rows, (A, B), complete=False)


def test_no_rows_are_no_rows() -> None:
    decoded = codec.decode(as_json(), (A, B))
    assert (decoded.count, decoded.rows.num_rows) == (0, 0)


def test_null_and_missing_where_a_column_refuses_null() -> None:
    rows = as_json({"a": 1}, {"a": 2, "b": None}, {"a": 3, "b": "x"})
    with pytest.raises(InvalidArgument) as both:
        codec.decode(rows, (A, STRICT_B))
    assert [v.field for v in both.value.violations] == [
        "rows.json.rows[0].b",
        "rows.json.rows[1].b",
    ]
    for options in ({"complete": True, "columns": (A, FILLED_B)}, {"complete": False}):
        arguments = {"columns": (A, STRICT_B), **options}
        with pytest.raises(InvalidArgument) as sent:
            codec.decode(rows, **arguments)  # type: ignore[arg-type] # a choice of two
        assert [v.field for v in sent.value.violations] == ["rows.json.rows[1].b"]


def test_a_default_stands_for_what_no_row_has() -> None:
    decoded = codec.decode(as_json({"a": 1}), (A, FILLED_B))
    assert decoded.rows.schema.names == ["a"]
    with pytest.raises(InvalidArgument, match="null in a column that refuses it"):
        codec.decode(as_json({"a": 1}), (A, STRICT_B))


def test_bad_rows_are_left_out_and_told_one_by_one() -> None:
    rows = as_json(
        {"a": "x"}, {"a": 1, "b": "one"}, {"a": 1.5, "b": 2}, {"c": 1}, {"a": 2}, {"b": None}
    )
    decoded = codec.decode(rows, (A, STRICT_B), per_row=True)
    assert decoded.rows.to_pylist() == [{"a": 1, "b": "one"}]
    assert decoded.places is not None
    assert decoded.places.to_pylist() == [1]
    assert decoded.missing["a"].to_pylist() == [False]
    assert decoded.count == 6
    assert [(f.index, f.column, f.reason) for f in decoded.faults] == [
        (0, "a", "ROW_INVALID"),
        (0, "b", "ROW_INVALID"),
        (2, "a", "ROW_INVALID"),
        (2, "b", "ROW_INVALID"),
        (3, "c", "ROW_INVALID"),
        (3, "b", "ROW_INVALID"),
        (4, "b", "ROW_INVALID"),
        (5, "b", "ROW_INVALID"),
    ]
    assert decoded.faults[0].message == "row 0, column 'a': 'x' is not an integer"


def test_ragged_rows_stand_alone_too() -> None:
    rows = typed(["a", "b"], [1, "x"], [1], [2, "y"], [1, "x", 3], ["z", None])
    decoded = codec.decode(rows, (A, STRICT_B), per_row=True)
    assert decoded.rows.to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert [(f.index, f.column) for f in decoded.faults] == [(1, ""), (3, ""), (4, "a"), (4, "b")]
    assert decoded.faults[0].message == "row 1: 1 values for 2 columns"


def test_arrow_rows_stand_alone() -> None:
    values = pa.array([1, 2**40, 3, None], pa.int64())
    decoded = codec.decode(
        as_arrow(a=values), (of_kind(Kind.INT32, "a", not_null=True),), per_row=True
    )
    assert decoded.rows.to_pylist() == [{"a": 1}, {"a": 3}]
    assert [f.message for f in decoded.faults] == [
        "row 1, column 'a': 1099511627776 does not fit INT32",
        "row 3, column 'a': null in a column that refuses it",
    ]


def test_every_bad_row_is_told_however_many_there_are() -> None:
    count = VIOLATIONS_MAX * 3
    rows = typed(["a", "b"], *[["x", 1]] * count)
    faults = codec.decode(rows, (A, B), per_row=True).faults
    assert {fault.index for fault in faults} == set(range(count))
    assert len(faults) == count + VIOLATIONS_MAX


def test_a_message_in_which_nothing_could_be_right_is_refused_whole() -> None:
    for rows, match in (
        (typed(["c"], [1]), "no column 'c'"),
        (as_arrow(a=pa.array(["1"])), "column 'a': Arrow's string is not a INT64"),
        (as_arrow(c=pa.array([1])), "no column 'c'"),
        (Rows(arrow_ipc=b"x"), "not an Arrow IPC stream"),
        (Rows(), "no encoding"),
    ):
        with pytest.raises(InvalidArgument, match=match):
            codec.decode(rows, (A, B), per_row=True)


def test_columns_come_in_the_tables_order() -> None:
    assert codec.decode(typed(["b", "a"], ["x", 1]), (A, B)).rows.schema.names == ["a", "b"]


def test_what_is_wrong_inside_is_said_with_its_place() -> None:
    type_ = a_list(a_struct(n=Type(kind=Kind.INT16), t=a_list(Type(kind=Kind.DATE))))
    columns = (Column(name="v", type=type_),)
    rows = as_json({"v": [{"n": 1}, {"t": ["2020-01-01", "2020-02-30"]}]}, {"v": [{"x": 1}]})
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(rows, columns)
    assert [v.description for v in raised.value.violations] == [
        "row 0, column 'v': element 1: field 't': element 1: '2020-02-30' is not a date",
        "row 1, column 'v': element 0: the struct has no field 'x'",
    ]


def test_a_field_that_a_struct_lacks_is_null() -> None:
    columns = (Column(name="v", type=a_struct(n=Type(kind=Kind.INT16), m=Type(kind=Kind.STRING))),)
    for rows in (
        as_json({"v": {"m": "x"}}, {"v": {}}, {"v": None}),
        typed(["v"], [{"m": "x"}], [{}], [None]),
        as_arrow(v=pa.array([{"m": "x"}, {}, None], pa.struct([("m", pa.string())]))),
    ):
        assert codec.decode(rows, columns).rows.to_pylist() == [
            {"v": {"n": None, "m": "x"}},
            {"v": {"n": None, "m": None}},
            {"v": None},
        ]


def test_values_nested_a_thousand_deep_are_refused() -> None:
    # Built in place: protobuf refuses to read or copy what is a hundred deep.
    of_values, of_json = typed(["v"], [0]), as_json({"v": 1})
    deep_value, deep_json = of_values.typed.rows[0].values[0], of_json.json.rows[0].fields["v"]
    for _ in range(1000):
        deep_value = deep_value.list.values.add()
        deep_json = deep_json.list_value.values.add()
    nested = Type(kind=Kind.INT64)
    for _ in range(16):
        nested = a_list(nested)
    for type_ in (nested, Type(kind=Kind.JSON), Type(kind=Kind.STRING)):
        with pytest.raises(InvalidArgument, match="a list is not a"):
            codec.decode(of_values, (Column(name="v", type=type_),))
    with pytest.raises(InvalidArgument, match="nests deeper than 500"):
        codec.decode(of_json, (of_kind(Kind.JSON),))
    with pytest.raises(InvalidArgument, match="a list is not a INT64"):
        codec.decode(of_json, (Column(name="v", type=nested),))
    with pytest.raises(InvalidArgument, match="nests deeper than 32"):
        from_value(of_values.typed.rows[0].values[0])


def test_defaults_take_the_place_of_what_is_missing() -> None:
    decoded = codec.decode(
        as_json({"a": 1}, {"b": "y"}, {"b": None}), (A, FILLED_B, B), per_row=True
    )
    value = literal_carrier(Default(literal="x"), B.type)
    rows = with_default(decoded.rows, decoded.missing, B, value)
    assert rows.column("b").to_pylist() == ["x", "y"]
    zero = literal_carrier(Default(literal=0), A.type)
    assert with_default(rows, decoded.missing, A, zero).column("a").to_pylist() == [1, 0]
    other = of_kind(Kind.INT128, "other")
    big = literal_carrier(Default(literal=2**100), other.type)
    assert with_default(rows, {}, other, big).column("other").to_pylist() == [str(2**100)] * 2
    assert with_default(rows, {}, B, value) is rows


def test_now_is_one_moment_in_every_kind() -> None:
    moment = datetime(2026, 3, 1, 23, 59, 59, 5, UTC)
    seen = {
        kind: now_carrier(moment, Type(kind=kind)).as_py()
        for kind in (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP)
    }
    assert seen == {
        Kind.DATE: moment.date(),
        Kind.TIME: moment.time(),
        Kind.TIMESTAMP: moment,
        Kind.LOCAL_TIMESTAMP: moment.replace(tzinfo=None),
    }
    assert DefaultFunction.NOW == "NOW"
