"""Values of one type, one by one: what may be stored, and how it is written as text.

Pure. A *cell* is what Arrow takes for a value: int, float, Decimal, str, bytes, days since 1970 for a date,
microseconds for times and moments, (months, days, nanoseconds) for an interval, a list. Each function
that reads raises ValueError with the reason as a sentence's end: "70000 does not fit INT16".
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from math import isfinite, isinf
from typing import TypeVar
from uuid import UUID

from table_service.types import INTEGER_BITS, Kind, Type, precision

Item = TypeVar("Item")

DAY_MICROSECONDS = 86_400_000_000
# Past this a float may stand for more than one integer, and JSON rows write them as strings.
INTEGER_EXACT_MAX = 2**53 - 1
# More digits than these a float does not hold for sure.
_FLOAT_DIGITS = 15
# What JSON has no number for.
FLOAT_NAMES = frozenset({"NaN", "Infinity", "-Infinity"})
INTERVAL_MICROSECONDS_MAX = (2**63 - 1) // 1000
# Well within what Python's own reader takes, wherever it is called.
DOCUMENT_DEPTH_MAX = 500
_SHOWN_CHARACTERS_MAX = 60
_SHOWN_TEXTS_MAX = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAYS = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
DAY_MIN, DAY_MAX = (date.min.toordinal() - _EPOCH_DAYS, date.max.toordinal() - _EPOCH_DAYS)
MOMENT_MIN = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
MOMENT_MAX = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
# More digits than any decimal has, so that nothing is rounded on the way.
_EXACT_DIGITS = 100
_EXACT = Context(prec=_EXACT_DIGITS)
_EXACT_READER = Context(prec=_EXACT_DIGITS, traps=[InvalidOperation, Inexact])

_INTEGER = re.compile(r"[+-]?\d{1,39}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,4})?", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|z|[+-]\d\d:\d\d)?", re.ASCII
)
_ZONE = re.compile(r"(Z|z|[+-]\d\d:\d\d)$", re.ASCII)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_INTERVAL = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)W)?(?:(-?\d+)D)?"
    r"(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d{1,6}))?S)?)?",
    re.ASCII,
)


def shown(value: object) -> str:
    """Return a value as a message shows it: quoted if text, and cut."""
    # Cut before it is quoted: a text may have many megabytes.
    start = value[: _SHOWN_CHARACTERS_MAX + 1] if isinstance(value, (str, bytes)) else value
    text = repr(start) if isinstance(start, (str, bytes)) else str(start)
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}…"


def shown_list(texts: Sequence[str]) -> str:
    """Return texts as a message lists them: quoted, and not all of many."""
    listed = ", ".join(map(shown, texts[:_SHOWN_TEXTS_MAX]))
    return f"{listed}, …" if len(texts) > _SHOWN_TEXTS_MAX else listed


def integer(number: int, kind: Kind) -> int:
    """Check the range of an integer."""
    limit = 1 << (INTEGER_BITS[kind] - 1)
    if not -limit <= number < limit:
        raise ValueError(f"{shown(number)} does not fit {kind}")
    return number


def integer_of_text(text: str, kind: Kind) -> int:
    """Read an integer from text."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{shown(text)} is not an integer")
    return integer(int(text), kind)


def floating(number: float, kind: Kind) -> float:
    """Check that a number does not overflow; a FLOAT is rounded to the nearest."""
    if kind is Kind.FLOAT and isfinite(number):
        try:
            struct.pack("<f", number)
        except OverflowError as error:
            raise ValueError(f"{number} does not fit {kind}") from error
    return number


def float_of_integer(number: int, kind: Kind) -> float:
    """Return an integer as the float that holds it exactly."""
    near = float(number)
    if kind is Kind.FLOAT:
        [near] = struct.unpack("<f", struct.pack("<f", near))
    if int(near) != number:
        raise ValueError(f"{number} is not exact as a {kind}")
    return near


