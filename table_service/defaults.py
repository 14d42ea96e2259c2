"""What rows get in columns that they came without, as carriers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from table_service.arrow_types import carrier_type
from table_service.literals import literal_cell, moment_cell
from table_service.types import Column, Default, Type


def literal_carrier(default: Default, type_: Type) -> pa.Scalar:
    """Return the literal of a default, which was checked when it was defined."""
    return _scalar(literal_cell(default.literal, type_), type_)


def now_carrier(moment: datetime, type_: Type) -> pa.Scalar:
    """Return a moment, in UTC, for a column of date and time."""
    return _scalar(moment_cell(moment, type_.kind), type_)


def with_default(
    rows: pa.Table, missing: Mapping[str, pa.BooleanArray], column: Column, value: pa.Scalar
) -> pa.Table:
    """Return rows with `value` wherever they came without the column; `missing` as in `codec.Decoded`."""
    at = rows.schema.get_field_index(column.name)
    if at < 0:
        return rows.append_column(column.name, pa.repeat(value, rows.num_rows))
    if column.name not in missing:
        return rows
    came = rows.column(at).combine_chunks()
    return rows.set_column(at, column.name, pc.if_else(missing[column.name], value, came))


def _scalar(cell: object, type_: Type) -> pa.Scalar:
    return pa.array([cell], carrier_type(type_))[0]
