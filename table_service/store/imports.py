"""Files into tables: one INSERT reads the file and converts it, in one transaction.

Only when that fails is the file read again, slowly, to say which rows are bad (`import_faults`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from table_service.store.defaults import IN_ORDER, counts, default_sql
from table_service.store.errors import breaks
from table_service.store.file_bytes import TEXTS, file_invalid
from table_service.store.files import File
from table_service.store.sources import Import, Read, reading_file
from table_service.store.staging import Source
from table_service.store.transaction import Transaction, physical
from table_service.store.violations import AT
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, quoted

# Text files up to this size go through a temporary table; of larger ones it could be too large.
_STAGED_BYTES_MAX = 512 * 1024 * 1024
_STAGE = "temp.import_stage"


class LoadFailed(Exception):
    """A write of a file's rows failed; its cause is DuckDB's error."""

    def __init__(self, error: duckdb.Error) -> None:
        super().__init__(str(error))
        self.error = error


def append(transaction: Transaction, asked: Import) -> int:
    """Insert every row of the file into its table; return how many.

    Raises:
        LoadFailed: For what `import_faults.explain` can explain.
        InvalidArgument: FILE_INVALID, COLUMN_NOT_FOUND or ROW_INVALID for the file as a whole.
    """
    return fill(transaction, transaction.current(asked.table), asked)


def fill(transaction: Transaction, table: Table, asked: Import) -> int:
    """Do the same for a table whose rows stand already, though it may have no entry in the catalog yet."""
    with failures(asked.file), reading_file(transaction.cursor, asked) as read:
        if asked.file.format in TEXTS and asked.file.spooled.byte_count <= _STAGED_BYTES_MAX:
            return _insert_staged(transaction, table, read)
        row_count = insert(transaction, table, read.source())
        if row_count > read.relation.row_count_max:
            raise file_invalid("its lines do not end alike")
        return row_count


def make_stage(
    transaction: Transaction, asked: Import, relation: str, check: Callable[[Source], None]
) -> Source:
    """Write the file's rows into a new table, ready for another transaction to take; `check` looks at them.

    Raises:
        LoadFailed, InvalidArgument: As `append`.
    """
    with failures(asked.file), reading_file(transaction.cursor, asked) as read:
        row_count, least = _write_stage(transaction, read, relation, temporary=False)
        check(_staged(read, relation, row_count, least))
        # A transaction numbers its rows from far up, but the commit from 0.
        return _staged(read, relation, row_count, 0)


@contextmanager
def failures(file: File) -> Iterator[None]:
    """Tell errors that are about the file or its rows from those of the store.

    Raises:
        LoadFailed: For the former.
    """
    try:
        yield
    except duckdb.ConstraintException as error:
        raise LoadFailed(error) from error
    except (duckdb.TransactionException, duckdb.OutOfMemoryException, duckdb.InterruptException):
        raise
    except duckdb.Error as error:
        # Reading a damaged file may fail like reading the store's own.
        of_file = isinstance(error, duckdb.InternalException) or str(file.spooled.path) in str(
            error
        )
        if breaks(error) and not of_file:
            raise
        raise LoadFailed(error) from error


def insert(
    transaction: Transaction, table: Table, source: Source, new: tuple[str, int] | None = None
) -> int:
    """Insert rows of a source, which are counted from 1, with their defaults; return how many.

    `new`: a condition, over `s`, for those that are meant, and how many they are; None is all.
    """
    where, count, at = "true", source.row_count - 1, f"s.{AT} - 1"
    if new is not None:
        where, count = new
        # Numbers are for new rows alone; to count the rows takes time.
        at = IN_ORDER if counts(table, source.given) else at
    made = default_sql(transaction, table, source.given, count, at)
    names = {**made, **source.values}
    values = {name: source.value(name, made.get(name, "NULL")) for name in names}
    first = transaction.take_ids(table.id, max(source.row_count - 1, 1))
    return transaction.changed(
        f"INSERT INTO {physical(table)} ({', '.join([*map(quoted, values), ROW_ID, VERSION])})"
        f" SELECT {', '.join([*values.values(), f'{first - 1} + s.{AT}', '1'])}"
        f" FROM {source.relation} AS s WHERE {where}"
    )


def _insert_staged(transaction: Transaction, table: Table, read: Read) -> int:
    """Insert through a temporary table, whose rows are numbered without counting them one by one.

    Counting makes DuckDB read a text file with one thread; this is twice as fast.
    """
    row_count, least = _write_stage(transaction, read, _STAGE, temporary=True)
    insert(transaction, table, _staged(read, _STAGE, row_count, least))
    transaction.rows(f"DROP TABLE {_STAGE}")
    return row_count


def _write_stage(
    transaction: Transaction, read: Read, relation: str, *, temporary: bool
) -> tuple[int, int]:
    """Write the rows into a new table; return how many they are, and the number of the first."""
    source = read.source(numbered=False)
    selected = [f"{value} AS c{at}" for at, value in enumerate(source.values.values())]
    selected += [f"{lacks} AS m{at}" for at, lacks in enumerate(source.missing.values())]
    transaction.rows(
        f"CREATE {'TEMPORARY ' if temporary else ''}TABLE {relation} AS"
        f" SELECT {', '.join(selected or ['1 AS c0'])} FROM {source.relation} AS s"
    )
    [[row_count, least]] = transaction.rows(
        f"SELECT count(*), coalesce(min(rowid), 0) FROM {relation}"
    )
    assert isinstance(row_count, int)
    assert isinstance(least, int)
    return row_count, least


def _staged(read: Read, relation: str, row_count: int, first: int) -> Source:
    """Return a stage's rows, which are numbered from `first`, as a source."""
    return Source(
        relation=f"(SELECT *, rowid - {first} + 1 AS {AT} FROM {relation})",
        values={column.name: f"s.c{at}" for at, column in enumerate(read.columns)},
        missing={name: f"s.m{at}" for at, name in enumerate(read.lacking)},
        row_count=row_count + 1,
    )
