"""Conditions on rows and expressions for their values, as definitions of tables have them, read by DuckDB.

A check is kept as its author wrote it. What becomes of it in DuckDB, a CHECK constraint that every write
obeys, is made of what the sandbox has looked at, never of the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from chassis.faults import InvalidArgument
from table_service import row_conditions, sandbox
from table_service.serialized_sql import JsonObject, child, objects
from table_service.store.errors import read_fault
from table_service.store.expressions import blamed
from table_service.store.statements import as_json, as_sql, serialised
from table_service.types import Column, Type, quoted, sql_text, sql_type

_BOOLEAN = "BOOLEAN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A checked expression: SQL in parentheses, and the columns that it uses, as the table spells them."""

    sql: str
    columns: frozenset[str]


def check_condition(
    cursor: duckdb.DuckDBPyConnection, written: str, columns: Sequence[Column], path: str
) -> Condition:
    """Return the condition that a check is, as a CHECK constraint can have it.

    The transaction of `cursor` cannot go on if this raises.

    Raises:
        InvalidArgument: SQL_INVALID or SQL_REFUSED, with `path` as the field.
    """
    with blamed(path):
        condition = constraint(cursor, written, columns)
        type_ = _type_of(cursor, condition.sql, columns)
        if type_ != _BOOLEAN:
            raise InvalidArgument("SQL_INVALID", f"a check is true or false, not {type_}")
        _try_out(cursor, condition.sql, columns)
    return condition


def constraint(
    cursor: duckdb.DuckDBPyConnection, written: str, columns: Sequence[Column]
) -> Condition:
    """Return the condition of a check that was checked when it was defined.

    Raises:
        InvalidArgument: SQL_INVALID or SQL_REFUSED.
    """
    tree, used = _tree(cursor, written, columns)
    row_conditions.check_condition(tree)
    tree = row_conditions.columns_renamed(tree, {name: name for name in used})
    # DuckDB takes `a.b` in a constraint for a column of the table `a`.
    ways = {read: _field(cursor, read) for read in row_conditions.fields_read(tree)}
    tree = row_conditions.fields_replaced(tree, ways)
    return _written(cursor, tree, columns)


def check_value(
    cursor: duckdb.DuckDBPyConnection, written: str, columns: Sequence[Column], path: str
) -> tuple[Condition, str]:
    """Return an expression for a value, and DuckDB's name of its type.

    Raises:
        InvalidArgument: SQL_INVALID or SQL_REFUSED, with `path` as the field.
    """
    with blamed(path):
        tree, _ = _tree(cursor, written, columns)
        row_conditions.check_constant(tree)
        value = _written(cursor, tree, columns)
        return value, _type_of(cursor, value.sql, columns)


def columns_used(
    cursor: duckdb.DuckDBPyConnection, written: str, columns: Sequence[Column]
) -> frozenset[str]:
    """Return the columns that a check uses.

    Raises:
        InvalidArgument: SQL_INVALID or SQL_REFUSED.
    """
    return frozenset(_tree(cursor, written, columns)[1])


def with_renamed(
    cursor: duckdb.DuckDBPyConnection,
    written: str,
    columns: Sequence[Column],
    names: Mapping[str, str],
) -> str:
    """Return a check of these columns with their new names; as it was, if it uses none of those renamed.

    Raises:
        InvalidArgument: SQL_INVALID or SQL_REFUSED.
    """
    tree, used = _tree(cursor, written, columns)
    if not used & names.keys():
        return written
    renamed = row_conditions.columns_renamed(tree, names)
    after = [names.get(column.name, column.name) for column in columns]
    return _sql(cursor, renamed, after).removeprefix("(").removesuffix(")")


def check_cast(cursor: duckdb.DuckDBPyConnection, written: str, type_: Type, path: str) -> None:
    """Refuse a type that DuckDB has no cast to from one of its types.

    Raises:
        InvalidArgument: SQL_INVALID, with `path` as the field.
    """
    with blamed(path), _told():
        cursor.execute(f"DESCRIBE SELECT CAST(CAST(NULL AS {written}) AS {sql_type(type_)})")


def _tree(
    cursor: duckdb.DuckDBPyConnection, written: str, columns: Sequence[Column]
) -> tuple[JsonObject, set[str]]:
    tree = sandbox.parse(serialised(cursor, sandbox.expression_statement(written)))
    return tree, sandbox.check_expression(tree, [column.name for column in columns])


def _written(
    cursor: duckdb.DuckDBPyConnection, tree: JsonObject, columns: Sequence[Column]
) -> Condition:
    names = [column.name for column in columns]
    text = _sql(cursor, tree, names)
    return Condition(sql=text, columns=frozenset(_again(cursor, text, names)))


def _sql(cursor: duckdb.DuckDBPyConnection, tree: JsonObject, names: Sequence[str]) -> str:
    text = sandbox.expression_sql(as_sql(cursor, json.dumps(tree)))
    before = sandbox.check_expression(tree, names)
    # It becomes part of a definition: that nothing in it lost its quotes is confirmed.
    if _again(cursor, text, names) != before:
        raise InvalidArgument("SQL_REFUSED", "the expression cannot be written back")
    return text


def _again(cursor: duckdb.DuckDBPyConnection, text: str, names: Sequence[str]) -> set[str]:
    tree = sandbox.parse(as_json(cursor, sandbox.expression_statement(text)))
    return sandbox.check_expression(tree, names)


def _field(cursor: duckdb.DuckDBPyConnection, read: tuple[str, ...]) -> JsonObject:
    """Return `a['b']['c']`, as a tree, for a.b.c."""
    column, *fields = read
    extracted = quoted(column) + "".join(f"[{sql_text(name)}]" for name in fields)
    tree = sandbox.parse(as_json(cursor, sandbox.expression_statement(extracted)))
    node = child(objects(tree, "statements")[0], "node")
    return objects(node, "select_list")[0]


def _type_of(cursor: duckdb.DuckDBPyConnection, sql: str, columns: Sequence[Column]) -> str:
    nothing = ", ".join(f"CAST(NULL AS {sql_type(c.type)}) AS {quoted(c.name)}" for c in columns)
    with _told():
        [described] = cursor.execute(f"DESCRIBE SELECT {sql} FROM (SELECT {nothing})").fetchall()
    return str(described[1])


def _try_out(cursor: duckdb.DuckDBPyConnection, sql: str, columns: Sequence[Column]) -> None:
    """Have DuckDB bind the condition as a constraint, which it does when rows are inserted."""
    listed = ", ".join(f"{quoted(column.name)} {sql_type(column.type)}" for column in columns)
    with _told():
        cursor.execute(f"CREATE OR REPLACE TEMPORARY TABLE check_trial ({listed}, CHECK {sql})")
        nothing = ", ".join("NULL" for _ in columns)
        cursor.execute(f"INSERT INTO temp.check_trial SELECT {nothing} WHERE false")
        cursor.execute("DROP TABLE temp.check_trial")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except duckdb.NotImplementedException as error:
        raise InvalidArgument("SQL_REFUSED", "a check cannot hold this expression") from error
    except duckdb.Error as error:
        fault = read_fault(error)
        if fault is None:
            raise
        raise fault from error
