"""Checks and values read by DuckDB: what they use, what becomes of them, and what they may depend on."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from chassis.faults import InvalidArgument
from table_service.row_conditions import INCONSTANT
from table_service.sandbox_rules import SCALARS
from table_service.store.conditions import (
    check_cast,
    check_condition,
    check_value,
    columns_used,
    constraint,
    with_renamed,
)
from table_service.types import Column, Kind, Type
from tests.table_service.encoded import a_list, a_struct

INT = Type(kind=Kind.INT64)
COLUMNS = (
    Column(name="a", type=INT),
    Column(name="B b", type=Type(kind=Kind.STRING)),
    Column(name="s", type=a_struct(x=INT, **{"y'z": a_struct(w=INT)})),
    Column(name="l", type=a_list(INT)),
)


@pytest.fixture
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def test_condition_is_written_as_a_constraint_can_have_it(
    cursor: duckdb.DuckDBPyConnection,
) -> None:
    found = check_condition(cursor, "S.x > A -- yes", COLUMNS, "p")
    assert found.columns == {"s", "a"}
    assert found.sql == "((s['x'] > a))"


def test_fields_within_fields_are_reached(cursor: duckdb.DuckDBPyConnection) -> None:
    found = check_condition(cursor, 's."y\'z".w = 1', COLUMNS, "p")
    assert found.sql == "((s['y''z']['w'] = 1))"


@pytest.mark.parametrize(
    ("written", "renamed"),
    [
        ("a > 0", '("select" > 0)'),
        ("A > 0 AND \"B b\" <> 'a'", '(("select" > 0) AND ("B b" != \'a\'))'),
        ("\"B b\" = 'a > 0'", "\"B b\" = 'a > 0'"),
        ("s.x > a", '(s.x > "select")'),
    ],
)
def test_rename_is_made_in_the_tree_and_not_in_the_text(
    cursor: duckdb.DuckDBPyConnection, written: str, renamed: str
) -> None:
    assert with_renamed(cursor, written, COLUMNS, {"a": "select"}) == renamed


def test_struct_that_is_renamed_keeps_its_fields(cursor: duckdb.DuckDBPyConnection) -> None:
    after = with_renamed(cursor, "s.x > 0 AND a IN (1, 2)", COLUMNS, {"s": "x"})
    columns = [Column(name={"s": "x"}.get(c.name, c.name), type=c.type) for c in COLUMNS]
    assert columns_used(cursor, after, columns) == {"x", "a"}
    assert constraint(cursor, after, columns).sql == "(((x['x'] > 0) AND (a IN (1, 2))))"


def test_value_has_a_type_and_may_have_lambdas(cursor: duckdb.DuckDBPyConnection) -> None:
    value, written = check_value(cursor, "list_transform(l, lambda e: e + a)", COLUMNS, "using")
    assert (set(value.columns), written) == ({"l", "a"}, "BIGINT[]")
    check_cast(cursor, written, a_list(Type(kind=Kind.STRING)), "type")
    with pytest.raises(InvalidArgument) as raised:
        check_cast(cursor, "STRUCT(q INTEGER)", a_struct(x=INT), "type")
    assert raised.value.violations[0].field == "type"


def test_no_function_that_changes_by_itself_is_left_out(
    cursor: duckdb.DuckDBPyConnection,
) -> None:
    found = cursor.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions()"
        " WHERE function_type = 'scalar' AND stability <> 'CONSISTENT'"
    ).fetchall()
    assert {name for (name,) in found} & SCALARS <= INCONSTANT


@pytest.mark.parametrize("name", sorted(INCONSTANT - {"error", "assert_true", "ago"}))
def test_what_is_not_constant_is_refused(cursor: duckdb.DuckDBPyConnection, name: str) -> None:
    for written in (f"{name}() IS NULL", f"{name} IS NULL"):
        with pytest.raises(InvalidArgument) as raised:
            check_value(cursor, written, COLUMNS, "using")
        assert raised.value.reason in ("SQL_REFUSED", "SQL_INVALID")
