"""Staged rows into a table whose rows the writer may touch: upserts and replacements, in the writer's turn.

What takes long, reading and converting, was done before (`imports.make_stage`); here the rows only move.
"""

from __future__ import annotations

from collections.abc import Sequence

from table_service.store.imports import insert
from table_service.store.staging import Source, stage, write_staged
from table_service.store.transaction import Transaction, physical
from table_service.store.upserts import stage_upserted
from table_service.tables import Table
from table_service.types import VERSION, quoted


def upsert(
    transaction: Transaction, table: Table, key: Sequence[str], source: Source
) -> tuple[int, int]:
    """Insert rows, or update those that have their key; return how many were created and updated.

    The rows are counted from 1, and no two of them have one key. What one came without keeps its value.
    """
    if any(
        name in source.values
        for unique in table.unique_keys
        for name in set(unique.columns) - set(key)
    ):
        return _upsert_staged(transaction, table, key, source)
    target = physical(table)
    same = source.same(key)
    changes = [
        f"{quoted(name)} = {source.value(name, f't.{quoted(name)}')}"
        for name in source.values
        if name not in key
    ]
    changes.append(f"{VERSION} = t.{VERSION} + 1")
    updated = transaction.changed(
        f"UPDATE {target} AS t SET {', '.join(changes)} FROM {source.relation} AS s WHERE {same}"
    )
    if updated == source.row_count - 1:
        return 0, updated
    new = f"NOT EXISTS (FROM {target} AS t WHERE {same})"
    return insert(transaction, table, source, (new, source.row_count - 1 - updated)), updated


def _upsert_staged(
    transaction: Transaction, table: Table, key: Sequence[str], source: Source
) -> tuple[int, int]:
    """Do the same where another key changes: rows may come by the values of rows that have yet to change."""
    with stage(transaction, table):
        stage_upserted(transaction, table, key, source)
        return write_staged(transaction, table, source.values.keys() - set(key))


def replace_all(transaction: Transaction, table: Table, source: Source) -> tuple[int, int]:
    """Put the rows in place of all that the table has; return how many came and went."""
    gone = transaction.changed(f"DELETE FROM {physical(table)}")
    return insert(transaction, table, source), gone
