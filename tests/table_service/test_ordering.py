"""Orders as requests write them, and the conditions that pages go on with."""

from __future__ import annotations

import pytest

from chassis.faults import InvalidArgument
from table_service.ordering import ORDER_COLUMNS_MAX, parse_order
from table_service.store.ordering import (
    Position,
    RowPosition,
    after_sql,
    read_position,
    write_position,
)
from table_service.types import Column, Kind, Type

COLUMNS = (
    Column(name="a", type=Type(kind=Kind.INT64)),
    Column(name='odd "name", desc', type=Type(kind=Kind.STRING)),
    Column(name="straße", type=Type(kind=Kind.DOUBLE)),
    Column(name="desc", type=Type(kind=Kind.BOOL)),
    Column(name="doc", type=Type(kind=Kind.JSON)),
    Column(name="many", type=Type(kind=Kind.LIST, element=Type(kind=Kind.INT64))),
    *(Column(name=f"c{at}", type=Type(kind=Kind.INT64)) for at in range(20)),
)


def parsed(written: str) -> list[tuple[str, bool]]:
    return [(order.column.name, order.descending) for order in parse_order(written, COLUMNS)]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", [("_row_id", False)]),
        ("  ", [("_row_id", False)]),
        ("a", [("a", False), ("_row_id", False)]),
        (" a  DESC ,c1 asc\n", [("a", True), ("c1", False), ("_row_id", False)]),
        ('"odd ""name"", desc" desc', [('odd "name", desc', True), ("_row_id", False)]),
        ("straße,desc desc", [("straße", False), ("desc", True), ("_row_id", False)]),
        ("_version desc", [("_version", True), ("_row_id", False)]),
        ("c1, _row_id desc, c2", [("c1", False), ("_row_id", True)]),
    ],
)
def test_an_order_ends_with_the_row_id(written: str, expected: list[tuple[str, bool]]) -> None:
    assert parsed(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        *(
            "a,",
            ",a",
            "a b",
            "a desc desc",
            '"a',
            '""',
            "1",
            "a; DROP TABLE x",
            "lower(a)",
            "a -- x",
        ),
        *("doc", "many desc", "a, a", "a, a desc", "a\0"),
        ", ".join(f"c{at}" for at in range(ORDER_COLUMNS_MAX + 1)),
    ],
)
def test_what_is_no_order_is_refused(written: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parsed(written)
    assert refused.value.reason == "FIELDS_INVALID"
    assert refused.value.violations[0].field == "order_by"


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(InvalidArgument) as refused:
        parsed("a, nope desc")
    assert (refused.value.reason, refused.value.metadata) == (
        "COLUMN_NOT_FOUND",
        {"column": "nope"},
    )


def test_a_position_is_read_as_it_was_written() -> None:
    orders = parse_order('"odd ""name"", desc", a desc', COLUMNS)
    position = Position(values=("x\0\n\"'é", None, "7"))
    assert read_position(write_position(position, 1), orders) == position
    long = Position(values=("x" * 1000, "1", "7"))
    assert read_position(write_position(long, 3), orders) == RowPosition(row_id=7, version=3)
    assert read_position("", orders) is None


@pytest.mark.parametrize(
    "written", ["x", "[]", "[1]", '["a","b",null]', '["a","b","c"]', '{"row":1}', "1", "[" * 5000]
)
def test_what_is_no_position_is_refused(written: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_position(written, parse_order("a, c1", COLUMNS))
    assert refused.value.reason == "PAGE_TOKEN_INVALID"


def test_parameters_of_a_page_are_not_the_callers() -> None:
    orders = parse_order("a", COLUMNS)
    position = Position(values=("1", "2"))
    _, named = after_sql(orders, position, ["after_0", "b"])
    assert named == {"after__0": "1", "after__1": "2"}
    _, counted = after_sql(orders, position, ["1", "2"])
    assert counted == {"3": "1", "4": "2"}