def number_of_text(text: str) -> Decimal:
    """Read a number of up to a hundred digits from text."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a decimal number")
    try:
        return _EXACT_READER.create_decimal(text)
    except (InvalidOperation, Inexact) as error:
        raise ValueError(f"{shown(text)} has more than {_EXACT_DIGITS} digits") from error


def decimal_of_float(near: float, type_: Type) -> Decimal:
    """Return a float as the decimal that it was written as, if it has no more digits than a float holds."""
    text = repr(near)
    digits = text.lstrip("-").split("e")[0].replace(".", "").strip("0")
    if isfinite(near) and (len(digits) > _FLOAT_DIGITS or abs(near) > INTEGER_EXACT_MAX):
        raise ValueError(f"{text}: send a number of so many digits as a string")
    return decimal(text, type_)


def decimal(text: str, type_: Type) -> Decimal:
    """Read a decimal that the type holds without rounding."""
    read = number_of_text(text)
    named = f"DECIMAL({precision(type_)},{type_.scale})"
    if read and read.adjusted() >= precision(type_) - type_.scale:
        raise ValueError(f"{shown(text)} does not fit {named}")
    exponent = read.as_tuple().exponent
    assert isinstance(exponent, int)
    scaled = _EXACT.scaleb(read, type_.scale) if exponent > -90 else read
    if scaled != scaled.to_integral_value(context=_EXACT):
        raise ValueError(f"{shown(text)} has more than {type_.scale} digits after the point")
    return Decimal(int(scaled)).scaleb(-type_.scale, context=_EXACT)


def label_reader(type_: Type) -> Callable[[str], str]:
    """Return what checks that an enum has a label."""
    labels = frozenset(type_.labels)

    def read(text: str) -> str:
        if text not in labels:
            raise ValueError(f"{shown(text)} is none of the labels {shown_list(type_.labels)}")
        return text

    return read


def list_cell(items: Iterable[Item], read: Callable[[Item], object]) -> list[object]:
    """Return the cells of a list, or say which element is wrong."""
    cells_: list[object] = []
    for at, item in enumerate(items):
        try:
            cells_.append(read(item))
        except ValueError as error:
            raise ValueError(f"element {at}: {error}") from error
    return cells_


def struct_cell(
    came: Iterable[str], fields: Collection[str], read: Callable[[str], object]
) -> dict[str, object]:
    """Return the cell of a struct with `fields`, of which those in `came` are read, or say which is wrong.

    A field that did not come is null.
    """
    cells_: dict[str, object] = dict.fromkeys(fields)
    for name in came:
        if name not in cells_:
            raise ValueError(f"the struct has no field {shown(name)}")
        try:
            cells_[name] = read(name)
        except ValueError as error:
            raise ValueError(f"field {name!r}: {error}") from error
    return cells_


def uuid(text: str) -> str:
    """Check the hyphenated form."""
    if not _UUID.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a UUID")
    return str(UUID(text))


def uuid_of_bytes(content: bytes) -> str:
    """Write the sixteen bytes of a UUID."""
    return str(UUID(bytes=content))


def day(text: str) -> int:
    """Read a date as days since 1970."""
    if not _DATE.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a date such as '2013-01-31'")
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAYS
    except ValueError as error:
        raise ValueError(f"{shown(text)} is not a date") from error


def day_text(days: int) -> str:
    """Write a date."""
    try:
        return date.fromordinal(days + _EPOCH_DAYS).isoformat()
    except (ValueError, OverflowError) as error:
        raise ValueError("a date outside the years 1 to 9999") from error


def time_of_day(text: str) -> int:
    """Read a time of day as microseconds."""
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError(f"{shown(text)} is not a time such as '05:15:00.5'")
    hours, minutes, seconds = (int(found[at] or 0) for at in (1, 2, 3))
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(f"{shown(text)} is not a time of day")
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + _fraction(found[4])


def time_text(microseconds: int) -> str:
    """Write a time of day."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}" if fraction else text


