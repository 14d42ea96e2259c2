"""The catalog as it is kept: definitions of tables and datasets, and the schemas they live in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from table_service.access import Grant
from table_service.store import layouts, receipts, row_ids
from table_service.store.database import CATALOG
from table_service.store.definitions import (
    read_columns,
    read_definition,
    write_columns,
    write_definition,
)
from table_service.store.grants import load_grants
from table_service.store.moments import moment, stored
from table_service.store.storage import create_storage, drop_storage
from table_service.store.transaction import Transaction, dataset_relation
from table_service.tables import NAMESPACES, Catalog, Table, TableState
from table_service.types import Column

_TABLES = (
    *(
        f"CREATE SCHEMA IF NOT EXISTS {CATALOG}.{name}"
        for name in (*NAMESPACES, "catalog", "datasets")
    ),
    "CREATE TABLE IF NOT EXISTS catalog.layout (version BIGINT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS catalog.tables (
        id VARCHAR NOT NULL, namespace VARCHAR NOT NULL, name VARCHAR NOT NULL,
        definition VARCHAR NOT NULL, schema_version BIGINT NOT NULL, state VARCHAR NOT NULL,
        owner VARCHAR NOT NULL, create_time TIMESTAMP NOT NULL, update_time TIMESTAMP NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS catalog.datasets (
        id VARCHAR NOT NULL, owner VARCHAR NOT NULL, columns VARCHAR NOT NULL,
        row_count BIGINT NOT NULL, create_time TIMESTAMP NOT NULL, expire_time TIMESTAMP NOT NULL)""",
    "ALTER TABLE catalog.datasets ADD COLUMN IF NOT EXISTS byte_count BIGINT DEFAULT 0",
    """CREATE TABLE IF NOT EXISTS catalog.table_versions (
        table_id VARCHAR NOT NULL, schema_version BIGINT NOT NULL, definition VARCHAR NOT NULL,
        changes VARCHAR[] NOT NULL, author VARCHAR NOT NULL, create_time TIMESTAMP NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS catalog.table_events (
        id VARCHAR NOT NULL, kind VARCHAR NOT NULL, table_id VARCHAR NOT NULL, table_name VARCHAR NOT NULL,
        schema_version BIGINT NOT NULL, subject VARCHAR NOT NULL, actor VARCHAR NOT NULL,
        changes VARCHAR[] NOT NULL, create_time TIMESTAMP NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS catalog.grants (
        table_id VARCHAR NOT NULL, user_id VARCHAR NOT NULL, role VARCHAR NOT NULL,
        rights VARCHAR[] NOT NULL, granter VARCHAR NOT NULL, create_time TIMESTAMP NOT NULL)""",
    receipts.TABLE,
    row_ids.TABLE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A kept result; its rows stand in the physical table `datasets.<id>`, its columns under their names."""

    id: str
    owner: str
    columns: tuple[Column, ...]
    row_count: int
    byte_count: int
    create_time: datetime
    expire_time: datetime


class LayoutUnknown(Exception):  # a state of the file, said to whoever starts the service
    """The file was written by a newer version of the service."""


def prepare(cursor: duckdb.DuckDBPyConnection) -> None:
    """Create what is missing of the store's own tables, and rewrite what is older.

    Raises:
        LayoutUnknown: If the file has a layout that this version does not know.
    """
    cursor.execute("BEGIN TRANSACTION")
    for statement in _TABLES:
        cursor.execute(statement)
    versions = cursor.execute("SELECT version FROM catalog.layout").fetchall()
    if versions and versions[0][0] not in layouts.KNOWN:
        cursor.execute("ROLLBACK")
        raise LayoutUnknown(f"the file has layout {versions[0][0]}, not {layouts.LAYOUT_VERSION}")
    if versions:
        layouts.upgrade(cursor, versions[0][0])
    else:
        cursor.execute("INSERT INTO catalog.layout VALUES ($1)", [layouts.LAYOUT_VERSION])
    cursor.execute("COMMIT")


def load_catalog(cursor: duckdb.DuckDBPyConnection) -> Catalog:
    """Return every table that is kept."""
    grants = load_grants(cursor)
    rows = cursor.execute(
        "SELECT id, namespace, name, definition, schema_version, state, owner, create_time,"
        " update_time FROM catalog.tables"
    ).fetchall()
    tables = [_table(row, grants.get(row[0], ())) for row in rows]
    return Catalog(
        active={(t.namespace, t.name): t for t in tables if t.state is TableState.ACTIVE},
        by_id={table.id: table for table in tables},
    )


def load_datasets(cursor: duckdb.DuckDBPyConnection) -> dict[str, Dataset]:
    """Return every dataset that is kept, by id."""
    rows = cursor.execute(
        "SELECT id, owner, columns, row_count, create_time, expire_time, byte_count"
        " FROM catalog.datasets"
    ).fetchall()
    return {
        id_: Dataset(
            id=id_,
            owner=owner,
            columns=read_columns(columns),
            row_count=row_count,
            byte_count=byte_count,
            create_time=moment(created),
            expire_time=moment(expires),
        )
        for id_, owner, columns, row_count, created, expires, byte_count in rows
    }


def create_table(transaction: Transaction, table: Table) -> None:
    """Create the physical table and its entry. The caller has checked the name and the definition."""
    create_storage(transaction, table)
    enter_table(transaction, table)


def enter_table(transaction: Transaction, table: Table) -> None:
    """Make the entry of a table whose storage is there."""
    transaction.rows(
        "INSERT INTO catalog.tables VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            table.id,
            table.namespace,
            table.name,
            write_definition(table),
            table.schema_version,
            table.state,
            table.owner,
            stored(table.create_time),
            stored(table.update_time),
        ],
    )
    transaction.catalog = transaction.catalog.with_table(table)


def store_table(transaction: Transaction, table: Table) -> None:
    """Record the table as it is now, in place of what was recorded; the grants aside."""
    transaction.rows(
        "UPDATE catalog.tables SET name = $2, definition = $3, schema_version = $4, state = $5,"
        " update_time = $6 WHERE id = $1",
        [
            table.id,
            table.name,
            write_definition(table),
            table.schema_version,
            table.state,
            stored(table.update_time),
        ],
    )
    transaction.catalog = transaction.catalog.with_table(table)


def purge_table(transaction: Transaction, table: Table) -> None:
    """Remove a table, its rows, versions and grants; what was done to it stays known."""
    drop_storage(transaction, table)
    for kept, key in (("tables", "id"), ("table_versions", "table_id"), ("grants", "table_id")):
        transaction.rows(f"DELETE FROM catalog.{kept} WHERE {key} = $1", [table.id])
    transaction.catalog = transaction.catalog.without_table(table)


def record_dataset(
    transaction: Transaction, dataset: Dataset, datasets: dict[str, Dataset]
) -> None:
    """Record a dataset whose physical table this transaction has made; it is known after the commit."""
    transaction.rows(
        "INSERT INTO catalog.datasets VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [
            dataset.id,
            dataset.owner,
            write_columns(dataset.columns),
            dataset.row_count,
            stored(dataset.create_time),
            stored(dataset.expire_time),
            dataset.byte_count,
        ],
    )
    transaction.after_commit.append(lambda: datasets.update({dataset.id: dataset}))


def drop_dataset(transaction: Transaction, id_: str, datasets: dict[str, Dataset]) -> None:
    """Drop a dataset and its entry; nothing happens if it is gone."""
    transaction.rows(f"DROP TABLE IF EXISTS {dataset_relation(id_)}")
    transaction.rows("DELETE FROM catalog.datasets WHERE id = $1", [id_])

    def forget() -> None:
        datasets.pop(id_, None)

    transaction.after_commit.append(forget)


def _table(row: tuple[object, ...], grants: tuple[Grant, ...]) -> Table:
    id_, namespace, name, written, schema_version, state, owner, created, updated = row
    definition = read_definition(str(written))
    assert isinstance(schema_version, int)
    return Table(
        id=str(id_),
        namespace=str(namespace),
        name=str(name),
        description=definition.description,
        columns=definition.columns,
        unique_keys=definition.unique_keys,
        checks=definition.checks,
        labels=definition.labels,
        storage=definition.storage,
        column_ids=definition.column_ids,
        revision=definition.revision,
        delete_time=definition.delete_time,
        grants=grants,
        schema_version=schema_version,
        state=TableState(str(state)),
        owner=str(owner),
        create_time=moment(created),
        update_time=moment(updated),
    )
