"""Values written into definitions: Python values, as `chassis.values.from_value` gives them, made into cells.

Pure. Nothing is cast: a literal is of the column's own type, but an integer is taken where a decimal or
a float holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from chassis.scalars import Json, Span
from table_service import cells
from table_service.types import Default, DefaultFunction, Kind, Type

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INTEGERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.INT128})
_WORDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    Decimal: "a decimal",
    str: "a string",
    bytes: "bytes",
    UUID: "a UUID",
    date: "a date",
    time: "a time",
    datetime: "a timestamp",
    Span: "an interval",
    Json: "a JSON document",
    list: "a list",
    dict: "a map",
}
# Which kinds a function makes values of.
_MADE_BY = {
    DefaultFunction.NOW: frozenset({Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP}),
    DefaultFunction.UUID: frozenset({Kind.UUID}),
    DefaultFunction.SEQUENCE: _INTEGERS,
}


def check_default(default: Default, type_: Type, *, not_null: bool) -> None:
    """Refuse a default that a column of the type cannot have.

    Raises:
        ValueError: With the reason as a sentence.
    """
    if default.function is not None:
        if type_.kind not in _MADE_BY[default.function]:
            raise ValueError(f"{default.function} makes no {type_.kind}")
    elif literal_cell(default.literal, type_) is None and not_null:
        raise ValueError("null is no default of a column that refuses it")


def moment_cell(moment: datetime, kind: Kind) -> int:
    """Return the cell of a moment, in UTC, for a kind of date and time."""
    microseconds = (moment - _EPOCH) // _MICROSECOND
    match kind:
        case Kind.DATE:
            return microseconds // cells.DAY_MICROSECONDS
        case Kind.TIME:
            return microseconds % cells.DAY_MICROSECONDS
        case _:
            return microseconds


def literal_cell(value: object, type_: Type) -> object:
    """Return a literal as the cell that the type stores; None for null.

    Raises:
        ValueError: If the value is of another type, or does not fit.
    """
    if value is None:
        return None
    read = _READERS.get((type_.kind, type(value)))
    if read is None:
        raise ValueError(f"{_WORDS[type(value)]} is not a {type_.kind}")
    return read(value, type_)


def _integer(value: object, type_: Type) -> object:
    assert isinstance(value, int)
    checked = cells.integer(value, type_.kind)
    return str(checked) if type_.kind is Kind.INT128 else checked


def _float_of_integer(value: object, type_: Type) -> object:
    assert isinstance(value, int)
    return cells.float_of_integer(value, type_.kind)


def _float(value: object, type_: Type) -> object:
    assert isinstance(value, float)
    return cells.floating(value, type_.kind)


def _decimal(value: object, type_: Type) -> object:
    return cells.decimal(str(value), type_)


def _same(value: object, _: Type) -> object:
    return value


def _label(value: object, type_: Type) -> object:
    assert isinstance(value, str)
    return cells.label_reader(type_)(value)


def _document(value: object, _: Type) -> object:
    assert isinstance(value, Json)
    return cells.json_document(value.text)


def _day(value: object, _: Type) -> object:
    assert isinstance(value, date)
    return value.toordinal() - _EPOCH.toordinal()


def _time(value: object, _: Type) -> object:
    assert isinstance(value, time)
    return cells.time_of_day(value.isoformat())


def _moment(value: object, type_: Type) -> object:
    assert isinstance(value, datetime)
    return cells.moment(value.isoformat(), type_.kind)


def _span(value: object, _: Type) -> object:
    assert isinstance(value, Span)
    return cells.interval(value.months, value.days, value.microseconds)


def _list(value: object, type_: Type) -> object:
    assert isinstance(value, list)
    assert type_.element is not None
    element = type_.element
    return cells.list_cell(value, lambda item: literal_cell(item, element))


def _struct(value: object, type_: Type) -> object:
    assert isinstance(value, Mapping)
    types = {field.name: field.type for field in type_.fields}
    return cells.struct_cell(value, types, lambda name: literal_cell(value[name], types[name]))


_READERS: dict[tuple[Kind, type], Callable[[object, Type], object]] = {
    **{(kind, int): _integer for kind in _INTEGERS},
    (Kind.BOOL, bool): _same,
    (Kind.DECIMAL, Decimal): _decimal,
    (Kind.DECIMAL, int): _decimal,
    (Kind.FLOAT, float): _float,
    (Kind.FLOAT, int): _float_of_integer,
    (Kind.DOUBLE, float): _float,
    (Kind.DOUBLE, int): _float_of_integer,
    (Kind.STRING, str): _same,
    (Kind.BYTES, bytes): _same,
    (Kind.UUID, UUID): lambda value, _: str(value),
    (Kind.DATE, date): _day,
    (Kind.TIME, time): _time,
    (Kind.TIMESTAMP, datetime): _moment,
    (Kind.LOCAL_TIMESTAMP, datetime): _moment,
    (Kind.INTERVAL, Span): _span,
    (Kind.JSON, Json): _document,
    (Kind.LIST, list): _list,
    (Kind.STRUCT, dict): _struct,
    (Kind.ENUM, str): _label,
}
