"""Looking at a file before it is imported: its columns, its first rows, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from chassis.faults import InvalidArgument
from table_service.row_faults import RowFault
from table_service.schemas import Schema, new_table
from table_service.store.files import Fields, File, fields_of
from table_service.store.import_faults import bad_values, damage_told
from table_service.store.inference import inferred
from table_service.store.sources import Import, Read, matched, reading_file
from table_service.store.violations import AT
from table_service.tables import MAIN, Table
from table_service.types import Column, outgoing

PROBLEMS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What would keep a file from being imported, or change what it says; `row` is 0 for all of it."""

    row: int
    column: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a file seems to be: `sample` are its first rows as carriers of `columns`."""

    columns: tuple[Column, ...]
    sample: pa.Table
    problems: tuple[Problem, ...]
    row_count: int


def preview(
    cursor: duckdb.DuckDBPyConnection, file: File, table: Table | None, sample_row_count: int
) -> Preview:
    """Look at a file, and hold it against a table if there is one.

    Raises:
        InvalidArgument: FILE_INVALID.
    """
    with damage_told(file):
        return _preview(cursor, file, table, sample_row_count)


def _preview(
    cursor: duckdb.DuckDBPyConnection, file: File, table: Table | None, sample_row_count: int
) -> Preview:
    fields = fields_of(cursor, file)
    columns = inferred(cursor, file)
    asked = Import(table=_imagined(columns), file=file, whole=False)
    with reading_file(cursor, asked, as_text=True) as read:
        faults, rejected = bad_values(cursor, file, read)
    # Opened again for each statement: an Arrow stream is read once.
    with reading_file(cursor, asked, as_text=True) as read:
        row_count = _row_count(cursor, read)
    with reading_file(cursor, asked, as_text=True) as read:
        sample = _sample(cursor, read, sample_row_count)
    problems = [*_name_problems(fields.names, columns), *_of_rows(faults)]
    if table is not None:
        problems = list(_table_problems(cursor, file, table, fields, columns))
    return Preview(
        columns=columns,
        sample=sample,
        problems=tuple(problems[:PROBLEMS_MAX]),
        row_count=row_count + rejected,
    )


def _row_count(cursor: duckdb.DuckDBPyConnection, read: Read) -> int:
    source = read.source(numbered=False)
    [[row_count]] = cursor.execute(f"SELECT count(*) FROM {source.relation}").fetchall()
    return int(row_count)


def _sample(cursor: duckdb.DuckDBPyConnection, read: Read, row_count_max: int) -> pa.Table:
    """Return the first rows as carriers."""
    source = read.source()
    selected = ", ".join(outgoing(source.values[column.name], column) for column in read.columns)
    return cursor.sql(
        f"SELECT {selected or '1'} FROM {source.relation} AS s ORDER BY s.{AT} LIMIT {row_count_max}"
    ).to_arrow_table()


def _name_problems(names: Sequence[str], columns: Sequence[Column]) -> Iterator[Problem]:
    for at, (name, column) in enumerate(zip(names, columns, strict=True), start=1):
        if name != column.name:
            why = f"column {at} is called {name!r}; a table would call it {column.name!r}"
            yield Problem(row=0, column=column.name, description=why)


def _table_problems(
    cursor: duckdb.DuckDBPyConnection,
    file: File,
    table: Table,
    fields: Fields,
    columns: Sequence[Column],
) -> Iterator[Problem]:
    """Yield what would keep the file from being appended to the table."""
    try:
        held = list(_held(table, fields, columns))
    except InvalidArgument as fault:
        yield Problem(row=0, column="", description=fault.message)
        return
    for name, column in zip(fields.names, held, strict=True):
        if column not in table.columns:
            why = f"table {table.full_name!r} has no column {name!r}"
            yield Problem(row=0, column=name, description=why)
    for column in table.columns:
        if column.required and column not in held:
            why = f"the file has no column {column.name!r}, which refuses null"
            yield Problem(row=0, column=column.name, description=why)
    asked = Import(table=_imagined(held), file=file, whole=False)
    try:
        with reading_file(cursor, asked, as_text=True) as read:
            faults, _ = bad_values(cursor, file, read)
    except InvalidArgument as fault:
        name = fault.metadata.get("column", "")
        yield Problem(row=0, column=name, description=fault.message)
        return
    yield from _of_rows(faults)


def _held(table: Table, fields: Fields, columns: Sequence[Column]) -> Iterator[Column]:
    """Yield what to hold each column of the file against: the table's, or what it seems to be."""
    if fields.unnamed:
        yield from matched(table, fields)
        return
    known = {column.name: column for column in table.columns}
    for name, column in zip(fields.names, columns, strict=True):
        yield known.get(column.name) or known.get(name) or column


def _of_rows(faults: Sequence[RowFault]) -> Iterator[Problem]:
    for fault in faults:
        yield Problem(row=fault.index, column=fault.column, description=fault.message)


def _imagined(columns: Sequence[Column]) -> Table:
    """Return a table of these columns that is nowhere, to hold a file against."""
    moment = datetime.fromtimestamp(0, UTC)
    schema = Schema(columns=tuple(columns))
    return new_table(schema, id_="", namespace=MAIN, name="file", owner="", now=moment)
