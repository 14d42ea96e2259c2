"""Inserting rows, or updating those that have their key.

A row is found by one of the table's unique keys. Null in it equals nothing, as in SQL, so such a row is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from chassis.faults import InvalidArgument
from table_service.row_faults import VIOLATIONS_MAX, RowFault
from table_service.store import rows as row_store
from table_service.store.defaults import IN_ORDER, default_sql
from table_service.store.staging import (
    Source,
    Written,
    arrow_source,
    refuse_faults,
    stage,
    stage_changed,
    stage_new,
    write_good,
    write_staged,
    written,
)
from table_service.store.transaction import Transaction, physical
from table_service.store.violations import AT, find_faults, key_text, refusal
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, Column, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Upserted:
    """The row id of each row, in order, and whether it is new."""

    row_ids: tuple[int, ...]
    created: tuple[bool, ...]


def upsert(
    transaction: Transaction, table: Table, key: Sequence[str], rows: pa.Table, path: str = "rows"
) -> Upserted:
    """Insert marked rows of carriers, or update those that have their key.

    A new row gets defaults for what it came without; a row that is there keeps its values.

    Raises:
        InvalidArgument: KEY_NOT_FOUND; COLUMN_NOT_FOUND if the rows lack a column of it; ROW_INVALID if one
            of them does; in a careful transaction for all that is wrong, and CHECK_FAILED.
        AlreadyExists: DUPLICATE_KEY if two of the rows have one key; in a careful transaction for every key.
    """
    table = transaction.current(table)
    source = arrow_source(transaction, table, rows)
    refuse_keys(transaction, table, key, source, path)
    same = source.same(key)
    if transaction.careful:
        with stage(transaction, table):
            stage_upserted(transaction, table, key, source)
            refuse_faults(transaction, table, path, given=source.given, indexed=True)
            write_staged(transaction, table, source.values.keys() - set(key))
            done = written(transaction)
        return Upserted(row_ids=done.row_ids, created=done.created)
    found = transaction.rows(
        f"SELECT s.{AT}, t.{ROW_ID} FROM {source.relation} AS s"
        f" JOIN {physical(table)} AS t ON {same} ORDER BY s.{AT}"
    )
    row_ids = {int(str(at)): int(str(row_id)) for at, row_id in found}
    created = [at not in row_ids for at in range(rows.num_rows)]
    if row_ids:
        there = rows.filter(pc.invert(pa.array(created)))
        row_store.set_values(transaction, table, list(row_ids.values()), there, key)
    if len(row_ids) < rows.num_rows:
        new = rows.filter(pa.array(created))
        first = row_store.write(transaction, table, new)
        places = (at for at, is_new in enumerate(created) if is_new)
        row_ids.update(zip(places, range(first, first + new.num_rows), strict=True))
    return Upserted(
        row_ids=tuple(row_ids[at] for at in range(rows.num_rows)), created=tuple(created)
    )


def upsert_good(
    transaction: Transaction,
    table: Table,
    key: Sequence[str],
    rows: pa.Table,
    places: pa.Array | None,
    path: str = "rows",
) -> Written:
    """Do the same for those of the rows that can be written; `places` are theirs among those sent.

    Raises:
        InvalidArgument: KEY_NOT_FOUND or COLUMN_NOT_FOUND; ROW_INVALID for a row without all of its key.
        AlreadyExists: DUPLICATE_KEY if two of the rows have one key.
    """
    table = transaction.current(table)
    source = arrow_source(transaction, table, rows, places)
    refuse_keys(transaction, table, key, source, path)
    with stage(transaction, table):
        stage_upserted(transaction, table, key, source)
        return write_good(transaction, table, source.values.keys() - set(key), given=source.given)


def explain(
    transaction: Transaction,
    table: Table,
    rows: pa.Table,
    places: pa.Array | None,
    *,
    key: Sequence[str],
) -> list[RowFault]:
    """Return why rows could not be written, and write none."""
    table = transaction.current(table)
    source = arrow_source(transaction, table, rows, places)
    _refuse_unknown(table, key, source)
    if faults := _lacking(transaction, key, source) or _twice(transaction, key, source):
        return faults
    with stage(transaction, table):
        stage_upserted(transaction, table, key, source)
        return find_faults(transaction, table, given=source.given)


def upsert_from(
    transaction: Transaction,
    table: Table,
    key: Sequence[str],
    columns: Sequence[Column],
    source: str,
    row_count: int,
    path: str = "rows",
) -> tuple[int, int]:
    """Do the same for `source`: SQL with the stored values of `columns` and `__at`, counted from 0.

    Return how many rows were inserted and updated.

    Raises:
        InvalidArgument: KEY_NOT_FOUND or COLUMN_NOT_FOUND; in a careful transaction ROW_INVALID or
            CHECK_FAILED.
        AlreadyExists: DUPLICATE_KEY.
    """
    rows = Source(
        relation=source,
        values={column.name: f"s.{quoted(column.name)}" for column in columns},
        row_count=row_count,
    )
    refuse_keys(transaction, table, key, rows, path)
    if transaction.careful:
        with stage(transaction, table):
            stage_upserted(transaction, table, key, rows)
            refuse_faults(transaction, table, path, given=rows.given, indexed=True)
            return write_staged(transaction, table, rows.values.keys() - set(key))
    target, same = physical(table), rows.same(key)
    changes = [f"{quoted(c.name)} = s.{quoted(c.name)}" for c in columns if c.name not in key]
    updated = transaction.changed(
        f"UPDATE {target} AS t SET {', '.join([*changes, f'{VERSION} = t.{VERSION} + 1'])}"
        f" FROM {source} AS s WHERE {same}"
    )
    if updated == row_count:
        return 0, updated
    first = transaction.take_row_ids(table, row_count)
    made = default_sql(transaction, table, rows.values.keys(), row_count - updated, IN_ORDER)
    names = ", ".join(map(quoted, [*rows.values, *made]))
    values = ", ".join([*rows.values.values(), *made.values()])
    inserted = transaction.changed(
        f"INSERT INTO {target} ({names}, {ROW_ID}, {VERSION})"
        f" SELECT {values}, {first} + s.{AT}, 1 FROM {source} AS s"
        f" ANTI JOIN (SELECT {', '.join(map(quoted, key))} FROM {target}) AS t ON {same}"
        f" ORDER BY s.{AT}"
    )
    return inserted, updated


def stage_upserted(
    transaction: Transaction, table: Table, key: Sequence[str], source: Source
) -> None:
    """Stage what an upsert makes of the table: rows that are there with new values, and new ones."""
    same = source.same(key)
    stage_changed(transaction, table, source, same)
    stage_new(transaction, table, source, f"NOT EXISTS (FROM {physical(table)} AS t WHERE {same})")


def refuse_keys(
    transaction: Transaction, table: Table, key: Sequence[str], source: Source, path: str
) -> None:
    """Refuse rows whose keys do not say which rows are meant."""
    _refuse_unknown(table, key, source)
    faults = _lacking(transaction, key, source) or _twice(transaction, key, source)
    if faults:
        raise refusal(faults, path, indexed=True)


def _refuse_unknown(table: Table, key: Sequence[str], source: Source) -> None:
    for name in key:
        table.column(name)
        if name not in source.values:
            raise InvalidArgument(
                "COLUMN_NOT_FOUND", f"the rows have no key column {name!r}", column=name
            )
    if not any(set(key) == set(unique.columns) for unique in table.unique_keys):
        raise InvalidArgument(
            "KEY_NOT_FOUND",
            f"table {table.full_name!r} has no unique key ({', '.join(key)})",
            table=table.full_name,
        )


def _lacking(transaction: Transaction, key: Sequence[str], source: Source) -> list[RowFault]:
    return [
        RowFault(
            index=int(str(at)),
            column=name,
            reason="ROW_INVALID",
            message=f"row {at}, column {name!r}: a row to upsert has every column of its key",
        )
        for name in key
        if name in source.missing
        for [at] in transaction.rows(
            f"SELECT s.{AT} FROM {source.relation} AS s WHERE {source.missing[name]}"
            f" ORDER BY s.{AT} LIMIT {VIOLATIONS_MAX}"
        )
    ]


def _twice(transaction: Transaction, key: Sequence[str], source: Source) -> list[RowFault]:
    values = [source.values[name] for name in key]
    within = f"PARTITION BY {', '.join(values)}"
    first = f"min(s.{AT}) OVER ({within})"
    found = transaction.rows(
        f"SELECT s.{AT}, {first} AS __first, {', '.join(f'{value}::VARCHAR' for value in values)}"
        f" FROM {source.relation} AS s WHERE {' AND '.join(f'{v} IS NOT NULL' for v in values)}"
        f" QUALIFY s.{AT} > __first ORDER BY s.{AT} LIMIT {VIOLATIONS_MAX}"
    )
    return [
        RowFault(
            index=int(str(at)),
            column=key[0] if len(key) == 1 else "",
            reason="DUPLICATE_KEY",
            message=f"row {at}: row {earlier} has {key_text(key, texts)} too",
            detail=key_text(key, texts),
        )
        for at, earlier, *texts in found
    ]
