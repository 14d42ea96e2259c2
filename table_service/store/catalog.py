"""The catalog as it is kept: definitions of tables and datasets, and the schemas they live in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from table_service.store import receipts, row_ids
from table_service.store.database import CATALOG
from table_service.store.transaction import Transaction, dataset_relation, physical
from table_service.tables import NAMESPACES, Catalog, Table, TableState
from table_service.types import ROW_ID, VERSION, Column, Kind, Type, quoted, sql_type

_LAYOUT_VERSION = 1

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
    create_time: datetime
    expire_time: datetime


class LayoutUnknown(Exception):  # a state of the file, said to whoever starts the service
    """The file was written by a newer version of the service."""


def prepare(cursor: duckdb.DuckDBPyConnection) -> None:
    """Create what is missing of the store's own tables.

    Raises:
        LayoutUnknown: If the file has a layout that this version does not know.
    """
    cursor.execute("BEGIN TRANSACTION")
    for statement in _TABLES:
        cursor.execute(statement)
    versions = cursor.execute("SELECT version FROM catalog.layout").fetchall()
    if versions and versions[0][0] != _LAYOUT_VERSION:
        cursor.execute("ROLLBACK")
        raise LayoutUnknown(f"the file has layout {versions[0][0]}, not {_LAYOUT_VERSION}")
    if not versions:
        cursor.execute("INSERT INTO catalog.layout VALUES ($1)", [_LAYOUT_VERSION])
    cursor.execute("COMMIT")


def load_catalog(cursor: duckdb.DuckDBPyConnection) -> Catalog:
    """Return every table that is kept."""
    rows = cursor.execute(
        "SELECT id, namespace, name, definition, schema_version, state, owner, create_time,"
        " update_time FROM catalog.tables"
    ).fetchall()
    tables = [_table(row) for row in rows]
    return Catalog(
        active={(t.namespace, t.name): t for t in tables if t.state is TableState.ACTIVE},
        by_id={table.id: table for table in tables},
    )


def load_datasets(cursor: duckdb.DuckDBPyConnection) -> dict[str, Dataset]:
    """Return every dataset that is kept, by id."""
    rows = cursor.execute(
        "SELECT id, owner, columns, row_count, create_time, expire_time FROM catalog.datasets"
    ).fetchall()
    return {
        id_: Dataset(
            id=id_,
            owner=owner,
            columns=_columns(json.loads(columns)),
            row_count=row_count,
            create_time=_moment(created),
            expire_time=_moment(expires),
        )
        for id_, owner, columns, row_count, created, expires in rows
    }


def create_table(transaction: Transaction, table: Table) -> None:
    """Create the physical table and its entry. The caller has checked the name and the definition."""
    columns = [
        f"{ROW_ID} BIGINT NOT NULL",
        f"{VERSION} BIGINT NOT NULL",
        *(
            f"{quoted(c.name)} {sql_type(c.type)}{' NOT NULL' if c.not_null else ''}"
            for c in table.columns
        ),
        *(f"UNIQUE ({', '.join(map(quoted, key))})" for key in table.unique_keys),
    ]
    transaction.rows(f"CREATE TABLE {physical(table)} ({', '.join(columns)})")
    definition = {
        "description": table.description,
        "columns": [_column_value(column) for column in table.columns],
        "unique_keys": table.unique_keys,
    }
    transaction.rows(
        "INSERT INTO catalog.tables VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            table.id,
            table.namespace,
            table.name,
            json.dumps(definition),
            table.schema_version,
            table.state,
            table.owner,
            _stored(table.create_time),
            _stored(table.update_time),
        ],
    )
    transaction.catalog = transaction.catalog.with_table(table)


def store_state(transaction: Transaction, table: Table) -> None:
    """Record the table's state."""
    transaction.rows(
        "UPDATE catalog.tables SET state = $1, update_time = $2 WHERE id = $3",
        [table.state, _stored(table.update_time), table.id],
    )
    transaction.catalog = transaction.catalog.with_table(table)


def record_dataset(
    transaction: Transaction, dataset: Dataset, datasets: dict[str, Dataset]
) -> None:
    """Record a dataset whose physical table this transaction has made; it is known after the commit."""
    transaction.rows(
        "INSERT INTO catalog.datasets VALUES ($1, $2, $3, $4, $5, $6)",
        [
            dataset.id,
            dataset.owner,
            json.dumps([_column_value(column) for column in dataset.columns]),
            dataset.row_count,
            _stored(dataset.create_time),
            _stored(dataset.expire_time),
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


def _table(row: tuple[object, ...]) -> Table:
    id_, namespace, name, written, schema_version, state, owner, created, updated = row
    definition = json.loads(str(written))
    assert isinstance(schema_version, int)
    return Table(
        id=str(id_),
        namespace=str(namespace),
        name=str(name),
        description=definition["description"],
        columns=_columns(definition["columns"]),
        unique_keys=tuple(tuple(key) for key in definition["unique_keys"]),
        schema_version=schema_version,
        state=TableState(str(state)),
        owner=str(owner),
        create_time=_moment(created),
        update_time=_moment(updated),
    )


_Json = Mapping[str, object]


def _column_value(column: Column) -> _Json:
    return {
        "name": column.name,
        "type": _type_value(column.type),
        "not_null": column.not_null,
        "description": column.description,
    }


def _type_value(type_: Type) -> _Json:
    return {
        "kind": type_.kind,
        "precision": type_.precision,
        "scale": type_.scale,
        "element": _type_value(type_.element) if type_.element else None,
        "fields": [_column_value(field) for field in type_.fields],
    }


def _columns(values: object) -> tuple[Column, ...]:
    assert isinstance(values, list)
    return tuple(
        Column(
            name=value["name"],
            type=_type(value["type"]),
            not_null=value["not_null"],
            description=value["description"],
        )
        for value in values
    )


def _type(value: object) -> Type:
    assert isinstance(value, dict)
    return Type(
        kind=Kind(value["kind"]),
        precision=value["precision"],
        scale=value["scale"],
        element=_type(value["element"]) if value["element"] else None,
        fields=_columns(value["fields"]),
    )


def _stored(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _moment(stored: object) -> datetime:
    assert isinstance(stored, datetime)
    return stored.replace(tzinfo=UTC)
