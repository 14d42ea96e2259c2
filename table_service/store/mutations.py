"""Several changes in one commit: what Transact does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import assert_never

import pyarrow as pa

from table_service.store import dataset_rows
from table_service.store import rows as row_store
from table_service.store.catalog import Dataset
from table_service.store.transaction import Transaction
from table_service.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class RowVersion:
    """The row exists and has this version."""

    table: Table
    row_id: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAbsent:
    """No row has the values in the only row of `key`."""

    table: Table
    key: pa.Table


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertRows:
    """New rows: carriers, or all those of a dataset."""

    table: Table
    rows: pa.Table | Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertRows:
    """New rows, or new values for those that have the same key."""

    table: Table
    key: tuple[str, ...]
    rows: pa.Table | Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRow:
    """New values, in the only row of `values`, for one row."""

    table: Table
    row_id: int
    values: pa.Table
    expected_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRow:
    """One row goes."""

    table: Table
    row_id: int
    expected_version: int | None


Precondition = RowVersion | RowAbsent
Mutation = InsertRows | UpsertRows | UpdateRow | DeleteRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one mutation did."""

    row_ids: range = range(0)
    inserted_count: int = 0
    updated_count: int = 0
    deleted_count: int = 0
    version: int = 0


def apply(
    transaction: Transaction, preconditions: Sequence[Precondition], mutations: Sequence[Mutation]
) -> list[Result]:
    """Check every precondition, then apply the mutations in order; one result a mutation.

    Raises:
        FailedPrecondition: PRECONDITION_FAILED for the first that does not hold.
        Fault: Whatever a mutation raises.
    """
    for precondition in preconditions:
        match precondition:
            case RowVersion(table=table, row_id=row_id, version=version):
                row_store.require_version(transaction, table, row_id, version)
            case RowAbsent(table=table, key=key):
                row_store.require_absent(transaction, table, key)
    results: list[Result] = []
    for group in _mergeable(mutations):
        results += _apply_group(transaction, group)
    return results


def _mergeable(mutations: Sequence[Mutation]) -> Iterator[list[Mutation]]:
    """Yield runs of neighbours that one statement can carry out."""
    for _, members in groupby(mutations, key=_likeness):
        group: list[Mutation] = []
        seen: set[int] = set()
        for member in members:
            alone = isinstance(member, UpsertRows) or (
                isinstance(member, InsertRows) and isinstance(member.rows, Dataset)
            )
            again = isinstance(member, (UpdateRow, DeleteRow)) and member.row_id in seen
            if group and (alone or again):
                yield group
                group, seen = [], set()
            group.append(member)
            if isinstance(member, (UpdateRow, DeleteRow)):
                seen.add(member.row_id)
        yield group


def _likeness(mutation: Mutation) -> tuple[object, ...]:
    columns: tuple[str, ...] = ()
    if isinstance(mutation, UpdateRow):
        columns = tuple(mutation.values.schema.names)
    elif isinstance(mutation, InsertRows) and isinstance(mutation.rows, pa.Table):
        columns = tuple(mutation.rows.schema.names)
    return type(mutation), mutation.table.id, columns


def _apply_group(transaction: Transaction, group: Sequence[Mutation]) -> list[Result]:
    table = group[0].table
    match group[0]:
        case InsertRows(rows=Dataset() as dataset):
            return [Result(inserted_count=dataset_rows.insert(transaction, table, dataset))]
        case InsertRows():
            return _insert(transaction, table, [m.rows for m in group if isinstance(m, InsertRows)])
        case UpsertRows(key=key, rows=Dataset() as dataset):
            inserted, updated = dataset_rows.upsert(transaction, table, key, dataset)
            return [Result(inserted_count=inserted, updated_count=updated)]
        case UpsertRows(key=key, rows=rows):
            inserted, updated = row_store.upsert(transaction, table, key, rows)
            return [Result(inserted_count=inserted, updated_count=updated)]
        case UpdateRow():
            updates = [m for m in group if isinstance(m, UpdateRow)]
            versions = row_store.update(
                transaction,
                table,
                [m.row_id for m in updates],
                [m.expected_version for m in updates],
                _together([m.values for m in updates]),
            )
            return [Result(updated_count=1, version=version) for version in versions]
        case DeleteRow():
            deletes = [m for m in group if isinstance(m, DeleteRow)]
            row_store.delete(
                transaction,
                table,
                [m.row_id for m in deletes],
                [m.expected_version for m in deletes],
            )
            return [Result(deleted_count=1) for _ in deletes]
        case other:
            assert_never(other)


def _insert(transaction: Transaction, table: Table, batches: Sequence[pa.Table]) -> list[Result]:
    first = row_store.insert(transaction, table, _together(batches))
    results = []
    for batch in batches:
        row_ids = range(first, first + batch.num_rows)
        results.append(Result(row_ids=row_ids, inserted_count=len(row_ids)))
        first += batch.num_rows
    return results


def _together(batches: Sequence[pa.Table]) -> pa.Table:
    return batches[0] if len(batches) == 1 else pa.concat_tables(batches).combine_chunks()
