"""Versions of tables' schemas: kept in the commit that makes them, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from chassis.faults import NotFound
from table_service.schemas import Schema
from table_service.store.definitions import read_definition, write_definition
from table_service.store.moments import moment, stored
from table_service.store.transaction import Transaction
from table_service.tables import Table

_COLUMNS = "schema_version, definition, changes, author, create_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableVersion:
    """A schema as it was, who made it, and what made it of the one before, a sentence each."""

    schema_version: int
    schema: Schema
    changes: tuple[str, ...]
    author: str
    create_time: datetime


def record_version(
    transaction: Transaction, table: Table, author: str, changes: Sequence[str] = ()
) -> None:
    """Record the schema that the table has after this transaction."""
    transaction.rows(
        "INSERT INTO catalog.table_versions VALUES ($1, $2, $3, $4, $5, $6)",
        [
            table.id,
            table.schema_version,
            write_definition(table),
            list(changes),
            author,
            stored(transaction.now),
        ],
    )


def list_versions(
    cursor: duckdb.DuckDBPyConnection, table: Table, before: int, count: int
) -> list[TableVersion]:
    """Return at most `count` versions older than `before`, newest first; 0 stands for no bound."""
    rows = cursor.execute(
        f"SELECT {_COLUMNS} FROM catalog.table_versions"
        " WHERE table_id = $1 AND ($2 = 0 OR schema_version < $2)"
        " ORDER BY schema_version DESC LIMIT $3",
        [table.id, before, count],
    ).fetchall()
    return [_version(row) for row in rows]


def get_version(
    cursor: duckdb.DuckDBPyConnection, table: Table, schema_version: int
) -> TableVersion:
    """Return one version.

    Raises:
        NotFound: TABLE_VERSION_NOT_FOUND.
    """
    rows = cursor.execute(
        f"SELECT {_COLUMNS} FROM catalog.table_versions WHERE table_id = $1 AND schema_version = $2",
        [table.id, schema_version],
    ).fetchall()
    if not rows:
        raise NotFound(
            "TABLE_VERSION_NOT_FOUND",
            f"table {table.full_name!r} has no version {schema_version}",
            table=table.full_name,
            schema_version=schema_version,
        )
    return _version(rows[0])


def _version(row: tuple[object, ...]) -> TableVersion:
    schema_version, written, changes, author, created = row
    definition = read_definition(str(written))
    assert isinstance(schema_version, int)
    assert isinstance(changes, list)
    assert isinstance(created, datetime)
    return TableVersion(
        schema_version=schema_version,
        schema=Schema(
            columns=definition.columns,
            unique_keys=definition.unique_keys,
            checks=definition.checks,
        ),
        changes=tuple(changes),
        author=str(author),
        create_time=moment(created),
    )
