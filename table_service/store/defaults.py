"""What columns get that rows came without: the table's defaults, made in the transaction that writes them.

Rows that lack a column here and there are *marked*: beside each such column stands one of booleans, true
where the row came without it. Marks travel with the rows, so that those of several requests can be merged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from chassis.faults import InvalidArgument
from table_service import defaults
from table_service.arrow_types import carrier_type
from table_service.store.row_ids import LARGEST
from table_service.store.transaction import Transaction
from table_service.tables import Table
from table_service.types import (
    INTEGER_BITS,
    Column,
    DefaultFunction,
    incoming,
    quoted,
    sql_type,
)

# No column of a table begins like these.
_MARK = "__missing_"
# Which of the rows of a statement over a source, as `s`, a row is, from 0.
IN_ORDER = "row_number() OVER (ORDER BY s.__at) - 1"
_DEFAULT = "__default_"


def marked(rows: pa.Table, missing: Mapping[str, pa.BooleanArray]) -> pa.Table:
    """Return rows with their marks; `missing` as in `codec.Decoded`."""
    for name, mask in missing.items():
        rows = rows.append_column(f"{_MARK}{name}", mask)
    return rows


def mark(name: str) -> str:
    """Return the name of the column that marks where `name` is missing."""
    return f"{_MARK}{name}"


def column_names(rows: pa.Table) -> list[str]:
    """Return the names of the columns that came, without the marks."""
    return [name for name in rows.schema.names if not name.startswith(_MARK)]


def filled(transaction: Transaction, table: Table, rows: pa.Table) -> pa.Table:
    """Return new rows with their defaults and without marks; what has no default is null.

    Raises:
        InvalidArgument: ROW_INVALID if a sequence has passed what its column holds.
    """
    names = set(rows.schema.names)
    if not any(name.startswith(_MARK) for name in names) and all(
        column.default is None or column.name in names for column in table.columns
    ):
        return rows
    missing = {
        name: rows.column(mark(name)).combine_chunks()
        for name in column_names(rows)
        if mark(name) in names
    }
    rows = rows.select(column_names(rows))
    for column in table.columns:
        default = column.default
        if default is None or (column.name in names and column.name not in missing):
            continue
        match default.function:
            case None:
                value = defaults.literal_carrier(default, column.type)
                rows = defaults.with_default(rows, missing, column, value)
            case DefaultFunction.NOW:
                value = defaults.now_carrier(transaction.now, column.type)
                rows = defaults.with_default(rows, missing, column, value)
            case DefaultFunction.UUID:
                made = pa.array([str(uuid4()) for _ in range(rows.num_rows)], pa.string())
                rows = _with_values(rows, missing, column, made)
            case DefaultFunction.SEQUENCE:
                made = _numbers(transaction, table, column, rows.num_rows)
                rows = _with_values(rows, missing, column, made)
    return rows


def default_sql(
    transaction: Transaction, table: Table, given: Collection[str], row_count: int, at: str
) -> dict[str, str]:
    """Return SQL, by column, of the defaults of columns that are not `given`.

    For an INSERT … SELECT in this transaction over at most `row_count` rows: `at` is SQL that counts them
    from 0. What has no default is not in the answer.

    Raises:
        InvalidArgument: ROW_INVALID if a sequence has passed what its column holds.
    """
    made: dict[str, str] = {}
    constants: dict[str, pa.Array] = {}
    for column in table.columns:
        if column.default is None or column.name in given:
            continue
        name, type_ = f"{_DEFAULT}{column.id}", sql_type(column.type)
        match column.default.function:
            case None:
                value = defaults.literal_carrier(column.default, column.type)
                constants[name] = pa.repeat(value, 1)
                made[column.name] = incoming(quoted(name), column.type)
            case DefaultFunction.NOW:
                value = defaults.now_carrier(transaction.now, column.type)
                constants[name] = pa.repeat(value, 1)
                made[column.name] = incoming(quoted(name), column.type)
            case DefaultFunction.UUID:
                made[column.name] = "uuid()"
            case DefaultFunction.SEQUENCE:
                first = _take(transaction, table, column, row_count)
                made[column.name] = f"CAST({first} + ({at}) AS {type_})"
    if constants:
        view = transaction.show(pa.table(constants))
        for column in table.columns:
            if f"{_DEFAULT}{column.id}" in constants:
                made[column.name] = f"(SELECT {made[column.name]} FROM {view})"
    return made


def counter(table: Table, column: Column) -> str:
    """Return the key under which a column's sequence is counted."""
    return f"{table.id}/{column.id}"


def counts(table: Table, given: Collection[str]) -> bool:
    """Return whether a column that is not given gets its default from a sequence."""
    return any(
        column.default is not None
        and column.default.function is DefaultFunction.SEQUENCE
        and column.name not in given
        for column in table.columns
    )


def _take(transaction: Transaction, table: Table, column: Column, count: int) -> int:
    """Return the first of `count` numbers of the column's sequence."""
    if count == 0:
        return 1
    largest = (1 << (INTEGER_BITS[column.type.kind] - 1)) - 1
    try:
        return transaction.take_ids(counter(table, column), count, min(largest, LARGEST))
    except InvalidArgument as fault:
        last = fault.metadata["last"]
        raise InvalidArgument(
            "ROW_INVALID",
            f"column {column.name!r}: its sequence would come to {last}, which does not fit"
            f" {column.type.kind}",
            column=column.name,
        ) from fault


def _numbers(transaction: Transaction, table: Table, column: Column, count: int) -> pa.Array:
    first = _take(transaction, table, column, count)
    target = carrier_type(column.type)
    numbers = range(first, first + count)
    return pa.array(map(str, numbers) if target == pa.string() else numbers, target)


def _with_values(
    rows: pa.Table, missing: Mapping[str, pa.BooleanArray], column: Column, values: pa.Array
) -> pa.Table:
    """Return rows with one of `values` wherever they came without the column."""
    at = rows.schema.get_field_index(column.name)
    if at < 0:
        return rows.append_column(column.name, values)
    came = rows.column(at).combine_chunks()
    return rows.set_column(at, column.name, pc.if_else(missing[column.name], values, came))
