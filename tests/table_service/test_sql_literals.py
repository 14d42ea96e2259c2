"""Literals of definitions as SQL: DuckDB reads back the same value, of the same type."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest

from chassis.scalars import Json, Span
from table_service.arrow_types import carrier_type
from table_service.literals import literal_cell
from table_service.sql_literals import default_literal, plain_literal, written
from table_service.types import Default, DefaultFunction, Kind, Type, incoming, sql_type
from tests.table_service.encoded import a_list, a_struct, an_enum

NOW = datetime(2026, 1, 2, 3, 4, 5, 600_007, tzinfo=UTC)
PLAIN: list[tuple[object, Type]] = [
    (True, Type(kind=Kind.BOOL)),
    (-(2**15), Type(kind=Kind.INT16)),
    (2**127 - 1, Type(kind=Kind.INT128)),
    (-(2**127), Type(kind=Kind.INT128)),
    (Decimal("-1.50"), Type(kind=Kind.DECIMAL, precision=38, scale=2)),
    ("it's \" ä\n\\", Type(kind=Kind.STRING)),
    ("", Type(kind=Kind.STRING)),
    (UUID(int=7), Type(kind=Kind.UUID)),
    (date(1, 1, 1), Type(kind=Kind.DATE)),
    (date(9999, 12, 31), Type(kind=Kind.DATE)),
    (time(23, 59, 59, 999_999), Type(kind=Kind.TIME)),
    (datetime.max.replace(tzinfo=UTC), Type(kind=Kind.TIMESTAMP)),
    (datetime(1, 1, 1), Type(kind=Kind.LOCAL_TIMESTAMP)),  # noqa: DTZ001  # it has no zone
]
OTHERS: list[tuple[object, Type]] = [
    (0.1, Type(kind=Kind.DOUBLE)),
    (5e-324, Type(kind=Kind.DOUBLE)),
    (float("nan"), Type(kind=Kind.DOUBLE)),
    (float("-inf"), Type(kind=Kind.FLOAT)),
    ("\0a'\0", Type(kind=Kind.STRING)),
    (b"\x00\xff", Type(kind=Kind.BYTES)),
    (b"", Type(kind=Kind.BYTES)),
    (Span(months=-13, days=40, microseconds=-5), Type(kind=Kind.INTERVAL)),
    (Json('{"a": [1, "x\'y"]}'), Type(kind=Kind.JSON)),
    ("it's", an_enum("a", "it's")),
    (["a'", None], a_list(Type(kind=Kind.STRING))),
    ([], a_list(a_list(Type(kind=Kind.INT64)))),
    (
        {"x": 1, "y": [True, None]},
        a_struct(x=Type(kind=Kind.INT64), y=a_list(Type(kind=Kind.BOOL))),
    ),
    (None, Type(kind=Kind.INT64)),
]


@pytest.fixture
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@pytest.mark.parametrize(("value", "type_"), PLAIN + OTHERS)
def test_written_value_is_the_one_that_travels(
    cursor: duckdb.DuckDBPyConnection, value: object, type_: Type
) -> None:
    cell = literal_cell(value, type_)
    cursor.register("came", pa.table({"v": pa.array([cell], carrier_type(type_))}))
    literal = written(cell, type_)
    [[same, of_type]] = cursor.execute(
        f"SELECT {literal} IS NOT DISTINCT FROM {incoming('v', type_)},"
        f" typeof({literal}) = typeof(CAST(NULL AS {sql_type(type_)})) FROM came"
    ).fetchall()
    assert (same, of_type) == (True, True)


@pytest.mark.parametrize(("value", "type_"), PLAIN)
def test_plain_value_is_one_text(
    cursor: duckdb.DuckDBPyConnection, value: object, type_: Type
) -> None:
    text = plain_literal(Default(literal=value), type_, NOW)
    assert text is not None
    literal = default_literal(Default(literal=value), type_, NOW)
    [[same]] = cursor.execute(f"SELECT CAST({text} AS {sql_type(type_)}) = {literal}").fetchall()
    assert same is True


def test_what_one_text_cannot_say_is_not_plain() -> None:
    for value, type_ in OTHERS[:-1]:
        assert plain_literal(Default(literal=value), type_, NOW) is None
    assert plain_literal(Default(literal=None), Type(kind=Kind.INT64), NOW) == "NULL"
    uuid = Default(function=DefaultFunction.UUID)
    assert plain_literal(uuid, Type(kind=Kind.UUID), NOW) is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.DATE, "2026-01-02"),
        (Kind.TIME, "03:04:05.600007"),
        (Kind.TIMESTAMP, "2026-01-02 03:04:05.600007+00"),
        (Kind.LOCAL_TIMESTAMP, "2026-01-02 03:04:05.600007"),
    ],
)
def test_now_is_the_moment_given(cursor: duckdb.DuckDBPyConnection, kind: Kind, text: str) -> None:
    now, type_ = Default(function=DefaultFunction.NOW), Type(kind=kind)
    for literal in (default_literal(now, type_, NOW), plain_literal(now, type_, NOW)):
        sql = f"SELECT CAST(CAST({literal} AS {sql_type(type_)}) AS VARCHAR)"
        assert cursor.execute(sql).fetchall() == [(text,)]
