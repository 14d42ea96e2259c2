"""Several changes in one commit: what Transact does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import assert_never

import pyarrow as pa

from chassis.faults import FailedPrecondition, Fault, FieldViolation
from table_service.store import dataset_rows, selections, upserts
from table_service.store import rows as row_store
from table_service.store.catalog import Dataset
from table_service.store.selections import Assignments, Selection
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
class TableVersion:
    """The table's schema has this version."""

    table: Table
    schema_version: int


# Each mutation has the `path` of what it is made of in the request, for what is wrong with it.


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertRows:
    """New rows: marked carriers, or all those of a dataset."""

    table: Table
    rows: pa.Table | Dataset
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertRows:
    """New rows, or new values for those that have the same key."""

    table: Table
    key: tuple[str, ...]
    rows: pa.Table | Dataset
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRow:
    """New values, in the only row of `values`, for one row."""

    table: Table
    row_id: int
    values: pa.Table
    expected_version: int | None
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRow:
    """One row goes."""

    table: Table
    row_id: int
    expected_version: int | None
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSelected:
    """New values for several rows."""

    table: Table
    selection: Selection
    assignments: Assignments
    parameters: Mapping[str, object]
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSelected:
    """Several rows go."""

    table: Table
    selection: Selection
    parameters: Mapping[str, object]
    path: str


Precondition = RowVersion | RowAbsent | TableVersion
Mutation = InsertRows | UpsertRows | UpdateRow | DeleteRow | UpdateSelected | DeleteSelected


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
        Fault: Whatever a mutation raises, with its path.
    """
    for at, precondition in enumerate(preconditions):
        with _blamed(f"preconditions[{at}]"):
            match precondition:
                case RowVersion(table=table, row_id=row_id, version=version):
                    row_store.require_version(transaction, table, row_id, version)
                case RowAbsent(table=table, key=key):
                    row_store.require_absent(transaction, table, key)
                case TableVersion(table=table, schema_version=version):
                    _require_schema(transaction, table, version)
    results: list[Result] = []
    # A careful transaction does one thing at a time, so that it knows which one fails.
    groups = ([m] for m in mutations) if transaction.careful else _mergeable(mutations)
    for group in groups:
        with _blamed(group):
            results += _apply_group(transaction, group)
    return results


@contextmanager
def _blamed(place: str | Sequence[Mutation]) -> Iterator[None]:
    """Say in a fault of the block which part of the request it is about, if it does not say so itself."""
    try:
        yield
    except Fault as fault:
        if not isinstance(place, str):
            row_id = fault.metadata.get("row_id")
            place = next(
                (
                    m.path
                    for m in place
                    if isinstance(m, UpdateRow | DeleteRow) and str(m.row_id) == row_id
                ),
                place[0].path,
            )
        violation = FieldViolation(field=place, description=fault.message, reason=fault.reason)
        fault.violations = fault.violations or (violation,)
        raise


def _require_schema(transaction: Transaction, table: Table, version: int) -> None:
    found = transaction.catalog.by_id.get(table.id, table)
    if found.schema_version != version:
        raise FailedPrecondition(
            "PRECONDITION_FAILED",
            f"table {table.full_name!r} has schema version {found.schema_version}, not {version}",
            table=table.full_name,
            schema_version=found.schema_version,
            expected=version,
        )


def _mergeable(mutations: Sequence[Mutation]) -> Iterator[list[Mutation]]:
    """Yield runs of neighbours that one statement can carry out."""
    for _, members in groupby(mutations, key=_likeness):
        group: list[Mutation] = []
        seen: set[int] = set()
        for member in members:
            alone = isinstance(member, UpsertRows | UpdateSelected | DeleteSelected) or (
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
    table, path = group[0].table, group[0].path
    match group[0]:
        case InsertRows(rows=Dataset() as dataset):
            return [Result(inserted_count=dataset_rows.insert(transaction, table, dataset, path))]
        case InsertRows():
            return _insert(transaction, [m for m in group if isinstance(m, InsertRows)])
        case UpsertRows(key=key, rows=Dataset() as dataset):
            inserted, updated = dataset_rows.upsert(transaction, table, key, dataset, path)
            return [Result(inserted_count=inserted, updated_count=updated)]
        case UpsertRows(key=key, rows=rows):
            created = upserts.upsert(transaction, table, key, rows, path).created
            inserted = sum(created)
            return [Result(inserted_count=inserted, updated_count=len(created) - inserted)]
        case UpdateRow():
            return _update(transaction, [m for m in group if isinstance(m, UpdateRow)])
        case DeleteRow():
            deletes = [m for m in group if isinstance(m, DeleteRow)]
            row_store.delete(
                transaction,
                table,
                [m.row_id for m in deletes],
                [m.expected_version for m in deletes],
            )
            return [Result(deleted_count=1) for _ in deletes]
        case UpdateSelected(selection=selection, assignments=assignments, parameters=values):
            count = selections.update_selected(
                transaction, table, selection, assignments, values, path
            )
            return [Result(updated_count=count)]
        case DeleteSelected(selection=selection, parameters=values):
            count = selections.delete_selected(transaction, table, selection, values)
            return [Result(deleted_count=count)]
        case other:
            assert_never(other)


def _update(transaction: Transaction, updates: Sequence[UpdateRow]) -> list[Result]:
    versions = row_store.update(
        transaction,
        updates[0].table,
        [m.row_id for m in updates],
        [m.expected_version for m in updates],
        _together([m.values for m in updates]),
        f"{updates[0].path}.values",
    )
    return [Result(updated_count=1, version=version) for version in versions]


def _insert(transaction: Transaction, inserts: Sequence[InsertRows]) -> list[Result]:
    batches = [m.rows for m in inserts if isinstance(m.rows, pa.Table)]
    first = row_store.insert(transaction, inserts[0].table, _together(batches), inserts[0].path)
    results = []
    for batch in batches:
        row_ids = range(first, first + batch.num_rows)
        results.append(Result(row_ids=row_ids, inserted_count=len(row_ids)))
        first += batch.num_rows
    return results


def _together(batches: Sequence[pa.Table]) -> pa.Table:
    return batches[0] if len(batches) == 1 else pa.concat_tables(batches).combine_chunks()
