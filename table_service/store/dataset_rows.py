"""Rows that go from a dataset into a table without leaving the store."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.faults import FieldViolation, InvalidArgument, NotFound
from table_service.cells import shown
from table_service.store import upserts
from table_service.store.catalog import Dataset
from table_service.store.defaults import default_sql
from table_service.store.staging import Source, refuse_faults, stage, stage_new
from table_service.store.transaction import Transaction, dataset_relation, physical
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, Column, Kind, Type, precision, quoted, sql_type
from table_service.value_bounds import outside_bounds

VIOLATIONS_MAX = 100

_WHOLE = (Kind.INT16, Kind.INT32, Kind.INT64, Kind.INT128)
_NUMBERS = frozenset({*_WHOLE, Kind.DECIMAL, Kind.FLOAT, Kind.DOUBLE})
_TEXTS = frozenset({Kind.STRING, Kind.JSON})


def insert(transaction: Transaction, table: Table, dataset: Dataset, path: str = "dataset") -> int:
    """Insert every row, with the defaults of columns that the dataset lacks; return how many.

    `path` is what the request calls the dataset.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND, or ROW_INVALID for values that do not fit; in a careful transaction
            CHECK_FAILED.
        AlreadyExists: DUPLICATE_KEY, in a careful transaction.
    """
    table = transaction.current(table)
    _check_missing(table, dataset)
    columns, relation = _source(transaction, table, dataset, path)
    names = [column.name for column in columns]
    if transaction.careful:
        source = Source(
            relation=relation,
            values={name: f"s.{quoted(name)}" for name in names},
            row_count=dataset.row_count,
        )
        with stage(transaction, table):
            stage_new(transaction, table, source)
            refuse_faults(transaction, table, path, given=None, indexed=True)
    made = default_sql(transaction, table, names, dataset.row_count, "__at")
    first = transaction.take_row_ids(table, dataset.row_count)
    return transaction.changed(
        f"INSERT INTO {physical(table)}"
        f" ({', '.join(map(quoted, [*names, *made]))}, {ROW_ID}, {VERSION})"
        f" SELECT {', '.join([*map(quoted, names), *made.values()])}, {first} + __at, 1"
        f" FROM {relation}"
    )


def upsert(
    transaction: Transaction,
    table: Table,
    key: Sequence[str],
    dataset: Dataset,
    path: str = "dataset",
) -> tuple[int, int]:
    """Insert every row, or update those that have its key; return how many of each.

    Raises:
        InvalidArgument: KEY_NOT_FOUND or COLUMN_NOT_FOUND, or ROW_INVALID for values that do not fit; in a
            careful transaction CHECK_FAILED.
        AlreadyExists: DUPLICATE_KEY if two rows of the dataset have one key.
    """
    table = transaction.current(table)
    columns, relation = _source(transaction, table, dataset, path)
    return upserts.upsert_from(transaction, table, key, columns, relation, dataset.row_count, path)


def _source(
    transaction: Transaction, table: Table, dataset: Dataset, path: str
) -> tuple[list[Column], str]:
    """Return the table's columns that the dataset has, and SQL with their values and `__at`."""
    if not transaction.rows("SELECT 1 FROM catalog.datasets WHERE id = $1", [dataset.id]):
        # It was there when the request was read.
        raise NotFound("DATASET_NOT_FOUND", f"no dataset {dataset.id!r}", dataset=dataset.id)
    columns = [table.column(column.name) for column in dataset.columns]
    relation = dataset_relation(dataset.id)
    doubtful: list[tuple[Column, str]] = []
    selected = []
    for column, source in zip(columns, dataset.columns, strict=True):
        name = quoted(column.name)
        # By their SQL: a table's struct may describe its fields, which a result's does not.
        if sql_type(source.type) == sql_type(column.type):
            selected.append(name)
        else:
            doubtful.append((column, _misfits(name, source.type, column)))
            selected.append(f"CAST({name} AS {sql_type(column.type)}) AS {name}")
        if outside := outside_bounds(f"TRY_CAST({name} AS {sql_type(column.type)})", column.type):
            doubtful.append((column, outside))
        if column.not_null:
            doubtful.append((column, f"{name} IS NULL"))
    _refuse_misfits(
        transaction, f"(SELECT *, {row_number(columns)} AS __at FROM {relation})", doubtful, path
    )
    # A dataset is written once and never changed, so its physical order is its order.
    at = row_number(columns)
    return columns, f"(SELECT {', '.join(selected)}, {at} AS __at FROM {relation})"


def row_number(columns: Sequence[Column]) -> str:
    """Return SQL that counts the rows of a dataset with these columns from 0."""
    # A column of that name hides DuckDB's own.
    if any(column.name.lower() == "rowid" for column in columns):
        return "row_number() OVER () - 1"
    return "rowid"


def _check_missing(table: Table, dataset: Dataset) -> None:
    names = {column.name for column in dataset.columns}
    for column in table.columns:
        if column.required and column.name not in names:
            raise InvalidArgument(
                "ROW_INVALID",
                f"the dataset has no column {column.name!r}, which refuses null",
                column=column.name,
            )


def _misfits(name: str, source: Type, column: Column) -> str:
    """Return SQL that is true for a value that the column's type cannot hold.

    Raises:
        InvalidArgument: ROW_INVALID if no value of the source's type could.
    """
    target = column.type
    cast = f"TRY_CAST({name} AS {sql_type(target)})"
    fails = f"({name} IS NOT NULL AND {cast} IS NULL)"
    if {source.kind, target.kind} <= _TEXTS or (source.kind, target.kind) == (
        Kind.STRING,
        Kind.ENUM,
    ):
        return fails
    if {source.kind, target.kind} <= _NUMBERS:
        if target.kind in (Kind.DOUBLE, Kind.FLOAT):
            return fails
        if source.kind in (Kind.DOUBLE, Kind.FLOAT) and target.kind is Kind.DECIMAL:
            # What a double shows is what is meant: 0.1 is 0.1, not its binary expansion.
            exact = f"TRY_CAST({name}::VARCHAR AS DECIMAL({precision(target)},{target.scale}))"
            return f"({fails} OR {exact}::DOUBLE IS DISTINCT FROM {name}::DOUBLE)"
        return f"({fails} OR CAST({cast} AS {sql_type(source)}) IS DISTINCT FROM {name})"
    raise InvalidArgument(
        "ROW_INVALID",
        f"column {column.name!r}: {source.kind} does not fit {target.kind}; cast it in the query",
        column=column.name,
    )


def _refuse_misfits(
    transaction: Transaction, relation: str, doubtful: Sequence[tuple[Column, str]], path: str
) -> None:
    violations: list[FieldViolation] = []
    for column, misfits in doubtful:
        found = transaction.rows(
            f"SELECT __at, {quoted(column.name)}::VARCHAR FROM {relation} WHERE {misfits}"
            f" LIMIT {VIOLATIONS_MAX - len(violations)}"
        )
        for at, text in found:
            why = f"{shown(text)} does not fit {column.type.kind}"
            if text is None:
                why = "null in a column that refuses it"
            violations.append(
                FieldViolation(
                    field=f"{path}[{at}].{column.name}",
                    description=f"row {at}, column {column.name!r}: {why}",
                    reason="ROW_INVALID",
                )
            )
        if len(violations) >= VIOLATIONS_MAX:
            break
    if violations:
        raise InvalidArgument(
            "ROW_INVALID", violations[0].description, violations=tuple(violations)
        )
