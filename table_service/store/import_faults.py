"""Why a file could not be loaded: it is read again, slowly, to name its bad rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from chassis.faults import FieldViolation, InvalidArgument
from table_service import cells
from table_service.store.imports import (
    REJECTS,
    VIOLATIONS_MAX,
    Format,
    Import,
    Source,
    file_invalid,
    opened_source,
)
from table_service.types import Column, Kind, precision, quoted

_REASON = "ROW_INVALID"


def explain(cursor: duckdb.DuckDBPyConnection, asked: Import, error: duckdb.Error) -> None:
    """Raise why the file cannot be loaded, naming rows; return if there is nothing wrong with it.

    Raises:
        InvalidArgument: ROW_INVALID or FILE_INVALID.
    """
    try:
        with opened_source(cursor, asked, as_text=True) as source:
            violations = _bad_rows(cursor, asked, source)
    except (duckdb.OutOfMemoryException, duckdb.InterruptException):
        raise
    except duckdb.Error as damage:
        raise file_invalid(_sentence(damage, asked.file.path)) from error
    if violations:
        raise InvalidArgument(
            "ROW_INVALID", violations[0].description, violations=tuple(violations)
        ) from error


def _bad_rows(
    cursor: duckdb.DuckDBPyConnection, asked: Import, source: Source
) -> list[FieldViolation]:
    """Return what is wrong, in the order of the file."""
    conditions = [
        f"({quoted(c.name)} IS NOT NULL AND TRY({value}) IS NULL)"
        + (f" OR {quoted(c.name)} IS NULL" if c.not_null else "")
        for c, value in zip(source.columns, source.values, strict=True)
    ]
    texts = [f"CAST({quoted(c.name)} AS VARCHAR)" for c in source.columns]
    found = cursor.execute(
        f"SELECT __n, [{', '.join(conditions)}], [{', '.join(texts)}]"
        f" FROM (SELECT *, {source.row_number} AS __n FROM {source.relation})"
        f" WHERE {' OR '.join(conditions)} LIMIT {VIOLATIONS_MAX}"
    ).fetchall()
    rejected: list[tuple[int, str]] = []
    if asked.format is Format.CSV:
        rejected = cursor.execute(
            f"SELECT line - 1, arg_min(error_message, column_idx) FROM temp.{REJECTS}"
            " GROUP BY line ORDER BY line"
        ).fetchall()
    violations = [
        (row, FieldViolation(field=f"rows[{row}]", description=f"row {row}: {why}", reason=_REASON))
        for row, why in rejected
    ]
    for kept, bad, values in found:
        row = _row_in_file(kept, [number for number, _ in rejected])
        for column, is_bad, text in zip(source.columns, bad, values, strict=True):
            if is_bad:
                violations.append((row, _violation(row, column, text)))
    return [one for _, one in sorted(violations, key=lambda pair: pair[0])][:VIOLATIONS_MAX]


def _row_in_file(kept: int, rejected: Sequence[int]) -> int:
    """Return where the `kept`-th row stands that was not rejected; `rejected` is in order."""
    for number in rejected:
        if number <= kept:
            kept += 1
    return kept


def _violation(row: int, column: Column, text: str | None) -> FieldViolation:
    return FieldViolation(
        field=f"rows[{row}].{column.name}",
        description=f"row {row}, column {column.name!r}: {_why(column, text)}",
        reason=_REASON,
    )


def _why(column: Column, text: str | None) -> str:
    if text is None:
        return "null in a column that refuses it"
    type_, kind = column.type, column.type.kind
    try:
        match kind:
            case Kind.INT16 | Kind.INT32 | Kind.INT64 | Kind.INT128:
                cells.integer_text(text, kind)
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
    except ValueError as error:
        return str(error)
    named = f"DECIMAL({precision(type_)},{type_.scale})" if kind is Kind.DECIMAL else str(kind)
    return f"{cells.shown(text)} is not a {named}"


def _sentence(error: duckdb.Error, path: Path) -> str:
    """Return the first line of DuckDB's sentence without the kind of error and our file's name."""
    first = str(error).split("\n", 1)[0].split(": ", 1)[-1]
    for name in (f'"{path}"', f"'{path}'", str(path)):
        first = first.replace(name, "the file")
    return first[:300]
