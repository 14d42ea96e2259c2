"""Migrations: a table's rows and definition changed to another schema, within one transaction of the writer.

DuckDB alters a table where it can; else the rows are written anew into another physical table, and the old
one is dropped. Either way the physical table has another name afterwards, so that no statement made for the
old schema can read or write the new one.
"""

from __future__ import annotations

from dataclasses import replace

from table_service.schema_changes import Applied, Changes
from table_service.schema_operations import (
    AddColumn,
    DropColumn,
    RenameColumn,
    SetDefault,
    SetNotNull,
)
from table_service.schema_requirements import Method, method_of, methods_of
from table_service.sql_literals import plain_literal
from table_service.store.catalog import store_table
from table_service.store.defaults import counter
from table_service.store.migration_stages import columns_list, stages
from table_service.store.storage import create_storage, drop_storage
from table_service.store.transaction import Transaction, physical
from table_service.table_updates import revised
from table_service.tables import Table
from table_service.types import Column, Default, DefaultFunction, quoted, sql_type

_COUNTED_MAX = 1 << 62


def migrated(table: Table, changes: Changes) -> Table:
    """Return the table's definition after the changes; its rows stand where they stood."""
    after = changes.after
    return replace(
        table,
        columns=after.columns,
        unique_keys=after.unique_keys,
        checks=after.checks,
        column_ids=changes.column_ids,
        schema_version=table.schema_version + 1,
    )


def migrate(transaction: Transaction, table: Table, changes: Changes, row_count: int) -> Table:
    """Change a table, whose rows have been found to allow it, and return it as it is then.

    `row_count` is how many rows it has.
    """
    methods = methods_of(changes.applied)
    after = revised(migrated(table, changes), transaction.now)
    if any(method is not Method.DEFINITION for method in methods):
        after = replace(after, storage=f"{table.id}_v{after.schema_version}")
    if Method.REBUILD in methods:
        _rebuild(transaction, table, after, changes, row_count)
    elif Method.IN_PLACE in methods:
        _alter(transaction, table, after, changes)
    for applied in changes.applied:
        _count_on(transaction, after, applied)
    store_table(transaction, after)
    return after


def _rebuild(
    transaction: Transaction, table: Table, after: Table, changes: Changes, row_count: int
) -> None:
    def first_of(column: Column) -> int:
        return transaction.take_ids(counter(table, column), row_count) if row_count else 1

    made = stages(
        transaction.cursor, table, changes, transaction.now, first_of=first_of, strict=True
    )
    create_storage(transaction, after)
    listed = columns_list(after.columns)
    transaction.rows(
        f"INSERT INTO {physical(after)} ({listed}) SELECT {listed} FROM {made.relations[-1]}"
    )
    drop_storage(transaction, table)


def _alter(transaction: Transaction, table: Table, after: Table, changes: Changes) -> None:
    target = physical(table)
    for applied in changes.applied:
        if method_of(applied) is Method.IN_PLACE:
            for alteration in _alterations(applied, transaction):
                transaction.rows(f"ALTER TABLE {target} {alteration}")
    transaction.rows(f"ALTER TABLE {target} RENAME TO {quoted(after.storage)}")


def _alterations(applied: Applied, transaction: Transaction) -> list[str]:
    match applied.operation:
        case AddColumn(column=column):
            name, added = quoted(column.name), f"{quoted(column.name)} {sql_type(column.type)}"
            if column.default is None:
                return [f"ADD COLUMN {added}"]
            value = plain_literal(column.default, column.type, transaction.now)
            # The rows that are there get it, and those to come from the service.
            return [f"ADD COLUMN {added} DEFAULT {value}", f"ALTER COLUMN {name} DROP DEFAULT"]
        case DropColumn(column=name):
            return [f"DROP COLUMN {quoted(name)}"]
        case RenameColumn(column=name, new_name=new):
            return [f"RENAME COLUMN {quoted(name)} TO {quoted(new)}"]
        case SetNotNull(column=name):
            return [f"ALTER COLUMN {quoted(name)} DROP NOT NULL"]
        case other:
            raise AssertionError(f"{type(other).__name__} changes no table where it is")


def _count_on(transaction: Transaction, table: Table, applied: Applied) -> None:
    """Have the sequence that a column gets go on after the greatest value that it holds."""
    match applied.operation:
        case SetDefault(column=name, default=Default(function=DefaultFunction.SEQUENCE)):
            given = applied.after.column(name)
            assert given is not None
        case _:
            return
    for column in table.columns:
        if column.id != given.id or column.default != given.default:
            continue
        # Values past the limit are no numbers that a counter comes to.
        [[greatest]] = transaction.rows(
            f"SELECT max({quoted(column.name)}) FROM {physical(table)}"
            f" WHERE {quoted(column.name)} BETWEEN 1 AND {_COUNTED_MAX}"
        )
        if isinstance(greatest, int):
            first = transaction.take_ids(counter(table, column), 1)
            if first < greatest:
                transaction.take_ids(counter(table, column), greatest - first)
