"""Values of definitions as SQL text.

Pure. For statements that have no parameters: what is written here is read back as the same value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal

from table_service import cells
from table_service.literals import literal_cell, moment_cell
from table_service.types import Default, DefaultFunction, Kind, Type, quoted, sql_text, sql_type

# One text writes each of these.
_PLAIN = frozenset(
    {
        *(Kind.BOOL, Kind.INT16, Kind.INT32, Kind.INT64, Kind.INT128, Kind.DECIMAL, Kind.STRING),
        *(Kind.UUID, Kind.DATE, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP, Kind.TIME),
    }
)


def default_literal(default: Default, type_: Type, now: datetime) -> str:
    """Return the value that a default stands for, at `now`; not of one that differs by row."""
    assert default.function in (None, DefaultFunction.NOW)
    if default.function is DefaultFunction.NOW:
        return written(moment_cell(now, type_.kind), type_)
    return written(literal_cell(default.literal, type_), type_)


def plain_literal(default: Default, type_: Type, now: datetime) -> str | None:
    """Return the same as one quoted text, which DuckDB casts by itself; None if that does not say it.

    An ALTER TABLE with a default that is any other expression is several statements to DuckDB 1.5.
    """
    if type_.kind not in _PLAIN or default.function not in (None, DefaultFunction.NOW):
        return None
    if default.function is DefaultFunction.NOW:
        cell: object = moment_cell(now, type_.kind)
    else:
        cell = literal_cell(default.literal, type_)
    if cell is None:
        return "NULL"
    text = _WRITERS.get(type_.kind, _quoted)(cell, type_)
    return None if "\0" in text else text


def written(cell: object, type_: Type) -> str:
    """Return a cell, as `literals.literal_cell` gives it, as SQL of exactly the type."""
    stored = sql_type(type_)
    if cell is None:
        return f"CAST(NULL AS {stored})"
    return f"CAST({_WRITERS.get(type_.kind, _text)(cell, type_)} AS {stored})"


def _text(cell: object, _: Type) -> str:
    return _joined(str(cell))


def _quoted(cell: object, _: Type) -> str:
    return sql_text(str(cell))


def _joined(text: str) -> str:
    """Return a text; DuckDB reads no NUL inside quotes."""
    return "(" + " || chr(0) || ".join(sql_text(part) for part in text.split("\0")) + ")"


def _decimal(cell: object, _: Type) -> str:
    assert isinstance(cell, Decimal)
    return sql_text(format(cell, "f"))


def _bytes(cell: object, _: Type) -> str:
    assert isinstance(cell, bytes)
    return f"from_hex('{cell.hex()}')"


def _day(cell: object, _: Type) -> str:
    assert isinstance(cell, int)
    return sql_text(cells.day_text(cell))


def _time(cell: object, _: Type) -> str:
    assert isinstance(cell, int)
    return sql_text(cells.time_text(cell))


def _moment(cell: object, type_: Type) -> str:
    assert isinstance(cell, int)
    return sql_text(cells.moment_text(cell, type_.kind))


def _interval(cell: object, _: Type) -> str:
    assert isinstance(cell, tuple)
    months, days, nanoseconds = cell
    return (
        f"to_months(CAST({months} AS INTEGER)) + to_days(CAST({days} AS INTEGER))"
        f" + to_microseconds(CAST({nanoseconds // 1000} AS BIGINT))"
    )


def _list(cell: object, type_: Type) -> str:
    assert isinstance(cell, list)
    assert type_.element is not None
    element = type_.element
    return "[" + ", ".join(written(item, element) for item in cell) + "]"


def _struct(cell: object, type_: Type) -> str:
    assert isinstance(cell, Mapping)
    fields = (f"{quoted(f.name)} := {written(cell[f.name], f.type)}" for f in type_.fields)
    return f"struct_pack({', '.join(fields)})"


_WRITERS: dict[Kind, Callable[[object, Type], str]] = {
    Kind.DECIMAL: _decimal,
    Kind.BYTES: _bytes,
    Kind.DATE: _day,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _moment,
    Kind.LOCAL_TIMESTAMP: _moment,
    Kind.INTERVAL: _interval,
    Kind.LIST: _list,
    Kind.STRUCT: _struct,
}