def moment(text: str, kind: Kind) -> int:
    """Read a moment as microseconds since 1970; a TIMESTAMP has a zone, a LOCAL_TIMESTAMP has none."""
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a timestamp such as '2013-01-31T05:15:00'")
    try:
        read = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"{shown(text)} is not a timestamp") from error
    if (read.tzinfo is None) is (kind is Kind.TIMESTAMP):
        needs = "needs a" if kind is Kind.TIMESTAMP else "takes no"
        raise ValueError(f"{shown(text)}: {kind} {needs} zone, such as 'Z'")
    return in_range((read.replace(tzinfo=read.tzinfo or UTC) - _EPOCH) // _MICROSECOND)


def has_zone(text: str) -> bool:
    """Return whether the text of a moment says its zone."""
    return bool(_ZONE.search(text))


def in_range(microseconds: int) -> int:
    """Check that a moment lies in the years 1 to 9999."""
    if not MOMENT_MIN <= microseconds <= MOMENT_MAX:
        raise ValueError("a timestamp outside the years 1 to 9999")
    return microseconds


def moment_text(microseconds: int, kind: Kind) -> str:
    """Write a moment."""
    moment_ = _EPOCH + in_range(microseconds) * _MICROSECOND
    text = moment_.replace(tzinfo=None).isoformat()
    return f"{text}Z" if kind is Kind.TIMESTAMP else text


def interval(months: int, days: int, microseconds: int) -> tuple[int, int, int]:
    """Check the ranges of an interval."""
    for name, number in (("months", months), ("days", days)):
        if not -(2**31) <= number < 2**31:
            raise ValueError(f"{number} {name} do not fit an interval")
    if abs(microseconds) > INTERVAL_MICROSECONDS_MAX:
        # Arrow carries nanoseconds in 64 bits.
        raise ValueError(f"{microseconds} microseconds do not fit an interval")
    return months, days, microseconds * 1000


def interval_of_text(text: str) -> tuple[int, int, int]:
    """Read an ISO 8601 duration; years are twelve months, weeks seven days, hours and minutes exact."""
    found = _INTERVAL.fullmatch(text)
    if not found or text.endswith(("P", "T")):
        raise ValueError(f"{shown(text)} is not a duration such as 'P1M2DT3.5S'")
    years, months, weeks, days, hours, minutes, seconds = (
        int(found[at] or 0) for at in (1, 2, 3, 4, 5, 6, 8)
    )
    exact = seconds * 1_000_000 + _fraction(found[9])
    exact = (hours * 3600 + minutes * 60) * 1_000_000 + (-exact if found[7] else exact)
    return interval(years * 12 + months, weeks * 7 + days, exact)


def interval_text(months: int, days: int, nanoseconds: int) -> str:
    """Write an interval as an ISO 8601 duration, its three parts kept apart."""
    microseconds = nanoseconds // 1000
    seconds, fraction = divmod(abs(microseconds), 1_000_000)
    sign = "-" if microseconds < 0 else ""
    exact = f"{sign}{seconds}.{fraction:06}" if fraction else f"{sign}{seconds}"
    parts = (f"{months}M" if months else "") + (f"{days}D" if days else "")
    return f"P{parts}T{exact}S" if microseconds or not parts else f"P{parts}"


def json_document(text: str) -> str:
    """Check that text is a JSON document, each half of a surrogate pair beside the other."""
    try:
        document = json.loads(text, parse_constant=_no_constant, parse_int=str, parse_float=str)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except ValueError as error:
        raise ValueError(f"{shown(text)} is not JSON") from error
    except RecursionError as error:
        raise too_deep() from error
    brackets = text.count("[") + text.count("{")
    if brackets > DOCUMENT_DEPTH_MAX and _depth(document) > DOCUMENT_DEPTH_MAX:
        raise too_deep()
    return text


def _depth(document: object) -> int:
    """Return in how many lists and objects a document's innermost value stands."""
    depth, level = 0, [document]
    while level := [
        inner
        for outer in level
        if isinstance(outer, (list, dict))
        for inner in ([*outer.values()] if isinstance(outer, dict) else outer) or [None]
    ]:
        depth += 1
    return depth


def too_deep() -> ValueError:
    """Return the error of a document that nests too deep."""
    return ValueError(f"the JSON document nests deeper than {DOCUMENT_DEPTH_MAX}")


def named_float(text: str, kind: Kind) -> float:
    """Read one of the floats that JSON has no number for."""
    if text not in FLOAT_NAMES:
        raise ValueError(f"{shown(text)} is not a {kind}")
    return float(text)


def float_name(number: float) -> str:
    """Write one of the floats that JSON has no number for."""
    if isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return "NaN"


def _fraction(digits: str | None) -> int:
    return int((digits or "").ljust(6, "0"))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
