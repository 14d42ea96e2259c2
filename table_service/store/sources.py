"""A file beside a table: which of the table's columns it has, and SQL of the values to store.

What a file calls a column is that of the table with the name that a table would give it (see `column_names`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import duckdb

from chassis.faults import FieldViolation, InvalidArgument
from table_service.column_names import legal_names
from table_service.file_columns import (
    bounded,
    csv_type,
    from_csv,
    from_text,
    from_type,
    holds_numbers,
    json_type,
)
from table_service.store.file_bytes import Format, file_invalid
from table_service.store.files import Fields, File, Relation, fields_of, opened
from table_service.store.long_numbers import long_numbers
from table_service.store.staging import Source
from table_service.store.violations import AT
from table_service.tables import Table
from table_service.types import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A received file and the table it is for.

    `whole`: its rows are to be whole, so that a column that refuses null and has no default must be among
    them; others keep what is there.
    """

    table: Table
    file: File
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A file ready to read for a table.

    `columns`, those of the table that it has, in its order; `values`, SQL of what to store in each.
    `lacking`: SQL, by column, that is true where a row came without it and that matters. All over the
    source's relation as `s`, in which the values as they came are called c0, c1, …
    """

    relation: Relation
    columns: tuple[Column, ...]
    values: tuple[str, ...]
    lacking: Mapping[str, str]

    def source(self, *, numbered: bool = True) -> Source:
        """Return the file as a source of rows, which are counted from 1 if `numbered`: that takes time."""
        selected = [f"{read} AS c{at}" for at, read in enumerate(self.relation.columns)]
        selected += [f"{lacks} AS m{at}" for at, lacks in enumerate(self.relation.lacking)]
        if numbered:
            selected.append(f"{self.relation.row_number} AS {AT}")
        pairs = zip(self.columns, self.values, strict=True)
        return Source(
            relation=f"(SELECT {', '.join(selected or ['1'])} FROM {self.relation.sql})",
            values={column.name: value for column, value in pairs},
            missing=self.lacking,
            row_count=self.relation.row_count_max + 1,
        )


@contextmanager
def reading_file(
    cursor: duckdb.DuckDBPyConnection, asked: Import, *, as_text: bool = False
) -> Iterator[Read]:
    """Yield the file ready to read from. `as_text`: every value of a CSV file as text, rejects kept.

    Raises:
        InvalidArgument: FILE_INVALID, COLUMN_NOT_FOUND or ROW_INVALID for the file as a whole.
        duckdb.Error: For what is damaged.
    """
    file = asked.file
    fields = fields_of(cursor, file)
    columns = matched(asked.table, fields)
    if asked.whole and fields.names:
        _refuse_missing(asked.table, columns)
    lacking = {
        column.name: f"s.m{at}"
        for at, (column, name) in enumerate(_pairs(columns, fields))
        if name in fields.lacking and (column.default is not None or not asked.whole)
    }
    if fields.long_numbers:
        _refuse_long_numbers(cursor, file, fields, columns)
    types, values = _types_and_values(file, fields, columns, as_text=as_text)
    by_key = fields if lacking else replace(fields, lacking=frozenset())
    with opened(cursor, file, by_key, types, rejects=as_text) as relation:
        yield Read(relation=relation, columns=columns, values=tuple(values), lacking=lacking)


def matched(table: Table, fields: Fields) -> tuple[Column, ...]:
    """Return the table's columns that a file has, in the file's order.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND; FILE_INVALID if two names are of one column, or if there are no
            names and not as many columns as the table has.
    """
    names = fields.names
    if fields.unnamed:
        if len(names) not in (0, len(table.columns)):
            raise file_invalid(
                f"its rows have {len(names)} values, and the table {len(table.columns)} columns"
            )
        return table.columns[: len(names)]
    known = {column.name: column for column in table.columns}
    columns: list[Column] = []
    for name, legal in zip(names, legal_names(names), strict=True):
        column = known.get(legal) or known.get(name) or table.column(name)
        if column in columns:
            raise file_invalid(f"it has two columns {column.name!r}")
        columns.append(column)
    return tuple(columns)


def _pairs(columns: Sequence[Column], fields: Fields) -> Iterator[tuple[Column, str]]:
    return zip(columns, fields.names, strict=True)


def _types_and_values(
    file: File, fields: Fields, columns: Sequence[Column], *, as_text: bool
) -> tuple[list[str], list[str]]:
    """Return what to read each column as, and SQL of the value to store."""
    types: list[str] = []
    values: list[str] = []
    for at, column in enumerate(columns):
        came, type_ = f"s.c{at}", column.type
        match file.format:
            case Format.CSV:
                fractions = file.spooled.seen.fractions
                written = (
                    "VARCHAR" if as_text else csv_type(type_, file.dialect, fractions=fractions)
                )
                value = came if written != "VARCHAR" else from_csv(came, type_, file.dialect)
            case Format.JSON_LINES:
                written, value = json_type(type_), from_text(came, type_)
            case _:
                written = fields.written[at]
                value = _from_written(came, written, column)
        types.append(written)
        values.append(bounded(value, type_))
    return types, values


def _from_written(came: str, written: str, column: Column) -> str:
    try:
        return from_type(came, written, column.type)
    except ValueError as error:
        raise InvalidArgument(
            "ROW_INVALID", f"column {column.name!r}: {error}", column=column.name
        ) from error


def _refuse_missing(table: Table, columns: Sequence[Column]) -> None:
    for column in table.columns:
        if column.required and column not in columns:
            raise InvalidArgument(
                "ROW_INVALID",
                f"the file has no column {column.name!r}, which refuses null",
                column=column.name,
            )


def _refuse_long_numbers(
    cursor: duckdb.DuckDBPyConnection, file: File, fields: Fields, columns: Sequence[Column]
) -> None:
    """Refuse numbers in JSON that are read as other numbers, where the column would tell them apart."""
    names = [name for column, name in _pairs(columns, fields) if holds_numbers(column.type)]
    violations = tuple(
        FieldViolation(
            field=f"rows[{row}].{name}",
            description=f"row {row}, column {name!r}: JSON's numbers are read with 15 digits;"
            " write a longer one as a string",
            reason="ROW_INVALID",
        )
        for row, name in long_numbers(cursor, file, names)
    )
    if violations:
        raise InvalidArgument("ROW_INVALID", violations[0].description, violations=violations)
