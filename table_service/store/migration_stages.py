"""The rows of a table as they stand after each operation of a migration, as SQL over the rows that are there.

One subquery lies around the other, so what an operation sees, and what its loss and its obstacles are, is
asked of the rows as the operations before have left them, while nothing has been written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from table_service.schema_changes import Applied, Changes
from table_service.schema_operations import AddColumn, DropColumn, RenameColumn, RetypeColumn
from table_service.schema_requirements import Method, method_of
from table_service.schemas import Schema
from table_service.sql_literals import default_literal
from table_service.store.conditions import check_value
from table_service.store.transaction import physical
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, Column, DefaultFunction, quoted, sql_type

# No column of a table begins with "_", so nothing that a caller wrote means this.
_BEFORE = "_before"
# A conversion that cannot be is null and no error; what it made is within, also if that is null.
_MADE, _FROM = "made", "was"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What a retype makes the new value of: SQL, and DuckDB's name of its type."""

    sql: str
    written: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The relations before each operation, and one after the last; `values` by operation, of retypes."""

    relations: tuple[str, ...]
    values: dict[int, Value]


def stages(
    cursor: duckdb.DuckDBPyConnection,
    table: Table,
    changes: Changes,
    now: datetime,
    *,
    first_of: Callable[[Column], int],
    strict: bool,
) -> Stages:
    """Return the stages of a migration.

    `first_of` gives the first number of a new column's sequence. `strict`: a value that cannot be
    converted is an error, and else null.
    """
    relation, values = physical(table), {}
    relations = [relation]
    for index, applied in enumerate(changes.applied):
        changed: dict[str, str] = {}
        match applied.operation:
            case AddColumn(column=column):
                added = applied.after.column(column.name)
                assert added is not None
                changed[added.name] = _filled(added, now, first_of)
            case RenameColumn(column=old, new_name=new):
                changed[new] = quoted(old)
            case RetypeColumn() as operation if method_of(applied) is Method.REBUILD:
                value = _value(cursor, operation, applied.before)
                values[index] = value
                changed[operation.column] = _retyped(value, operation, strict=strict)
            case DropColumn():
                pass
            case _:
                relations.append(relation)
                continue
        relation = _around(relation, applied, changed)
        relations.append(relation)
    return Stages(relations=tuple(relations), values=values)


def attempt(value: Value, type_: str) -> str:
    """Return SQL of what a conversion makes of a value and the value itself; null if it cannot be."""
    return f"TRY({{'{_MADE}': CAST({value.sql} AS {type_}), '{_FROM}': {value.sql}}})"


def made(attempted: str) -> str:
    """Return SQL of what an attempt has made."""
    return f"struct_extract({attempted}, '{_MADE}')"


def made_from(attempted: str) -> str:
    """Return SQL of what an attempt has made it of."""
    return f"struct_extract({attempted}, '{_FROM}')"


def columns_list(columns: Sequence[Column]) -> str:
    """Return the server's columns and these, as SQL."""
    return ", ".join([ROW_ID, VERSION, *(quoted(column.name) for column in columns)])


def _value(cursor: duckdb.DuckDBPyConnection, operation: RetypeColumn, before: Schema) -> Value:
    column = before.column(operation.column)
    assert column is not None
    if not operation.using:
        return Value(sql=quoted(column.name), written=sql_type(column.type))
    condition, written = check_value(cursor, operation.using, before.columns, "using")
    return Value(sql=condition.sql, written=written)


def _retyped(value: Value, operation: RetypeColumn, *, strict: bool) -> str:
    type_ = sql_type(operation.type)
    return f"CAST({value.sql} AS {type_})" if strict else made(attempt(value, type_))


def _filled(column: Column, now: datetime, first_of: Callable[[Column], int]) -> str:
    type_ = sql_type(column.type)
    if column.default is None:
        return f"CAST(NULL AS {type_})"
    match column.default.function:
        case DefaultFunction.UUID:
            return "uuid()"
        case DefaultFunction.SEQUENCE:
            first = first_of(column)
            # No more than the column holds: that it is too much has been said then.
            return f"TRY_CAST({first - 1} + row_number() OVER (ORDER BY {ROW_ID}) AS {type_})"
        case _:
            return default_literal(column.default, column.type, now)


def _around(relation: str, applied: Applied, changed: dict[str, str]) -> str:
    selected = [ROW_ID, VERSION]
    for column in applied.after.columns:
        name = quoted(column.name)
        selected.append(f"{changed[column.name]} AS {name}" if column.name in changed else name)
    return f"(SELECT {', '.join(selected)} FROM {relation} AS {_BEFORE})"
