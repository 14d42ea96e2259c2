"""Changing and reading rows inside a transaction, a statement for as many rows as possible."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from chassis.faults import Aborted, FailedPrecondition, InvalidArgument, NotFound
from table_service.store.errors import duplicate_key
from table_service.store.transaction import Transaction, physical
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, Column, incoming, quoted


def insert(transaction: Transaction, table: Table, rows: pa.Table) -> int:
    """Insert rows of carriers; return the first of their consecutive row ids.

    `rows` has columns of the table by name; the others are null.
    """
    table = transaction.current(table)
    first = transaction.take_row_ids(table, rows.num_rows)
    ids = pa.array(range(first, first + rows.num_rows), pa.int64())
    view = transaction.show(rows.append_column(ROW_ID, ids))
    columns = [table.column(name) for name in rows.schema.names]
    transaction.rows(
        f"INSERT INTO {physical(table)} ({_names(columns)}, {ROW_ID}, {VERSION})"
        f" SELECT {_incoming_list(columns)}, {ROW_ID}, 1 FROM {view}"
    )
    return first


def upsert(
    transaction: Transaction, table: Table, key: Sequence[str], rows: pa.Table
) -> tuple[int, int]:
    """Insert rows, or update those that have their key; return how many were inserted and updated.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND if a key column is not among the rows' columns.
        AlreadyExists: DUPLICATE_KEY if two of the rows have one key.
    """
    table = transaction.current(table)
    columns = [table.column(name) for name in rows.schema.names]
    view = transaction.show(rows.append_column("__at", pa.array(range(rows.num_rows), pa.int64())))
    source = f"(SELECT {_incoming_list(columns, named=True)}, __at FROM {view})"
    return upsert_from(transaction, table, key, columns, source, rows.num_rows)


def upsert_from(
    transaction: Transaction,
    table: Table,
    key: Sequence[str],
    columns: Sequence[Column],
    source: str,
    row_count: int,
) -> tuple[int, int]:
    """Do the same for `source`: SQL with the stored values of `columns` and `__at`, counted from 0."""
    _check_key(table, key, columns)
    keys = ", ".join(map(quoted, key))
    _refuse_duplicates(transaction, key, source)
    target = physical(table)
    same = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in key)
    changes = [f"{quoted(c.name)} = s.{quoted(c.name)}" for c in columns if c.name not in key]
    updated = transaction.changed(
        f"UPDATE {target} AS t SET {', '.join([*changes, f'{VERSION} = t.{VERSION} + 1'])}"
        f" FROM {source} AS s WHERE {same}"
    )
    if updated == row_count:
        return 0, updated
    first = transaction.take_row_ids(table, row_count)
    inserted = transaction.changed(
        f"INSERT INTO {target} ({_names(columns)}, {ROW_ID}, {VERSION})"
        f" SELECT {_names(columns)}, $1 + __at, 1 FROM {source} AS s"
        f" ANTI JOIN (SELECT {keys} FROM {target}) AS t ON {same} ORDER BY __at",
        [first],
    )
    return inserted, updated


def update(
    transaction: Transaction,
    table: Table,
    row_ids: Sequence[int],
    versions: Sequence[int | None],
    values: pa.Table,
) -> list[int]:
    """Give rows new values and return their new versions, both in order.

    `values` has one row of carriers for each of `row_ids`, which are distinct; `versions` are those that
    the rows must have.

    Raises:
        NotFound: ROW_NOT_FOUND.
        Aborted: ETAG_MISMATCH.
    """
    table = transaction.current(table)
    found = check_versions(transaction, table, row_ids, versions)
    columns = [table.column(name) for name in values.schema.names]
    target = physical(table)
    view = transaction.show(values.append_column(ROW_ID, pa.array(row_ids, pa.int64())))
    changes = [f"{quoted(c.name)} = {incoming('s.' + quoted(c.name), c.type)}" for c in columns]
    # A constant bound on _row_id lets DuckDB skip every row group without one of the rows.
    transaction.rows(
        f"UPDATE {target} AS t SET {', '.join([*changes, f'{VERSION} = t.{VERSION} + 1'])}"
        f" FROM {view} AS s WHERE t.{ROW_ID} = s.{ROW_ID} AND t.{ROW_ID} BETWEEN $1 AND $2",
        [min(row_ids), max(row_ids)],
    )
    return [version + 1 for version in found]


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


def _check_key(table: Table, key: Sequence[str], columns: Sequence[Column]) -> None:
    names = {column.name for column in columns}
    for name in key:
        table.column(name)
        if name not in names:
            raise InvalidArgument(
                "COLUMN_NOT_FOUND", f"the rows have no key column {name!r}", column=name
            )
    if not any(set(key) == set(unique) for unique in table.unique_keys):
        raise InvalidArgument(
            "COLUMN_NOT_FOUND",
            f"table {table.full_name!r} has no unique key ({', '.join(key)})",
            table=table.full_name,
        )


def _refuse_duplicates(transaction: Transaction, key: Sequence[str], source: str) -> None:
    keys = ", ".join(map(quoted, key))
    no_null = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in key)
    texts = ", ".join(f"{quoted(name)}::VARCHAR" for name in key)
    twice = transaction.rows(
        f"SELECT {texts} FROM {source} WHERE {no_null} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"
    )
    if twice:
        pairs = zip(key, twice[0], strict=True)
        raise duplicate_key(", ".join(f"{name}: {value}" for name, value in pairs))


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(quoted(column.name) for column in columns)


def _incoming_list(columns: Sequence[Column], *, named: bool = False) -> str:
    return ", ".join(
        incoming(quoted(c.name), c.type) + (f" AS {quoted(c.name)}" if named else "")
        for c in columns
    )


def _any_of(row_ids: Sequence[int]) -> str:
    """Return a condition whose constant bounds let DuckDB skip row groups; see `_bounds`."""
    if len(row_ids) == 1:
        return f"{ROW_ID} = $1"
    return f"{ROW_ID} BETWEEN $1 AND $2 AND {ROW_ID} IN (SELECT unnest($3::BIGINT[]))"


def _bounds(row_ids: Sequence[int]) -> tuple[object, ...]:
    if len(row_ids) == 1:
        return (row_ids[0],)
    return min(row_ids), max(row_ids), list(row_ids)
