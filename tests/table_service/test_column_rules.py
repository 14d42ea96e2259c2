"""What a table's columns can be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pytest

from chassis.faults import InvalidArgument
from chassis.scalars import Json, Span
from table_service.column_rules import FIELDS_MAX, LABELS_MAX, column_violations, type_violations
from table_service.literals import literal_cell
from table_service.schemas import PlacedKey, new_schema
from table_service.tables import UniqueKey
from table_service.types import (
    TYPE_DEPTH_MAX,
    Column,
    Default,
    DefaultFunction,
    Kind,
    Type,
)
from tests.table_service.encoded import a_list, a_struct, an_enum, of_kind

INT = Type(kind=Kind.INT64)


def nested(depth: int) -> Type:
    """Return a type in so many lists and structs, by turns."""
    type_ = INT
    for at in range(depth):
        type_ = a_struct(a=type_) if at % 2 else a_list(type_)
    return type_


GOOD = [
    an_enum("a"),
    an_enum(*map(str, range(LABELS_MAX))),
    an_enum("a", "A", " a", "ä", "a\u0308", "'; DROP TABLE x; --", "'", '"', "\u202e"),
    a_struct(a=INT, b=a_struct(a=INT)),
    a_struct(**{"select": INT, 'a "b"': INT, "Größe": INT, "a.b": INT}),
    a_list(a_struct(a=a_list(an_enum("x")))),
    nested(TYPE_DEPTH_MAX),
    Type(kind=Kind.DECIMAL, precision=38, scale=38),
]


@pytest.mark.parametrize("type_", GOOD, ids=lambda type_: type_.kind)
def test_types_that_columns_have(type_: Type) -> None:
    assert type_violations(type_, "type") == []


NO_NULL = Column(name="a", type=INT, not_null=True)
WITH_DEFAULT = Column(name="a", type=INT, default=Default(literal=1))
BAD = [
    (an_enum(), "type.labels", "1 to 1000 labels, not 0"),
    (an_enum(*map(str, range(LABELS_MAX + 1))), "type.labels", "not 1001"),
    (an_enum("a", "b", "a"), "type.labels[2]", "'a' comes twice"),
    (an_enum("a", ""), "type.labels[1]", "a label has characters"),
    (an_enum("a\0"), "type.labels[0]", "none of them control characters"),
    (Type(kind=Kind.STRUCT), "type", "at least one field"),
    (a_struct(_a=INT), "type.fields[0].name", "names that begin with '_'"),
    (a_struct(**{"": INT}), "type.fields[0].name", "a field has a name"),
    (a_struct(**{"a\n": INT}), "type.fields[0].name", "no control characters"),
    (a_struct(a=INT, A=INT), "type.fields[1].name", "'A' has the name of 'a'"),
    (Type(kind=Kind.STRUCT, fields=(NO_NULL,)), "type.fields[0].not_null", "take null"),
    (Type(kind=Kind.STRUCT, fields=(WITH_DEFAULT,)), "type.fields[0].default", "no defaults"),
    (
        a_struct(a=a_list(a_struct(b=an_enum()))),
        "type.fields[0].type.element.fields[0].type.labels",
        "",
    ),
    (Type(kind=Kind.MAP, element=INT), "type", "a type of results only"),
    (a_list(Type(kind=Kind.MAP, element=INT)), "type.element", "a type of results only"),
    (Type(kind=Kind.UNKNOWN), "type", "is known"),
    (Type(kind=Kind.LIST), "type", "needs an element"),
    (Type(kind=Kind.DECIMAL, precision=39), "type", "at most 38 digits"),
    (Type(kind=Kind.DECIMAL, precision=3, scale=4), "type", "scale 4 is more than precision 3"),
]


@pytest.mark.parametrize(("type_", "field", "why"), BAD, ids=[why or "deep" for _, _, why in BAD])
def test_types_that_columns_do_not_have(type_: Type, field: str, why: str) -> None:
    [violation] = type_violations(type_, "type")
    assert violation.field == field
    assert why in violation.description


def test_types_nest_so_deep_and_no_deeper() -> None:
    for depth in (TYPE_DEPTH_MAX + 1, 50):
        [violation] = type_violations(nested(depth), "type")
        assert violation.description == "lists and structs nest at most 16 deep"


def test_a_table_has_so_many_columns_and_fields_in_all() -> None:
    wide = a_struct(**{f"f{at}": INT for at in range(999)})
    columns = [Column(name=f"c{at}", type=wide) for at in range(FIELDS_MAX // 1000)]
    assert column_violations(columns, "columns") == []
    [violation] = column_violations([*columns, of_kind(Kind.BOOL)], "columns")
    assert violation.description == "a table has at most 10000 columns and fields, not 10001"


def check_definition(columns: tuple[Column, ...], keys: tuple[UniqueKey, ...]) -> None:
    new_schema(
        columns,
        [PlacedKey(path=f"table.unique_keys[{at}]", key=key) for at, key in enumerate(keys)],
    )


def test_every_contradiction_is_told_by_its_place() -> None:
    columns = (
        Column(name="a", type=a_struct(x=INT)),
        Column(name="A", type=an_enum("x"), default=Default(literal="y")),
        Column(name="b", type=INT, default=Default(function=DefaultFunction.UUID)),
    )
    keys = (
        UniqueKey(name="k1", columns=("a",)),
        UniqueKey(name="k2", columns=("A", "c")),
    )
    with pytest.raises(InvalidArgument) as raised:
        check_definition(columns, keys)
    assert raised.value.reason == "SCHEMA_INVALID"
    assert [v.field for v in raised.value.violations] == [
        "table.columns[1].name",
        "table.columns[1].default.literal",
        "table.columns[2].default.function",
        "table.unique_keys[0].columns[0]",
        "table.unique_keys[1].columns[1]",
    ]
    enum_key = (UniqueKey(name="k", columns=("v",)),)
    check_definition((Column(name="v", type=an_enum("x")),), enum_key)


def test_violations_have_a_bound() -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_definition((Column(name="v", type=an_enum(*["x"] * 1000)),), ())
    assert len(raised.value.violations) == 100


LITERALS: list[tuple[Type, object, object]] = [
    (Type(kind=Kind.BOOL), False, False),
    (Type(kind=Kind.INT16), -(2**15), -(2**15)),
    (Type(kind=Kind.INT128), 2**127 - 1, str(2**127 - 1)),
    (Type(kind=Kind.DECIMAL, precision=4, scale=2), Decimal("12.5"), Decimal("12.50")),
    (Type(kind=Kind.DECIMAL, precision=4, scale=2), 12, Decimal("12.00")),
    (Type(kind=Kind.FLOAT), 2**24, 2.0**24),
    (Type(kind=Kind.DOUBLE), 2**60, 2.0**60),
    (Type(kind=Kind.DOUBLE), 0.1, 0.1),
    (Type(kind=Kind.STRING), "x\0", "x\0"),
    (Type(kind=Kind.BYTES), b"\0", b"\0"),
    (Type(kind=Kind.UUID), UUID(int=1), str(UUID(int=1))),
    (Type(kind=Kind.DATE), date(1970, 1, 2), 1),
    (Type(kind=Kind.TIME), time(0, 0, 1, 5), 1_000_005),
    (Type(kind=Kind.TIMESTAMP), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1_000_000),
    (Type(kind=Kind.LOCAL_TIMESTAMP), datetime(1970, 1, 1, 0, 0, 1), 1_000_000),  # noqa: DTZ001
    (Type(kind=Kind.INTERVAL), Span(months=1, days=2, microseconds=3), (1, 2, 3000)),
    (Type(kind=Kind.JSON), Json('{"a":1}'), '{"a":1}'),
    (a_list(INT), [1, None], [1, None]),
    (a_struct(a=INT, b=INT), {"b": 1}, {"a": None, "b": 1}),
    (an_enum("x"), "x", "x"),
    (an_enum("x"), None, None),
]


@pytest.mark.parametrize(("type_", "literal", "cell"), LITERALS, ids=str)
def test_literals_that_fit(type_: Type, literal: object, cell: object) -> None:
    assert literal_cell(literal, type_) == cell


MISFITS: list[tuple[Type, object, str]] = [
    (Type(kind=Kind.BOOL), 1, "an integer is not a BOOL"),
    (Type(kind=Kind.INT16), 2**15, "32768 does not fit INT16"),
    (INT, True, "a boolean is not a INT64"),
    (INT, "1", "a string is not a INT64"),
    (INT, 1.0, "a float is not a INT64"),
    (Type(kind=Kind.DECIMAL, precision=4, scale=2), Decimal("1.005"), "more than 2 digits"),
    (Type(kind=Kind.DECIMAL, precision=4, scale=2), Decimal("NaN"), "not a decimal"),
    (Type(kind=Kind.FLOAT), 2**24 + 1, "not exact as a FLOAT"),
    (Type(kind=Kind.FLOAT), 1e39, "does not fit FLOAT"),
    (Type(kind=Kind.DOUBLE), 2**53 + 1, "not exact as a DOUBLE"),
    (Type(kind=Kind.DATE), datetime(2020, 1, 1, tzinfo=UTC), "a timestamp is not a DATE"),
    (Type(kind=Kind.TIMESTAMP), datetime(2020, 1, 1), "needs a zone"),  # noqa: DTZ001
    (Type(kind=Kind.LOCAL_TIMESTAMP), datetime(2020, 1, 1, tzinfo=UTC), "takes no zone"),
    (
        Type(kind=Kind.INTERVAL),
        Span(months=0, days=0, microseconds=2**62),
        "do not fit an interval",
    ),
    (Type(kind=Kind.JSON), Json("{"), "not JSON"),
    (a_list(INT), [1, "x"], "element 1: a string is not a INT64"),
    (a_struct(a=INT), {"b": 1}, "no field 'b'"),
    (an_enum("x", "y"), "z", "'z' is none of the labels 'x', 'y'"),
    (an_enum(*"abcdefghijklm"), "z", "'j', …"),
]


@pytest.mark.parametrize(("type_", "literal", "why"), MISFITS, ids=str)
def test_literals_that_do_not_fit(type_: Type, literal: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        literal_cell(literal, type_)
    column = Column(name="v", type=type_, default=Default(literal=literal))
    [violation] = column_violations([column], "c")
    assert violation.field == "c[0].default.literal"


@pytest.mark.parametrize("kind", [k for k in Kind if k not in (Kind.LIST, Kind.STRUCT, Kind.ENUM)])
def test_functions_make_values_of_certain_kinds(kind: Kind) -> None:
    column = of_kind(kind)
    makers = {
        DefaultFunction.NOW: (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP),
        DefaultFunction.UUID: (Kind.UUID,),
        DefaultFunction.SEQUENCE: (Kind.INT16, Kind.INT32, Kind.INT64, Kind.INT128),
    }
    if type_violations(column.type, "t"):
        return
    for function, kinds in makers.items():
        found = column_violations([replace(column, default=Default(function=function))], "c")
        assert [v.field for v in found] == ([] if kind in kinds else ["c[0].default.function"])


def test_null_is_no_default_of_a_column_that_refuses_it() -> None:
    column = Column(name="v", type=INT, not_null=True, default=Default())
    [violation] = column_violations([column], "c")
    assert "null is no default" in violation.description
    assert column_violations([replace(column, not_null=False)], "c") == []
