"""Why a file could not be loaded: it is read again, slowly, to name its bad rows.

Rows are counted from 1 after the header. Whoever looks does so in a transaction that is rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import duckdb

from table_service import cells
from table_service.row_faults import VIOLATIONS_MAX, RowFault
from table_service.store.file_bytes import Format, file_invalid
from table_service.store.files import REJECTS, File
from table_service.store.imports import LoadFailed, failures
from table_service.store.sources import Import, Read, reading_file
from table_service.store.staging import Source, stage, stage_new
from table_service.store.transaction import Transaction
from table_service.store.upserts import stage_upserted
from table_service.store.violations import AT, find_faults, refusal
from table_service.tables import Table
from table_service.types import Column, Kind, precision

_PATH = "rows"
# What DuckDB says of damage may be a byte of it, or two words.
_SENTENCE_CHARACTERS_MIN = 20
_WRONG_WIDTH = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")


def explain(transaction: Transaction, asked: Import, table: Table | None) -> None:
    """Raise why the file cannot be loaded, naming rows; return if there is nothing wrong with it.

    `table`: where its rows would be inserted, to hold them against its checks and its keys; None if they
    would not be inserted as they are.

    Raises:
        InvalidArgument: ROW_INVALID, CHECK_FAILED or FILE_INVALID.
        AlreadyExists: DUPLICATE_KEY.
    """
    cursor = transaction.cursor
    with damage_told(asked.file), reading_file(cursor, asked, as_text=True) as read:
        faults, rejected = bad_values(cursor, asked.file, read)
    if table is not None and not rejected:
        # Opened again: an Arrow stream is read once.
        with damage_told(asked.file), reading_file(cursor, asked, as_text=True) as read:
            faults += _bad_rows(transaction, table, read, faults)
    _refuse(faults)


def explain_merge(
    transaction: Transaction, table: Table, key: Sequence[str], source: Source
) -> None:
    """Raise why the rows of a source cannot be inserted, or update those with their key.

    Raises:
        InvalidArgument: ROW_INVALID or CHECK_FAILED.
        AlreadyExists: DUPLICATE_KEY.
    """
    with stage(transaction, table):
        stage_upserted(transaction, table, key, source)
        _refuse(find_faults(transaction, table, given=source.given))


def explain_insert(transaction: Transaction, table: Table, source: Source) -> None:
    """Raise why the rows of a source cannot be inserted.

    Raises:
        InvalidArgument: ROW_INVALID or CHECK_FAILED.
        AlreadyExists: DUPLICATE_KEY.
    """
    with stage(transaction, table):
        stage_new(transaction, table, source)
        _refuse(find_faults(transaction, table, given=None))


def bad_values(
    cursor: duckdb.DuckDBPyConnection, file: File, read: Read
) -> tuple[list[RowFault], int]:
    """Return which values do not fit, in the order of the file, and how many rows are none, 100 at the most.

    Raises:
        duckdb.Error: For what is damaged.
    """
    source = read.source()
    conditions: list[str] = []
    for at, (column, value) in enumerate(zip(read.columns, read.values, strict=True)):
        condition = f"(s.c{at} IS NOT NULL AND TRY({value}) IS NULL)"
        if column.not_null:
            lacks = read.lacking.get(column.name, "false")
            condition += f" OR (s.c{at} IS NULL AND NOT {lacks})"
        conditions.append(condition)
    texts = [f"CAST(s.c{at} AS VARCHAR)" for at in range(len(read.columns))]
    found = []
    if conditions:
        found = cursor.execute(
            f"SELECT s.{AT}, [{', '.join(conditions)}], [{', '.join(texts)}]"
            f" FROM {source.relation} AS s WHERE {' OR '.join(conditions)} LIMIT {VIOLATIONS_MAX}"
        ).fetchall()
    rejected = _rejected(cursor, file) if file.format is Format.CSV and read.columns else []
    faults = [
        RowFault(index=row, column="", reason="ROW_INVALID", message=f"row {row}: {why}")
        for row, why in rejected
    ]
    for kept, bad, values in found:
        row = _row_in_file(kept, [number for number, _ in rejected])
        for column, is_bad, text in zip(read.columns, bad, values, strict=True):
            if is_bad:
                faults.append(_fault(row, column, text))
    return sorted(faults, key=lambda fault: fault.index), len(rejected)


def _rejected(cursor: duckdb.DuckDBPyConnection, file: File) -> list[tuple[int, str]]:
    """Return which rows of a CSV file are none, and why, in order."""
    rows = cursor.execute(
        "SELECT line, arg_min(error_type, column_idx), arg_min(error_message, column_idx)"
        f" FROM temp.{REJECTS} GROUP BY line ORDER BY line"
    ).fetchall()
    header = 1 if file.dialect.header else 0
    return [(int(line) - header, _why_none(str(kind), str(why))) for line, kind, why in rows]


def _why_none(kind: str, why: str) -> str:
    if found := _WRONG_WIDTH.fullmatch(why):
        return f"{found[2]} values for {found[1]} columns"
    match kind:
        case "UNQUOTED VALUE":
            return "a quote stands within a value, or is not closed"
        case "LINE SIZE OVER MAXIMUM":
            return "it is too long"
        case _:
            return why


def _row_in_file(kept: int, rejected: Sequence[int]) -> int:
    """Return where the `kept`-th row stands that was not rejected; `rejected` is in order."""
    for number in rejected:
        if number <= kept:
            kept += 1
    return kept


def _bad_rows(
    transaction: Transaction, table: Table, read: Read, known: Sequence[RowFault]
) -> list[RowFault]:
    """Return what the table has against rows; values that do not fit are null then."""
    source = read.source()
    tried = replace(source, values={n: f"TRY({value})" for n, value in source.values.items()})
    with stage(transaction, table):
        stage_new(transaction, table, tried)
        found = find_faults(transaction, table, given=None)
    places = {(fault.index, fault.column) for fault in known}
    return [fault for fault in found if (fault.index, fault.column) not in places]


def _refuse(faults: Sequence[RowFault]) -> None:
    if faults:
        in_order = sorted(faults, key=lambda fault: fault.index)[:VIOLATIONS_MAX]
        raise refusal(in_order, _PATH, indexed=True)


def _fault(row: int, column: Column, text: str | None) -> RowFault:
    return RowFault(
        index=row,
        column=column.name,
        reason="ROW_INVALID",
        message=f"row {row}, column {column.name!r}: {_why(column, text)}",
    )


def _why(column: Column, text: str | None) -> str:
    if text is None:
        return "null in a column that refuses it"
    type_, kind = column.type, column.type.kind
    try:
        match kind:
            case Kind.INT16 | Kind.INT32 | Kind.INT64 | Kind.INT128:
                cells.integer_of_text(text, kind)
            case Kind.DECIMAL:
                cells.decimal(text, type_)
            case Kind.UUID:
                cells.uuid(text)
            case Kind.DATE:
                cells.day(text)
            case Kind.TIME:
                cells.time_of_day(text)
            case Kind.JSON:
                cells.json_document(text)
            case Kind.ENUM:
                cells.label_reader(type_)(text)
    except ValueError as error:
        return str(error)
    named = f"DECIMAL({precision(type_)},{type_.scale})" if kind is Kind.DECIMAL else str(kind)
    return f"{cells.shown(text)} is not a {named}"


@contextmanager
def damage_told(file: File) -> Iterator[None]:
    """Say what is wrong with a file that cannot be read, and not what DuckDB met in it.

    Raises:
        InvalidArgument: FILE_INVALID.
    """
    try:
        with failures(file):
            yield
    except LoadFailed as failed:
        raise file_invalid(damage(file, failed.error)) from failed


def damage(file: File, error: duckdb.Error) -> str:
    """Return what an error of reading says of the file, as a sentence without names of ours."""
    sentence, seen = str(error), file.spooled.seen
    if "invalid state" in sentence and seen.returns not in (0, seen.newlines):
        return "its lines do not end alike"
    if "Parallel CSV Reader" in sentence:
        return "it has a row that is too long, or a quote is not closed"
    first = sentence.split("\n", 1)[0].split(": ", 1)[-1]
    path = re.escape(str(file.spooled.path))
    first = re.sub(rf"""(file )?["']?{path}["']?""", "the file", first)
    if not first.isprintable() or len(first) < _SENTENCE_CHARACTERS_MIN:
        return f"it is not a whole {file.format} file"
    return first[:300]
