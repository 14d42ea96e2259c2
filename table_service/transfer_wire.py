"""Messages of files and domain values, both ways."""

from __future__ import annotations

from chassis.faults import FieldViolation, InvalidArgument
from flux.table.v1 import row_service_pb2 as messages
from table_service.csv_dialect import AskedDialect, Dialect, dialect_violations
from table_service.store.file_bytes import Format

Mode = messages.ImportHeader.Mode
_FORMATS = {
    messages.FILE_FORMAT_CSV: Format.CSV,
    messages.FILE_FORMAT_PARQUET: Format.PARQUET,
    messages.FILE_FORMAT_ARROW_IPC: Format.ARROW_IPC,
    messages.FILE_FORMAT_JSON_LINES: Format.JSON_LINES,
}


def from_format(number: messages.FileFormat.ValueType) -> Format:
    """Return a format."""
    return _FORMATS[number]


def from_csv_options(message: messages.CsvOptions, path: str) -> AskedDialect:
    """Return what a caller says of a CSV file; `path` is where it says so.

    Raises:
        InvalidArgument: FIELDS_INVALID.
    """
    asked = AskedDialect(
        delimiter=message.delimiter,
        quote=message.quote,
        escape=message.escape,
        header=message.header if message.HasField("header") else None,
        null_text=message.null_text,
        date_format=message.date_format,
        timestamp_format=message.timestamp_format,
        detect=message.detect,
    )
    refuse(dialect_violations(asked, path))
    return asked


def to_csv_options(dialect: Dialect) -> messages.CsvOptions:
    """Return a dialect as a message."""
    return messages.CsvOptions(
        delimiter=dialect.delimiter,
        quote=dialect.quote,
        escape=dialect.escape,
        header=dialect.header,
        null_text=dialect.null_text,
        date_format=dialect.date_format,
        timestamp_format=dialect.timestamp_format,
    )


def check_header(header: messages.ImportHeader) -> None:
    """Refuse a header whose parts contradict each other.

    Raises:
        InvalidArgument: FIELDS_INVALID.
    """
    found: list[FieldViolation] = []
    if header.mode == Mode.MODE_UPSERT and not header.key:
        found.append(_violation("key", "an upsert needs a unique key of the table"))
    if header.key and header.mode != Mode.MODE_UPSERT:
        found.append(_violation("key", "only an upsert has a key"))
    if header.columns and header.mode != Mode.MODE_CREATE:
        found.append(_violation("columns", "only a new table has columns to be given"))
    if header.csv.ByteSize() and header.format != messages.FILE_FORMAT_CSV:
        found.append(_violation("csv", "only a CSV file has a dialect"))
    refuse(found)


def check_export(request: messages.ExportRowsRequest) -> None:
    """Refuse a request for an export whose parts contradict each other.

    Raises:
        InvalidArgument: FIELDS_INVALID.
    """
    found: list[FieldViolation] = []
    if bool(request.table) is bool(request.sql):
        why = "either this or sql must be given"
        found.append(FieldViolation(field="table", description=f"table: {why}"))
    for name in ("parameters", "datasets"):
        if request.table and getattr(request, name):
            why = f"{name}: only a query has them"
            found.append(FieldViolation(field=name, description=why))
    if request.sql and request.columns:
        why = "columns: a query names its own"
        found.append(FieldViolation(field="columns", description=why))
    if request.csv.ByteSize() and request.format != messages.FILE_FORMAT_CSV:
        found.append(FieldViolation(field="csv", description="csv: only a CSV file has a dialect"))
    refuse(found)


def refuse(violations: list[FieldViolation]) -> None:
    """Refuse a request whose fields are wrong, if any is.

    Raises:
        InvalidArgument: FIELDS_INVALID.
    """
    if violations:
        raise InvalidArgument(
            "FIELDS_INVALID", violations[0].description, violations=tuple(violations)
        )


def _violation(field: str, why: str) -> FieldViolation:
    return FieldViolation(field=f"header.{field}", description=f"header.{field}: {why}")
