"""What DuckDB's errors mean to a caller.

The one place that reads DuckDB's sentences: the tests hold the few patterns against the installed version.
"""

from __future__ import annotations

import re
from datetime import timedelta

import duckdb

from chassis.faults import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    Fault,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)

# After one of these, from a write, nothing is known about the file until it is opened again.
BREAKING = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException)

_DUPLICATE = re.compile(r'[Dd]uplicate key "(.*)"', re.DOTALL)
_NOT_NULL = re.compile(r"NOT NULL constraint failed: \S+\.(.+)")
# A statement was made for rows that stand elsewhere since a migration, or nowhere since a purge.
_TABLE_GONE = re.compile(r"Table with name \"?tbl_\w+\"? does not exist")
# How DuckDB calls the files it spills to.
_SPILL = "/duckdb_temp_"
_SENTENCE_CHARACTERS_MAX = 300
RETRY_AFTER = timedelta(seconds=1)


def breaks(error: Exception) -> bool:
    """Return whether an error of a write means that the file could not be written.

    A commit that the disk refused comes as a TransactionException like any conflict, and DuckDB goes on
    as if nothing had been; what it then acknowledges may be behind a torn end of the log.
    """
    if isinstance(error, duckdb.TransactionException):
        sentence = str(error)
        return (
            "Failed to commit" in sentence
            and "conflict" not in sentence.lower()
            and not _DUPLICATE.search(sentence)
        )
    if isinstance(error, duckdb.IOException) and _SPILL in str(error):
        # What was spilled goes with its transaction, and the file is as it was.
        return False
    return isinstance(error, BREAKING)


def _disk_fault() -> Unavailable:
    """Return the fault of a read that the disk refused; the file may be opened again in a moment."""
    return Unavailable("STORE_UNAVAILABLE", "the disk failed", retry_after=RETRY_AFTER)


def store_unavailable() -> Unavailable:
    """Return the fault of a store that takes no more requests until it is started again."""
    return Unavailable("STORE_UNAVAILABLE", "the store cannot write")


def write_fault(error: duckdb.Error) -> Fault | None:
    """Return the fault that an error of a write is, or None if it is a bug of ours."""
    sentence = str(error)
    match error:
        case _ if table_is_gone(error):
            return _table_changed()
        case duckdb.ConstraintException():
            if found := _DUPLICATE.search(sentence):
                return duplicate_key(found[1])
            if found := _NOT_NULL.search(sentence):
                column = found[1].strip()
                return InvalidArgument(
                    "ROW_INVALID", f"column {column!r} must not be null", column=column
                )
            return None
        case duckdb.TransactionException():
            if found := _DUPLICATE.search(sentence):
                return duplicate_key(found[1])
            if breaks(error):
                return store_unavailable()
            return Aborted("ETAG_MISMATCH", "another write changed the same table first")
        case duckdb.ConversionException() | duckdb.OutOfRangeException():
            return InvalidArgument("ROW_INVALID", _short(sentence))
        case _:
            return _common_fault(error)


def read_fault(error: duckdb.Error) -> Fault | None:
    """Return the fault that an error of a caller's SQL is, or None if it is a bug of ours."""
    match error:
        case _ if table_is_gone(error):
            return _table_changed()
        case _ if isinstance(error, BREAKING):
            return _disk_fault()
        case duckdb.InterruptException():
            return DeadlineExceeded("DEADLINE_PASSED", "the query was stopped")
        case duckdb.ParserException() | duckdb.BinderException() | duckdb.CatalogException():
            return InvalidArgument("SQL_INVALID", _short(str(error)))
        case duckdb.DataError() | duckdb.InvalidInputException() | duckdb.OperationalError() if (
            not isinstance(error, duckdb.OutOfMemoryException)
        ):
            return InvalidArgument("QUERY_FAILED", _short(str(error)))
        case _:
            return _common_fault(error)


def table_is_gone(error: duckdb.Error) -> bool:
    """Return whether a statement met a table whose schema changed after the statement was made.

    Every change of a table's rows gives them another physical name, so that nothing made for the old ones can
    read or write the new ones.
    """
    return isinstance(error, duckdb.CatalogException) and bool(_TABLE_GONE.search(str(error)))


def duplicate_key(key: str) -> AlreadyExists:
    """Return the fault of two rows with one key."""
    return AlreadyExists("DUPLICATE_KEY", f"two rows with {_short(key)}", key=_short(key))


def _table_changed() -> Aborted:
    return Aborted("TABLE_CHANGED", "a table has changed meanwhile", retry_after=RETRY_AFTER)


def _common_fault(error: duckdb.Error) -> Fault | None:
    match error:
        case duckdb.OutOfMemoryException():
            return ResourceExhausted("QUERY_LIMIT", "this needs more memory than the store has")
        case _ if isinstance(error, BREAKING):
            return store_unavailable()
        case _:
            return None


def _short(sentence: str) -> str:
    """Return the first line, cut: DuckDB repeats the SQL in the lines after it."""
    return sentence.split("\n", 1)[0][:_SENTENCE_CHARACTERS_MAX]
