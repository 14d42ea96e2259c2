"""Beginnings of files, cut where the last whole part of them ends."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from table_service.csv_dialect import Dialect
from table_service.store.file_bytes import Format, file_invalid
from table_service.store.row_ends import last_row_end


def cut(path: Path, format_: Format, dialect: Dialect) -> None:
    """Cut what is not whole off a file's end; nothing may have it open.

    Raises:
        InvalidArgument: FILE_INVALID if no part of it says anything without the rest.
    """
    match format_:
        case Format.CSV:
            _cut_lines(path, dialect)
        case Format.JSON_LINES:
            _cut_lines(path, None)
        case Format.ARROW_IPC:
            _cut_messages(path)
        case Format.PARQUET:
            raise file_invalid("a Parquet file says what is in it at its end; send it whole")


def _cut_lines(path: Path, dialect: Dialect | None) -> None:
    end = last_row_end(path.read_bytes(), dialect)
    if end >= 0:
        with path.open("r+b") as file:
            file.truncate(end + 1)


def _cut_messages(path: Path) -> None:
    """Cut after the last message that is whole."""
    whole = 0
    with pa.memory_map(str(path)) as mapped:
        reader = pa.ipc.MessageReader.open_stream(mapped)
        try:
            for _ in reader:
                whole = mapped.tell()
        except (pa.ArrowException, OSError):
            pass
    if whole:
        with path.open("r+b") as file:
            file.truncate(whole)
