"""How plain Python values cross into CEL and back, measured and bounded on the way.

What CEL has no type for becomes the nearest thing it can compare: Decimal and integers past 64 bits
become doubles (SQL is where money is added up), a date becomes midnight UTC, a tuple a list.
Integers from 2^63 to 2^64-1 become uint, exactly. Results have microseconds, CEL has nanoseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from cel_expr_python import cel
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

CONTEXT_ITEMS_MAX = 100_000
CONTEXT_CHARS_MAX = 8 * 1024 * 1024
VALUE_DEPTH_MAX = 32
RESULT_ITEMS_MAX = 10_000
RESULT_CHARS_MAX = 1024 * 1024

Value: TypeAlias = (
    "None | bool | int | float | str | bytes | datetime | timedelta"
    " | list[Value] | dict[str, Value]"
)
_Bound: TypeAlias = (
    "None | bool | int | float | str | StringValue | BytesValue | Timestamp | Duration"
    " | list[_Bound] | dict[str, _Bound]"
)
# The parts of a context that an expression reads: nothing below a name means all of it.
Shape: TypeAlias = "dict[str, Shape]"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ExpressionFailed(Exception):
    """An expression has no value for this context: an outcome of its step, not a fault."""


class ContextBinder:
    """Turns what an expression reads into what the library takes, and measures it on the way.

    The library refuses a datetime, timedelta, tuple or subclass inside a map, and silently cuts
    text and bytes off at a NUL; the well-known messages of protobuf carry all of them whole.
    """

    __slots__ = ("chars", "chars_longest", "items", "items_longest")

    def __init__(self) -> None:
        self.chars = 0
        self.chars_longest = 0
        self.items = 0
        self.items_longest = 0

    def narrow(self, value: Mapping[str, object], shape: Shape, depth: int) -> dict[str, _Bound]:
        """Return the parts of `value` that `shape` names; what is missing stays missing."""
        bound: dict[str, _Bound] = {}
        for name, below in shape.items():
            if name in value:
                part = value[name]
                if below and isinstance(part, Mapping):
                    bound[name] = self.narrow(part, below, depth + 1)
                else:
                    bound[name] = self.bind(part, depth + 1)
        return bound

    def bind(self, value: object, depth: int) -> _Bound:
        match value:
            case None | bool():
                return value
            case float():
                return float(value)
            case int():
                return _bind_int(value)
            case str():
                return self._bind_text(value)
            case Mapping():
                self._count(len(value), depth)
                return {
                    self._bind_key(key): self.bind(part, depth + 1) for key, part in value.items()
                }
            case list() | tuple():
                self._count(len(value), depth)
                return [self.bind(part, depth + 1) for part in value]
            case bytes() | bytearray():
                self._count_chars(len(value))
                return BytesValue(value=bytes(value))
            case datetime():
                return _bind_datetime(value)
            case date():
                return _bind_datetime(datetime(value.year, value.month, value.day, tzinfo=UTC))
            case timedelta():
                return _bind_timedelta(value)
            case Decimal():
                return _bind_decimal(value)
            case _:
                raise ExpressionFailed(f"a {type(value).__name__} cannot enter an expression")

    def _bind_text(self, text: str) -> str | StringValue:
        self._count_chars(len(text))
        if not is_unicode(text):
            raise ExpressionFailed("a text with a lone surrogate cannot enter an expression")
        return StringValue(value=text) if "\0" in text else str.__str__(text)

    def _bind_key(self, key: object) -> str:
        if not isinstance(key, str) or "\0" in key or not is_unicode(key):
            raise ExpressionFailed("a map's keys must be text without NUL or lone surrogates")
        self._count_chars(len(key))
        return str.__str__(key)

    def _count(self, items: int, depth: int) -> None:
        if depth > VALUE_DEPTH_MAX:
            raise ExpressionFailed(f"a value is nested deeper than {VALUE_DEPTH_MAX}")
        self.items += items
        if self.items > CONTEXT_ITEMS_MAX:
            raise ExpressionFailed(f"the context has more than {CONTEXT_ITEMS_MAX} items")
        self.items_longest = max(self.items_longest, items)

    def _count_chars(self, chars: int) -> None:
        self.chars += chars
        if self.chars > CONTEXT_CHARS_MAX:
            raise ExpressionFailed(f"the context has more than {CONTEXT_CHARS_MAX} characters")
        self.chars_longest = max(self.chars_longest, chars)


def _bind_int(value: int) -> int | float:
    if -(2**63) <= value < 2**64:
        return int(value)
    try:
        return float(value)
    except OverflowError as error:
        raise ExpressionFailed("an integer is larger than a double can be") from error


def _bind_decimal(value: Decimal) -> float:
    if value.is_nan():
        return math.nan
    number = float(value)
    if math.isinf(number) and not value.is_infinite():
        raise ExpressionFailed("a decimal is larger than a double can be")
    return number


def _bind_datetime(value: datetime) -> Timestamp:
    if value.tzinfo is None:
        raise ExpressionFailed("a timestamp needs a time zone")
    since = value - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def _bind_timedelta(value: timedelta) -> Duration:
    # Both parts of a Duration carry the sign; those of a timedelta do not.
    sign = -1 if value < timedelta() else 1
    seconds, microseconds = divmod(abs(value // _MICROSECOND), 1_000_000)
    return Duration(seconds=sign * seconds, nanos=sign * microseconds * 1_000)


class ResultReader:
    """Turns an answer into plain values item by item, so that a huge one is left at the limit."""

    __slots__ = ("_chars", "_items")

    def __init__(self) -> None:
        self._chars = 0
        self._items = 0

    def read(self, answer: cel.Value, depth: int) -> Value:
        try:
            value: object = answer.value()
        except (TypeError, SystemError) as error:
            raise ExpressionFailed("an optional is no value; it has .orValue(...)") from error
        match value:
            case None | bool() | int() | float() | datetime() | timedelta():
                return value
            case str():
                self._count(0, len(value), depth)
                return value
            case bytearray():
                self._count(0, len(value), depth)
                return bytes(value)
            case list():
                self._count(len(value), 0, depth)
                return [self.read(item, depth + 1) for item in value]
            case dict():
                self._count(len(value), 0, depth)
                return {
                    self._read_key(key): self.read(item, depth + 1) for key, item in value.items()
                }
            case _:
                raise ExpressionFailed(f"a CEL {answer.type().name().lower()} is no value")

    def _read_key(self, key: object) -> str:
        if not isinstance(key, str):
            raise ExpressionFailed(f"a map's keys must be strings, this one is {key!r}")
        self._count(0, len(key), 0)
        return key

    def _count(self, items: int, chars: int, depth: int) -> None:
        self._items += items
        self._chars += chars
        if self._items > RESULT_ITEMS_MAX:
            raise ExpressionFailed(f"the result has more than {RESULT_ITEMS_MAX} items")
        if self._chars > RESULT_CHARS_MAX:
            raise ExpressionFailed(f"the result has more than {RESULT_CHARS_MAX} characters")
        if depth > 2 * VALUE_DEPTH_MAX:
            raise ExpressionFailed(f"the result is nested deeper than {2 * VALUE_DEPTH_MAX}")


def is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
