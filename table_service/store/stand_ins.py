"""Relations that do not exist yet, made readable for as long as a query is described."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import duckdb

from chassis.faults import InvalidArgument
from table_service.sandbox import Relation
from table_service.serialized_sql import fold
from table_service.store.statements import Names, ResultColumn
from table_service.tables import MAIN, check_whole, full_name
from table_service.types import Column, Kind, Type, quoted, sql_type

# Tried in turn for parameters whose values are not known: some functions refuse a null.
STAND_IN_VALUES: tuple[object, ...] = (None, 1, "1", 0.5)


def create_stand_ins(
    cursor: duckdb.DuckDBPyConnection, relations: Mapping[str, tuple[Column, ...]]
) -> dict[str, Relation]:
    """Create an empty temporary view for each relation; the end of the transaction drops it.

    A column of unknown type stands in as a bare NULL, which DuckDB lets be whatever the query makes of it.

    Raises:
        InvalidArgument: SQL_INVALID if two relations have one name, or two columns of one, or a column has a
            type that is not whole.
    """
    found: dict[str, Relation] = {}
    for at, (name, columns) in enumerate(sorted(relations.items())):
        if fold(name) in found:
            raise InvalidArgument("SQL_INVALID", f"two relations are called {name!r}", name=name)
        check_whole(columns)
        table = f"stand_in_{at}"
        selected = ", ".join(f"{_nothing_of(c.type)} AS {quoted(c.name)}" for c in columns)
        cursor.execute(f"CREATE TEMPORARY VIEW {table} AS SELECT {selected} WHERE false")
        found[fold(name)] = Relation(
            schema="temp", table=table, columns=tuple((c.name, c.name) for c in columns)
        )
    return found


def of_unknown_type(described: ResultColumn) -> Column:
    """Return the column; DuckDB says "NULL" where the type is that of a parameter bound to null."""
    if described.written != '"NULL"':
        return described.column
    return replace(described.column, type=Type(kind=Kind.UNKNOWN))


def tables_read(names: Names, relations: Collection[str]) -> tuple[str, ...]:
    """Return the tables that a statement reads, by full name, where `relations` come first."""
    given = {fold(name) for name in relations}
    return tuple(
        sorted(
            {
                full_name(fold(namespace) or MAIN, fold(name))
                for namespace, name in names.tables
                if namespace or fold(name) not in given
            }
        )
    )


def relations_read(names: Names, relations: Collection[str]) -> tuple[str, ...]:
    """Return those of the relations that a statement reads."""
    read = {fold(name) for namespace, name in names.tables if not namespace}
    return tuple(sorted(name for name in relations if fold(name) in read))


def _nothing_of(type_: Type) -> str:
    return "NULL" if type_.kind is Kind.UNKNOWN else f"CAST(NULL AS {sql_type(type_)})"
