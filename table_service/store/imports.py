"""Files into tables: one INSERT reads the file and converts it, in one transaction.

Only when that fails is the file read again, slowly, to say which rows are bad.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

import duckdb
import pyarrow as pa

from chassis.faults import InvalidArgument
from table_service.file_columns import csv_type, from_text, from_type, json_type
from table_service.store.errors import breaks
from table_service.store.spool import SpooledFile
from table_service.store.transaction import Transaction, physical
from table_service.tables import Table
from table_service.types import ROW_ID, VERSION, Column, Kind, quoted

# How many bad values a fault names.
VIOLATIONS_MAX = 100
_HEADER_BYTES_MAX = 1024 * 1024
# DuckDB would take 32 MB a thread, which a small memory limit does not have.
_CSV_BUFFER_BYTES = 8 * 1024 * 1024
_ARROW_VIEW = "import_arrow"
# A column of nulls takes no bytes, so a file says little of how many rows a batch has.
_ARROW_BATCH_ROWS_MAX = 4 * 1024 * 1024
# No column of a table begins like this.
_ARROW_ROW = "__row"
REJECTS = "import_rejects"


class Format(StrEnum):
    """The formats of files; the names are those of flux.table.v1.FileFormat without the prefix."""

    CSV = "CSV"
    PARQUET = "PARQUET"
    ARROW_IPC = "ARROW_IPC"
    JSON_LINES = "JSON_LINES"


# Text files up to this size go through a temporary table; of larger ones it could be too large.
_STAGED = (Format.CSV, Format.JSON_LINES)
_STAGED_BYTES_MAX = 512 * 1024 * 1024
_STAGE = "import_stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A received file and what it is to become. `delimiter` and `null_text` are for CSV."""

    table: Table
    file: SpooledFile
    format: Format
    delimiter: str = ","
    null_text: str = ""


