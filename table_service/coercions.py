"""Values of one kind taken for a column of another, where nothing is lost by it.

Pure. Only for callers who ask for it; what is of the column's own kind never comes here. Taken are:

| for a column of | what |
| --- | --- |
| BOOL | the numbers 0 and 1; the text "true" or "false", in any case |
| integers | a whole number, written in any way: 7.0, "7", "7.0", "7e0"; true as 1, false as 0 |
| DECIMAL | a number with no more digits than the type, as a number or as text |
| DOUBLE, FLOAT | a number that comes back as it was written, but that a FLOAT is rounded as always |
| STRING | what JSON rows write as text, a boolean as "true", a number, a JSON document; not bytes |
| ENUM | what is a label when it is written as for STRING |
| UUID | text, also without hyphens |
| DATE | text in ISO 8601; a timestamp at midnight, in UTC if it has a zone, also as text |
| TIMESTAMP | text in ISO 8601 with a zone |
| LOCAL_TIMESTAMP | text in ISO 8601 without a zone; a date, as its midnight, also as text |
| TIME, INTERVAL | text in ISO 8601 |

A whole number of 2^53 or more that comes as a float is refused, and so is a float with more than 15
digits for a decimal: it may have been another number when it was written. Elements of lists and fields of
structs are taken as columns are. Nothing is taken for BYTES, JSON, LIST or STRUCT.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from math import isfinite, isinf

from table_service import cells
from table_service.types import INTEGER_BITS, Kind, Type

_INTEGER_SOURCES = frozenset({Kind.BOOL, *INTEGER_BITS})
_MOMENTS = frozenset({Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP})
_BARE_UUID = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
# No integer type has more digits than this.
_INTEGER_DIGITS_MAX = 39


def coerced(item: object, source: Kind, type_: Type) -> object:
    """Return a plain value of the kind `source` as the cell that the type stores.

    Plain values are int, Decimal, float, str, bool and bytes; days since 1970 for a date, microseconds for
    times and moments, (months, days, nanoseconds) for an interval; UUIDs and documents are text.

    Raises:
        ValueError: If something would be lost, or nothing of that kind is taken.
    """
    take = _TAKERS.get(type_.kind)
    if take is None:
        raise _not_taken(source, type_)
    return take(item, source, type_)


def can_take(kind: Kind) -> bool:
    """Return whether a column of the kind takes anything of other kinds."""
    return kind in _TAKERS


def text_of(item: object, source: Kind) -> str:
    """Return a plain value as JSON rows write it.

    Raises:
        ValueError: If a value of that kind is not text.
    """
    write = _TEXTS.get(source)
    if write is None:
        raise ValueError(f"a {source} is not text")
    return write(item)


def _not_taken(source: Kind, type_: Type) -> ValueError:
    return ValueError(f"a {source} is not taken for a {type_.kind}")


def _number(item: object, source: Kind, type_: Type) -> Decimal:
    if source in _INTEGER_SOURCES:
        assert isinstance(item, int)
        return Decimal(int(item))
    if isinstance(item, Decimal):
        return item
    if isinstance(item, float):
        return _number_of_float(item, type_)
    if source is Kind.STRING and isinstance(item, str):
        return cells.number_of_text(item)
    raise _not_taken(source, type_)


def _number_of_float(number: float, type_: Type) -> Decimal:
    if not isfinite(number):
        raise ValueError(f"{cells.float_name(number)} does not fit {type_.kind}")
    if abs(number) > cells.INTEGER_EXACT_MAX:
        raise ValueError(f"{number!r}: send a number of so many digits as a string")
    return Decimal(repr(number))


def _boolean(item: object, source: Kind, type_: Type) -> object:
    if source is Kind.STRING and isinstance(item, str):
        word = item.lower()
        if word not in ("true", "false"):
            raise ValueError(f"{cells.shown(item)} is neither 'true' nor 'false'")
        return word == "true"
    number = _number(item, source, type_)
    if number not in (0, 1):
        raise ValueError(f"{cells.shown(number)} is neither 0 nor 1")
    return number == 1


def _integer(item: object, source: Kind, type_: Type) -> object:
    number = _number(item, source, type_)
    if number.adjusted() > _INTEGER_DIGITS_MAX:
        raise ValueError(f"{cells.shown(number)} does not fit {type_.kind}")
    if int(number) != number:
        raise ValueError(f"{cells.shown(number)} is not an integer")
    checked = cells.integer(int(number), type_.kind)
    return str(checked) if type_.kind is Kind.INT128 else checked


def _decimal(item: object, source: Kind, type_: Type) -> object:
    if isinstance(item, float):
        return cells.decimal_of_float(item, type_)
    return cells.decimal(str(_number(item, source, type_)), type_)


def _float(item: object, source: Kind, type_: Type) -> object:
    if isinstance(item, float):
        return cells.floating(item, type_.kind)
    if isinstance(item, str) and source is Kind.STRING and item in cells.FLOAT_NAMES:
        return cells.named_float(item, type_.kind)
    number = _number(item, source, type_)
    near = float(number)
    if isinf(near):
        raise ValueError(f"{cells.shown(number)} does not fit {type_.kind}")
    if Decimal(near) != number and Decimal(repr(near)) != number:
        raise ValueError(f"{cells.shown(number)} is not exact as a {type_.kind}")
    return cells.floating(near, type_.kind)


def _string(item: object, source: Kind, type_: Type) -> object:
    if source not in _TEXTS:
        raise _not_taken(source, type_)
    return text_of(item, source)


def _label(item: object, source: Kind, type_: Type) -> object:
    if source not in _TEXTS:
        raise _not_taken(source, type_)
    return cells.label_reader(type_)(text_of(item, source))


def _uuid(item: object, source: Kind, type_: Type) -> object:
    if source is not Kind.STRING or not isinstance(item, str):
        raise _not_taken(source, type_)
    if _BARE_UUID.fullmatch(item):
        parts = (item[:8], item[8:12], item[12:16], item[16:20], item[20:])
        return cells.uuid("-".join(parts))
    return cells.uuid(item)


def _day(item: object, source: Kind, type_: Type) -> object:
    if source in _MOMENTS and isinstance(item, int):
        days, rest = divmod(item, cells.DAY_MICROSECONDS)
        if rest:
            raise ValueError(f"{cells.moment_text(item, source)} is not midnight")
        return days
    if source is not Kind.STRING or not isinstance(item, str):
        raise _not_taken(source, type_)
    if "T" in item or " " in item:
        zoned = cells.has_zone(item)
        kind = Kind.TIMESTAMP if zoned else Kind.LOCAL_TIMESTAMP
        return _day(cells.moment(item, kind), kind, type_)
    return cells.day(item)


def _local_moment(item: object, source: Kind, type_: Type) -> object:
    if source is Kind.DATE and isinstance(item, int):
        return cells.in_range(item * cells.DAY_MICROSECONDS)
    if source is not Kind.STRING or not isinstance(item, str):
        raise _not_taken(source, type_)
    if "T" in item or " " in item:
        return cells.moment(item, type_.kind)
    return cells.day(item) * cells.DAY_MICROSECONDS


def _from_text(read: Callable[[str], object]) -> Callable[[object, Kind, Type], object]:
    def take(item: object, source: Kind, type_: Type) -> object:
        if source is not Kind.STRING or not isinstance(item, str):
            raise _not_taken(source, type_)
        return read(item)

    return take


_TAKERS: dict[Kind, Callable[[object, Kind, Type], object]] = {
    Kind.BOOL: _boolean,
    **dict.fromkeys(INTEGER_BITS, _integer),
    Kind.DECIMAL: _decimal,
    Kind.FLOAT: _float,
    Kind.DOUBLE: _float,
    Kind.STRING: _string,
    Kind.ENUM: _label,
    Kind.UUID: _uuid,
    Kind.DATE: _day,
    Kind.TIME: _from_text(cells.time_of_day),
    Kind.TIMESTAMP: _from_text(lambda text: cells.moment(text, Kind.TIMESTAMP)),
    Kind.LOCAL_TIMESTAMP: _local_moment,
    Kind.INTERVAL: _from_text(cells.interval_of_text),
}


def _float_text(item: object) -> str:
    assert isinstance(item, float)
    return repr(item) if isfinite(item) else cells.float_name(item)


def _number_text(item: object) -> str:
    assert isinstance(item, (int, Decimal))
    return format(item, "f") if isinstance(item, Decimal) else str(item)


def _count_text(write: Callable[[int], str]) -> Callable[[object], str]:
    def written(item: object) -> str:
        assert isinstance(item, int)
        return write(item)

    return written


def _interval_text(item: object) -> str:
    assert isinstance(item, tuple)
    months, days, nanoseconds = item
    return cells.interval_text(months, days, nanoseconds)


_TEXTS: dict[Kind, Callable[[object], str]] = {
    Kind.BOOL: lambda item: "true" if item else "false",
    **dict.fromkeys(INTEGER_BITS, _number_text),
    Kind.DECIMAL: _number_text,
    Kind.FLOAT: _float_text,
    Kind.DOUBLE: _float_text,
    Kind.STRING: str,
    Kind.UUID: str,
    Kind.JSON: str,
    Kind.DATE: _count_text(cells.day_text),
    Kind.TIME: _count_text(cells.time_text),
    Kind.TIMESTAMP: _count_text(lambda item: cells.moment_text(item, Kind.TIMESTAMP)),
    Kind.LOCAL_TIMESTAMP: _count_text(lambda item: cells.moment_text(item, Kind.LOCAL_TIMESTAMP)),
    Kind.INTERVAL: _interval_text,
}
