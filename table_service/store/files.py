"""Received files as SQL: which columns they have, and relations that read them.

Nothing is guessed here but what the file itself says. Columns have names of ours (c0, c1, …) or SQL of
their own to read them by, so that no name in a file is in the way of another.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from chassis.faults import InvalidArgument
from table_service.csv_dialect import Dialect, first_rows
from table_service.store import arrow_files
from table_service.store.file_bytes import Format, file_invalid
from table_service.store.row_ends import first_row_hides_its_end, last_row_fits
from table_service.store.spool import SpooledFile
from table_service.types import quoted, sql_text

COLUMNS_MAX = 1_000
REJECTS = "import_rejects"
REJECTS_MAX = 100
_HEADER_BYTES_MAX = 1024 * 1024
# DuckDB reads by buffers that hold the longest row: the larger, the more memory each thread takes.
ROW_BYTES_MAX = 64 * 1024 * 1024
_USUAL_ROW_BYTES_MAX = 8 * 1024 * 1024
# A number of so many characters may be another as a double, which is how JSON is read.
_LONG = "[0-9.][0-9.eE+-]{16}"
_FIRST_ROWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A received file. `dialect` is for CSV. `partial`: it goes on, its last row may be cut."""

    spooled: SpooledFile
    format: Format
    dialect: Dialect
    partial: bool = False

    @property
    def sql(self) -> str:
        """Return the file's name as an SQL literal."""
        return sql_text(str(self.spooled.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The columns of a file in order: names as they stand there, and DuckDB's types of what is read.

    Of text files the types are those of the text. `lacking` has those that some rows of JSON come without.
    `long_numbers`: some number in it is longer than a double. `unnamed`: the names are made up.
    """

    names: tuple[str, ...]
    written: tuple[str, ...]
    lacking: frozenset[str] = frozenset()
    long_numbers: bool = False
    unnamed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A file to read FROM: `columns` is SQL of each column, `lacking` of whether a row came without it.

    `row_number` is SQL that counts the rows from 1 in the order of the file.
    """

    sql: str
    columns: tuple[str, ...]
    row_count_max: int
    row_number: str = "row_number() OVER ()"
    lacking: tuple[str, ...] = ()


def fields_of(cursor: duckdb.DuckDBPyConnection, file: File) -> Fields:
    """Return what columns the file has.

    Raises:
        InvalidArgument: FILE_INVALID.
        duckdb.Error: For what is damaged.
    """
    match file.format:
        case Format.CSV:
            names = _csv_names(file)
            fields = Fields(
                names=names,
                written=("VARCHAR",) * len(names),
                unnamed=not file.dialect.header,
            )
        case Format.JSON_LINES:
            fields = _json_fields(cursor, file)
        case Format.PARQUET:
            fields = _described(cursor, f"read_parquet({file.sql}, hive_partitioning = false)")
        case Format.ARROW_IPC:
            names, written = arrow_files.fields_of(cursor, file.spooled.path)
            fields = Fields(names=names, written=written)
    if len(fields.names) > COLUMNS_MAX:
        raise _too_many_columns()
    return fields


@contextmanager
def opened(
    cursor: duckdb.DuckDBPyConnection,
    file: File,
    fields: Fields,
    types: Sequence[str] | None = None,
    *,
    rejects: bool = False,
    skips: bool = False,
) -> Iterator[Relation]:
    """Yield the file to read from. `types`: what to read the columns of a text file as.

    With `rejects`, rows of a CSV file that are none are put down in the table `REJECTS` and left out; with
    `skips` they are only left out.
    """
    types = types or fields.written
    match file.format:
        case Format.CSV:
            yield _csv(file, types, rejects=rejects, skips=skips)
        case Format.JSON_LINES:
            if fields.lacking:
                yield _json_by_key(cursor, file, fields, types)
            else:
                yield _json(file, fields, types)
        case Format.PARQUET:
            yield _parquet(cursor, file, fields)
        case Format.ARROW_IPC:
            path, limit = file.spooled.path, file.spooled.bytes_max
            with arrow_files.opened(cursor, path, limit) as (view, row_count):
                yield Relation(
                    sql=view,
                    columns=tuple(f"c{at}" for at in range(len(fields.names))),
                    row_count_max=row_count,
                    row_number=arrow_files.ROW,
                )


def _csv_names(file: File) -> tuple[str, ...]:
    with file.spooled.path.open("rb") as opened_file:
        start = opened_file.read(_HEADER_BYTES_MAX)
    try:
        names = next(iter(first_rows(start, file.dialect, 1)), [])
    except csv.Error as error:
        raise file_invalid("its first line is not the header of a CSV file") from error
    if not file.dialect.header:
        return tuple(f"column_{at}" for at in range(1, len(names) + 1))
    if not any(names):
        raise file_invalid("it has no header line")
    if any("\0" in name for name in names):
        raise file_invalid("its first line is not the header of a CSV file")
    return tuple(names)


def _csv(file: File, types: Sequence[str], *, rejects: bool, skips: bool) -> Relation:
    dialect, seen = file.dialect, file.spooled.seen
    if not types:
        # Without a header a file without rows says nothing of its columns.
        return Relation(sql="(SELECT 1 WHERE false)", columns=(), row_count_max=0)
    nulls = ["", dialect.null_text] if dialect.null_text else [""]
    row_bytes_max = _row_bytes_max(file)
    columns = ", ".join(f"c{at}: {sql_text(type_)}" for at, type_ in enumerate(types))
    options = [
        # Nothing is guessed: not the dialect, not the types, not a compression.
        f"auto_detect = false, header = {str(dialect.header).lower()}, compression = 'none'",
        f"strict_mode = true, buffer_size = {row_bytes_max}, max_line_size = {row_bytes_max}",
        f"delim = {sql_text(dialect.delimiter)}, quote = {sql_text(dialect.quote)}",
        f"escape = {sql_text(dialect.escape or dialect.quote)}",
        f"nullstr = [{', '.join(map(sql_text, nulls))}], allow_quoted_nulls = false",
        f"columns = {{{columns}}}",
    ]
    with file.spooled.path.open("rb") as opened_file:
        if first_row_hides_its_end(opened_file.read(row_bytes_max), dialect):
            options.append("new_line = '\\n'")
    if skips:
        options.append("ignore_errors = true")
    if rejects:
        options.append(f"store_rejects = true, rejects_table = '{REJECTS}'")
        options.append(f"rejects_scan = '{REJECTS}_scan', rejects_limit = {REJECTS_MAX}")
    return Relation(
        sql=f"read_csv({file.sql}, {', '.join(options)})",
        columns=tuple(f"c{at}" for at in range(len(types))),
        row_count_max=seen.line_count_max,
    )


def _too_many_columns() -> InvalidArgument:
    return file_invalid(f"it has more than {COLUMNS_MAX} columns")


def _row_bytes_max(file: File) -> int:
    """Return how long a row of a CSV file may be: as much as is usual, or more where it has longer ones."""
    path, longest = file.spooled.path, file.spooled.seen.longest_line
    if longest <= ROW_BYTES_MAX:
        for bytes_max in (_USUAL_ROW_BYTES_MAX, ROW_BYTES_MAX):
            if longest <= bytes_max and last_row_fits(path, file.dialect, bytes_max):
                return bytes_max
    raise file_invalid(f"it has a row of more than {ROW_BYTES_MAX} bytes, or a quote is not closed")


def json_documents(file: File) -> str:
    """Return SQL of a relation with the documents of JSON lines as text, in the column `json`."""
    return f"read_json_objects({_json_lines(file)})"


def _json_lines(file: File) -> str:
    longest = file.spooled.seen.longest_line
    if longest > ROW_BYTES_MAX:
        raise file_invalid(f"it has a row of more than {ROW_BYTES_MAX} bytes")
    row_bytes_max = ROW_BYTES_MAX if longest > _USUAL_ROW_BYTES_MAX else _USUAL_ROW_BYTES_MAX
    return (
        f"{file.sql}, format = 'newline_delimited', compression = 'uncompressed',"
        f" maximum_object_size = {row_bytes_max}"
    )


def _json_fields(cursor: duckdb.DuckDBPyConnection, file: File) -> Fields:
    """Find every key in one pass, together with what else must be known of the rows."""
    lines = json_documents(file)
    # One more than a table can have is enough: a file may have more keys than memory holds.
    found = cursor.execute(
        "SELECT key, no_object, long, count(*) FROM (SELECT"
        " unnest(list_append(json_keys(json), NULL)) AS key,"
        " json_type(json) <> 'OBJECT' AS no_object,"
        f" regexp_matches(json, '{_LONG}') AS long"
        f" FROM {lines}) GROUP BY ALL ORDER BY key NULLS FIRST LIMIT {4 * (COLUMNS_MAX + 2)}"
    ).fetchall()
    if any(no_object for _, no_object, _, _ in found):
        raise file_invalid(_first_no_object(cursor, lines))
    counts: dict[str | None, int] = {}
    for key, _, _, count in found:
        counts[key] = counts.get(key, 0) + int(count)
    row_count = counts.pop(None, 0)
    if len(counts) > COLUMNS_MAX:
        raise _too_many_columns()
    first = cursor.execute(f"SELECT json_keys(json) FROM {lines} LIMIT {_FIRST_ROWS}").fetchall()
    # In the order of the first rows; what comes later only, by name.
    names = tuple(
        dict.fromkeys(key for [keys] in [*first, (sorted(filter(None, counts)),)] for key in keys)
    )
    folded = {name.lower(): name for name in names}
    for name in names:
        if folded[name.lower()] != name:
            raise file_invalid(f"keys {name!r} and {folded[name.lower()]!r} differ in case alone")
    return Fields(
        names=names,
        written=("JSON",) * len(names),
        lacking=frozenset(name for name in names if counts[name] < row_count),
        long_numbers=any(long for _, _, long, _ in found),
    )


def _first_no_object(cursor: duckdb.DuckDBPyConnection, lines: str) -> str:
    [[number]] = cursor.execute(
        f"SELECT min(n) FROM (SELECT json, row_number() OVER () AS n FROM {lines})"
        " WHERE json_type(json) <> 'OBJECT'"
    ).fetchall()
    return f"row {number} is not a JSON object"


def _json(file: File, fields: Fields, types: Sequence[str]) -> Relation:
    """Read by DuckDB's own reader, or, where rows lack keys and that matters, from the documents."""
    options = _json_lines(file)
    pairs = zip(fields.names, types, strict=True)
    if not types:
        return Relation(
            sql=json_documents(file),
            columns=(),
            row_count_max=file.spooled.seen.line_count_max,
        )
    columns = ", ".join(f"{sql_text(name)}: {sql_text(type_)}" for name, type_ in pairs)
    return Relation(
        sql=f"read_json({options}, records = true, columns = {{{columns}}})",
        columns=tuple(map(quoted, fields.names)),
        row_count_max=file.spooled.seen.line_count_max,
    )


def _json_by_key(
    cursor: duckdb.DuckDBPyConnection, file: File, fields: Fields, types: Sequence[str]
) -> Relation:
    """Read so that it is known of each row which keys it has; half as fast."""
    twice = cursor.execute(
        f"SELECT n FROM (SELECT json, row_number() OVER () AS n FROM {json_documents(file)})"
        " WHERE list_unique(json_keys(json)) < len(json_keys(json)) LIMIT 1"
    ).fetchall()
    if twice:
        raise file_invalid(f"row {twice[0][0]} has a key twice")
    pointers = [sql_text("/" + name.replace("~", "~0").replace("/", "~1")) for name in fields.names]
    columns = tuple(
        f"nullif(json_extract(json, {pointer}), 'null')"
        if type_ == "JSON"
        else f"json_extract_string(json, {pointer})"
        for pointer, type_ in zip(pointers, types, strict=True)
    )
    return Relation(
        sql=json_documents(file),
        columns=columns,
        lacking=tuple(f"NOT json_exists(json, {pointer})" for pointer in pointers),
        row_count_max=file.spooled.seen.line_count_max,
    )


def _described(cursor: duckdb.DuckDBPyConnection, relation: str) -> Fields:
    described = cursor.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return Fields(
        names=tuple(str(row[0]) for row in described),
        written=tuple(str(row[1]) for row in described),
    )


def _parquet(cursor: duckdb.DuckDBPyConnection, file: File, fields: Fields) -> Relation:
    [[row_count]] = cursor.execute(
        f"SELECT coalesce(sum(num_rows), 0) FROM parquet_file_metadata({file.sql})"
    ).fetchall()
    numbered = not any(name.lower() == "file_row_number" for name in fields.names)
    options = f"hive_partitioning = false, file_row_number = {str(numbered).lower()}"
    return Relation(
        sql=f"read_parquet({file.sql}, {options})",
        columns=tuple(map(quoted, fields.names)),
        row_count_max=int(row_count),
        row_number="file_row_number + 1" if numbered else "row_number() OVER ()",
    )