class LoadFailed(Exception):
    """The INSERT failed; its cause is DuckDB's error."""

    def __init__(self, error: duckdb.Error) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file as SQL: FROM what, and for each column that it has, the SQL of the value to store.

    `row_number` is SQL that counts the rows from 1 in the order of the file.
    """

    relation: str
    columns: tuple[Column, ...]
    values: tuple[str, ...]
    row_count_max: int
    row_number: str = "row_number() OVER ()"


def load(transaction: Transaction, asked: Import) -> int:
    """Insert every row of the file; return how many.

    Raises:
        LoadFailed: For what `import_faults.explain` can explain.
        InvalidArgument: FILE_INVALID, COLUMN_NOT_FOUND or ROW_INVALID for the file as a whole.
    """
    table, cursor = transaction.current(asked.table), transaction.cursor
    try:
        with opened_source(cursor, asked) as source:
            staged = asked.format in _STAGED and asked.file.byte_count <= _STAGED_BYTES_MAX
            insert = _insert_staged if staged else _insert
            row_count = insert(transaction, table, source)
    except duckdb.ConstraintException as error:
        if "NOT NULL" not in str(error):
            raise
        raise LoadFailed(error) from error
    except (duckdb.TransactionException, duckdb.OutOfMemoryException, duckdb.InterruptException):
        raise
    except duckdb.Error as error:
        if breaks(error) and _is_not_about(asked.file, error):
            raise
        raise LoadFailed(error) from error
    return row_count


def _is_not_about(file: SpooledFile, error: duckdb.Error) -> bool:
    """Return whether it is the store that failed, and not reading the file, which may be damaged."""
    return not isinstance(error, duckdb.InternalException) and str(file.path) not in str(error)


def _insert(transaction: Transaction, table: Table, source: Source) -> int:
    first = transaction.take_row_ids(table, max(source.row_count_max, 1))
    row_count = transaction.changed(
        f"INSERT INTO {physical(table)} ({_names(source)}, {ROW_ID}, {VERSION})"
        f" SELECT {', '.join(source.values)}, {first - 1} + {source.row_number}, 1"
        f" FROM {source.relation}"
    )
    if row_count > source.row_count_max:
        raise file_invalid("its lines do not end alike")
    return row_count


def _insert_staged(transaction: Transaction, table: Table, source: Source) -> int:
    """Do the same through a temporary table, whose rows are numbered without counting them one by one.

    Counting makes DuckDB read a text file with one thread; this is twice as fast.
    """
    # Numbered, because a column called "rowid" would hide DuckDB's own.
    staged = ", ".join(f"c{at}" for at in range(len(source.columns)))
    values = ", ".join(f"{value} AS c{at}" for at, value in enumerate(source.values))
    transaction.rows(f"CREATE TEMPORARY TABLE {_STAGE} AS SELECT {values} FROM {source.relation}")
    # Rows of an open transaction are numbered from far up.
    [[row_count, least]] = transaction.rows(
        f"SELECT count(*), coalesce(min(rowid), 0) FROM temp.{_STAGE}"
    )
    assert isinstance(row_count, int)
    assert isinstance(least, int)
    first = transaction.take_row_ids(table, max(row_count, 1))
    transaction.rows(
        f"INSERT INTO {physical(table)} ({_names(source)}, {ROW_ID}, {VERSION})"
        f" SELECT {staged}, {first} + (rowid - {least}), 1 FROM temp.{_STAGE}"
    )
    transaction.rows(f"DROP TABLE temp.{_STAGE}")
    return row_count


def _names(source: Source) -> str:
    return ", ".join(quoted(column.name) for column in source.columns)


@contextmanager
def opened_source(
    cursor: duckdb.DuckDBPyConnection, asked: Import, *, as_text: bool = False
) -> Iterator[Source]:
    """Yield the file as SQL. `as_text`: every value of a CSV file as it is written, and rejects kept."""
    match asked.format:
        case Format.CSV:
            yield _csv(asked, as_text=as_text)
        case Format.PARQUET:
            yield _parquet(cursor, asked)
        case Format.JSON_LINES:
            yield _json_lines(cursor, asked)
        case Format.ARROW_IPC:
            with _arrow(cursor, asked) as source:
                yield source


def _csv(asked: Import, *, as_text: bool) -> Source:
    columns = _columns(asked.table, _header(asked))
    fractions = asked.file.fractions or as_text
    types = ["VARCHAR" if as_text else csv_type(c.type, fractions=fractions) for c in columns]
    nulls = ["", asked.null_text] if asked.null_text else [""]
    pairs = zip(columns, types, strict=True)
    options = [
        # Nothing is guessed: not the dialect, not the types, not a compression.
        "auto_detect = false, header = true, compression = 'none', strict_mode = true",
        f"buffer_size = {_CSV_BUFFER_BYTES}",
        f"delim = {sql_text(asked.delimiter)}, quote = '\"', escape = '\"'",
        f"nullstr = [{', '.join(map(sql_text, nulls))}], allow_quoted_nulls = false",
        f"columns = {{{', '.join(f'{sql_text(c.name)}: {sql_text(type_)}' for c, type_ in pairs)}}}",
    ]
    if as_text:
        options.append(f"store_rejects = true, rejects_table = '{REJECTS}'")
        options.append(f"rejects_scan = '{REJECTS}_scan', rejects_limit = {VIOLATIONS_MAX}")
    values = [
        quoted(column.name)
        if type_ != "VARCHAR" or column.type.kind is Kind.STRING
        else from_text(quoted(column.name), column.type)
        for column, type_ in zip(columns, types, strict=True)
    ]
    return Source(
        relation=f"read_csv({sql_text(str(asked.file.path))}, {', '.join(options)})",
        columns=columns,
        values=tuple(values),
        row_count_max=asked.file.line_count_max,
    )


def _header(asked: Import) -> list[str]:
    with asked.file.path.open("rb") as file:
        start = file.read(_HEADER_BYTES_MAX)
    try:
        # The last character may be cut in two; the header is not that long.
        text = start.decode("utf-8-sig", errors="strict" if len(start) < 4 else "replace")
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=asked.delimiter), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise file_invalid("its first line is not the header of a CSV file in UTF-8") from error
    if not any(names):
        raise file_invalid("it has no header line")
    if any("\ufffd" in name or "\0" in name for name in names):
        raise file_invalid("its first line is not the header of a CSV file in UTF-8")
    return names


def _json_lines(cursor: duckdb.DuckDBPyConnection, asked: Import) -> Source:
    file = sql_text(str(asked.file.path))
    options = "format = 'newline_delimited', compression = 'uncompressed'"
    # Keys that the columns do not name would be dropped in silence, so all are looked at first. One more
    # than there are columns has such a key among them, and a file may have more than memory holds.
    enough = len(asked.table.columns) + 1
    keys = cursor.execute(
        f"SELECT DISTINCT unnest(json_keys(json)) AS key"
        f" FROM read_json_objects({file}, {options}) ORDER BY key LIMIT {enough}"
    ).fetchall()
    columns = _columns(asked.table, [str(key) for (key,) in keys]) or asked.table.columns[:1]
    types = ", ".join(f"{sql_text(c.name)}: {sql_text(json_type(c.type))}" for c in columns)
    return Source(
        relation=f"read_json({file}, {options}, columns = {{{types}}})",
        columns=columns,
        values=tuple(from_text(quoted(c.name), c.type) for c in columns),
        row_count_max=asked.file.line_count_max,
    )


def _parquet(cursor: duckdb.DuckDBPyConnection, asked: Import) -> Source:
    file = sql_text(str(asked.file.path))
    [[row_count]] = cursor.execute(
        f"SELECT coalesce(sum(num_rows), 0) FROM parquet_file_metadata({file})"
    ).fetchall()
    columns, values = _typed_columns(cursor, asked.table, f"read_parquet({file})")
    return Source(
        relation=f"read_parquet({file}, file_row_number = true)",
        columns=columns,
        values=values,
        row_count_max=int(row_count),
        row_number="file_row_number + 1",
    )


@contextmanager
def _arrow(cursor: duckdb.DuckDBPyConnection, asked: Import) -> Iterator[Source]:
    try:
        with pa.memory_map(str(asked.file.path)) as mapped:
            with pa.ipc.open_stream(mapped) as reader:
                row_count = sum(_bounded_rows(batch) for batch in reader)
            mapped.seek(0)
            with pa.ipc.open_stream(mapped) as reader:
                _columns(asked.table, reader.schema.names)
                cursor.register(_ARROW_VIEW, _with_row_numbers(reader))
                try:
                    columns, values = _typed_columns(
                        cursor, asked.table, f"(SELECT * EXCLUDE ({_ARROW_ROW}) FROM {_ARROW_VIEW})"
                    )
                    yield Source(
                        relation=_ARROW_VIEW,
                        columns=columns,
                        values=values,
                        row_count_max=row_count,
                        row_number=_ARROW_ROW,
                    )
                finally:
                    # In a transaction that failed it cannot be dropped; the rollback does it.
                    with suppress(duckdb.TransactionException):
                        cursor.unregister(_ARROW_VIEW)
    except (pa.ArrowException, OSError) as error:
        raise file_invalid("it is not a whole Arrow IPC stream") from error


def _bounded_rows(batch: pa.RecordBatch) -> int:
    if batch.num_rows > _ARROW_BATCH_ROWS_MAX:
        raise file_invalid(f"it has a batch of more than {_ARROW_BATCH_ROWS_MAX} rows")
    return int(batch.num_rows)


def _with_row_numbers(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Return the batches with a column that counts rows from 1: a window function is slower."""
    schema = reader.schema.append(pa.field(_ARROW_ROW, pa.int64()))

    def numbered() -> Iterator[pa.RecordBatch]:
        first = 1
        for batch in reader:
            numbers = array("q", range(first, first + batch.num_rows))
            buffers = [None, pa.py_buffer(numbers)]
            counted = pa.Array.from_buffers(pa.int64(), batch.num_rows, buffers)
            yield pa.RecordBatch.from_arrays([*batch.columns, counted], schema=schema)
            first += batch.num_rows

    return pa.RecordBatchReader.from_batches(schema, numbered())


def _typed_columns(
    cursor: duckdb.DuckDBPyConnection, table: Table, relation: str
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    described = cursor.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    columns = _columns(table, [str(row[0]) for row in described])
    values = tuple(
        from_type(quoted(column.name), str(row[1]), column.type)
        for column, row in zip(columns, described, strict=True)
    )
    return columns, values


def _columns(table: Table, names: Sequence[str]) -> tuple[Column, ...]:
    """Return the table's columns of these names, in their order."""
    columns = tuple(table.column(name) for name in names)
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise file_invalid(f"it has two columns {twice!r}")
    for column in table.columns:
        if column.not_null and column.name not in names and names:
            raise InvalidArgument(
                "ROW_INVALID",
                f"the file has no column {column.name!r}, which refuses null",
                column=column.name,
            )
    return columns


def file_invalid(why: str) -> InvalidArgument:
    """Return the fault of a file that is damaged or not of its format."""
    return InvalidArgument("FILE_INVALID", f"the file is not valid: {why}")


def sql_text(text: str) -> str:
    """Return the text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
