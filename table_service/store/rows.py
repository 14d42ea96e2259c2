"""Changing and reading rows inside a transaction, a statement for as many rows as possible."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa

from chassis.faults import Aborted, FailedPrecondition, NotFound
from table_service.row_faults import RowFault
from table_service.store.defaults import column_names, filled, mark
from table_service.store.staging import (
    Written,
    arrow_source,
    refuse_faults,
    stage,
    stage_changed,
    stage_new,
    write_good,
    write_staged,
)
from table_service.store.transaction import Transaction, physical
from table_service.store.violations import AT, find_faults
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, Column, incoming, quoted


def insert(transaction: Transaction, table: Table, rows: pa.Table, path: str = "rows") -> int:
    """Insert rows of carriers; return the first of their consecutive row ids.

    `rows` has columns of the table by name, and marks (see `defaults`) where some of them lack a column; what
    does not come gets its default, and else null. `path` is where they stand in the request.

    Raises:
        InvalidArgument: ROW_INVALID or CHECK_FAILED, in a careful transaction.
        AlreadyExists: DUPLICATE_KEY, in a careful transaction.
    """
    table = transaction.current(table)
    if transaction.careful:
        with stage(transaction, table):
            first = stage_new(transaction, table, arrow_source(transaction, table, rows))
            refuse_faults(transaction, table, path, given=None, indexed=True)
            write_staged(transaction, table, ())
        return first
    return write(transaction, table, rows)


def write(transaction: Transaction, table: Table, rows: pa.Table) -> int:
    """Insert rows without a look at them; the table is as this transaction sees it."""
    rows = filled(transaction, table, rows)
    first = transaction.take_row_ids(table, rows.num_rows)
    ids = pa.array(range(first, first + rows.num_rows), pa.int64())
    view = transaction.show(rows.append_column(ROW_ID, ids))
    columns = [table.column(name) for name in rows.schema.names]
    transaction.rows(
        f"INSERT INTO {physical(table)} ({_names(columns)}, {ROW_ID}, {VERSION})"
        f" SELECT {_incoming_list(columns)}, {ROW_ID}, 1 FROM {view}"
    )
    return first


def insert_good(
    transaction: Transaction, table: Table, rows: pa.Table, places: pa.Array | None
) -> Written:
    """Insert those of the rows that can be; `places` are theirs among those sent, if some were left out."""
    table = transaction.current(table)
    with stage(transaction, table):
        stage_new(transaction, table, arrow_source(transaction, table, rows, places))
        return write_good(transaction, table, given=None)


def explain(
    transaction: Transaction, table: Table, rows: pa.Table, places: pa.Array | None
) -> list[RowFault]:
    """Return why rows could not be inserted, and insert none."""
    table = transaction.current(table)
    with stage(transaction, table):
        stage_new(transaction, table, arrow_source(transaction, table, rows, places))
        return find_faults(transaction, table, given=None)


def update(
    transaction: Transaction,
    table: Table,
    row_ids: Sequence[int],
    versions: Sequence[int | None],
    values: pa.Table,
    path: str = "values",
) -> list[int]:
    """Give rows new values and return their new versions, both in order.

    `values` has one row of carriers for each of `row_ids`, which are distinct; `versions` are those that
    the rows must have.

    Raises:
        NotFound: ROW_NOT_FOUND.
        Aborted: ETAG_MISMATCH.
        InvalidArgument: ROW_INVALID or CHECK_FAILED, in a careful transaction.
        AlreadyExists: DUPLICATE_KEY, in a careful transaction.
    """
    table = transaction.current(table)
    found = check_versions(transaction, table, row_ids, versions)
    if transaction.careful:
        ids = pa.array(row_ids, pa.int64())
        source = arrow_source(transaction, table, values, ids)
        with stage(transaction, table):
            stage_changed(transaction, table, source, f"t.{ROW_ID} = s.{AT}")
            refuse_faults(transaction, table, path, given=source.given, indexed=False)
            write_staged(transaction, table, source.values)
    else:
        set_values(transaction, table, row_ids, values)
    return [version + 1 for version in found]


def set_values(
    transaction: Transaction,
    table: Table,
    row_ids: Sequence[int],
    values: pa.Table,
    key: Collection[str] = (),
) -> None:
    """Give rows new values, marked where they keep the old ones; the columns of `key` are theirs already."""
    names = column_names(values)
    view = transaction.show(values.append_column(ROW_ID, pa.array(row_ids, pa.int64())))
    changes = []
    for column in (table.column(name) for name in names if name not in key):
        value = incoming(f"s.{quoted(column.name)}", column.type)
        if mark(column.name) in values.schema.names:
            missing, kept = f"s.{quoted(mark(column.name))}", f"t.{quoted(column.name)}"
            value = f"CASE WHEN {missing} THEN {kept} ELSE {value} END"
        changes.append(f"{quoted(column.name)} = {value}")
    # A constant bound on _row_id lets DuckDB skip every row group without one of the rows.
    transaction.rows(
        f"UPDATE {physical(table)} AS t SET {', '.join([*changes, f'{VERSION} = t.{VERSION} + 1'])}"
        f" FROM {view} AS s WHERE t.{ROW_ID} = s.{ROW_ID} AND t.{ROW_ID} BETWEEN $1 AND $2",
        [min(row_ids), max(row_ids)],
    )


def delete(
    transaction: Transaction,
    table: Table,
    row_ids: Sequence[int],
    versions: Sequence[int | None],
) -> None:
    """Delete rows, which are distinct.

    Raises:
        NotFound: ROW_NOT_FOUND.
        Aborted: ETAG_MISMATCH.
    """
    table = transaction.current(table)
    check_versions(transaction, table, row_ids, versions)
    transaction.rows(f"DELETE FROM {physical(table)} WHERE {_any_of(row_ids)}", _bounds(row_ids))


def check_versions(
    transaction: Transaction,
    table: Table,
    row_ids: Sequence[int],
    versions: Sequence[int | None],
) -> list[int]:
    """Return the versions that rows have, in order.

    Raises:
        NotFound: ROW_NOT_FOUND.
        Aborted: ETAG_MISMATCH if one is not as expected.
    """
    found = row_versions(transaction, table, row_ids)
    for row_id, expected in zip(row_ids, versions, strict=True):
        if row_id not in found:
            raise row_not_found(table, row_id)
        if expected is not None and found[row_id] != expected:
            raise Aborted(
                "ETAG_MISMATCH",
                f"row {row_id} is at version {found[row_id]}, not {expected}",
                row_id=row_id,
                version=found[row_id],
                expected=expected,
            )
    return [found[row_id] for row_id in row_ids]


def row_versions(transaction: Transaction, table: Table, row_ids: Sequence[int]) -> dict[int, int]:
    """Return the versions of those of the rows that exist."""
    found = transaction.rows(
        f"SELECT {ROW_ID}, {VERSION} FROM {physical(table)} WHERE {_any_of(row_ids)}",
        _bounds(row_ids),
    )
    return {
        row_id: version
        for row_id, version in found
        if isinstance(row_id, int) and isinstance(version, int)
    }


def require_version(transaction: Transaction, table: Table, row_id: int, version: int) -> None:
    """Check a precondition.

    Raises:
        FailedPrecondition: PRECONDITION_FAILED.
    """
    table = transaction.current(table)
    if row_versions(transaction, table, [row_id]).get(row_id) != version:
        raise FailedPrecondition(
            "PRECONDITION_FAILED",
            f"row {row_id} of {table.full_name!r} is not at version {version}",
            table=table.full_name,
            row_id=row_id,
            version=version,
        )


def require_absent(transaction: Transaction, table: Table, key: pa.Table) -> None:
    """Check that no row has the values in the only row of `key`. Null is equal to nothing.

    Raises:
        FailedPrecondition: PRECONDITION_FAILED.
    """
    table = transaction.current(table)
    columns = [table.column(name) for name in key.schema.names]
    view = transaction.show(key)
    same = " AND ".join(
        f"t.{quoted(c.name)} = {incoming('s.' + quoted(c.name), c.type)}" for c in columns
    )
    if transaction.rows(f"SELECT 1 FROM {physical(table)} t JOIN {view} s ON {same} LIMIT 1"):
        raise FailedPrecondition(
            "PRECONDITION_FAILED",
            f"a row of {table.full_name!r} has these values",
            table=table.full_name,
        )


def row_not_found(table: Table, row_id: int) -> NotFound:
    """Return the fault of a row that is not there."""
    return NotFound(
        "ROW_NOT_FOUND",
        f"no row {row_id} in table {table.full_name!r}",
        table=table.full_name,
        row_id=row_id,
    )


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(quoted(column.name) for column in columns)


def _incoming_list(columns: Sequence[Column]) -> str:
    return ", ".join(incoming(quoted(column.name), column.type) for column in columns)


def _any_of(row_ids: Sequence[int]) -> str:
    """Return a condition whose constant bounds let DuckDB skip row groups; see `_bounds`."""
    if len(row_ids) == 1:
        return f"{ROW_ID} = $1"
    return f"{ROW_ID} BETWEEN $1 AND $2 AND {ROW_ID} IN (SELECT unnest($3::BIGINT[]))"


def _bounds(row_ids: Sequence[int]) -> tuple[object, ...]:
    if len(row_ids) == 1:
        return (row_ids[0],)
    return min(row_ids), max(row_ids), list(row_ids)
