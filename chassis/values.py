"""Python values and flux.type.v1.Value, both ways, and google.protobuf.Struct for people."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from google.protobuf import struct_pb2

from chassis.faults import InvalidArgument
from chassis.scalars import Json, Span
from flux.type.v1 import value_pb2

Value = value_pb2.Value

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_HUGEINT_MIN, _HUGEINT_MAX = -(2**127), 2**127 - 1
_DEPTH_MAX = 32
# Past this, a double no longer holds every integer.
_EXACT_INTEGER_MAX = 2**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_value(value: object) -> value_pb2.Value:
    """Return a Python value as it travels.

    An aware datetime is a moment, a naive one has no zone; a dict with text keys is a map.

    Raises:
        InvalidArgument: FIELDS_INVALID for an integer past 128 bits, or nesting deeper than 32.
        TypeError: For a type that does not travel.
    """
    return _to_value(value, 0)


def _to_value(value: object, depth: int) -> value_pb2.Value:
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value)
    if depth >= _DEPTH_MAX:
        raise _too_deep()
    if isinstance(value, list | tuple):
        items = [_to_value(item, depth + 1) for item in value]
        return Value(list=value_pb2.List(values=items))
    if isinstance(value, Mapping):
        entries = {str(key): _to_value(item, depth + 1) for key, item in value.items()}
        return Value(map=value_pb2.Map(entries=entries))
    for kind, build in _SCALARS.items():
        # A subclass, such as a StrEnum, travels as what it is underneath.
        if isinstance(value, kind):
            return build(value)
    raise TypeError(f"a {type(value).__name__} does not travel")


def _integer(value: Any) -> value_pb2.Value:
    if _INT64_MIN <= value <= _INT64_MAX:
        return Value(int64=value)
    if _HUGEINT_MIN <= value <= _HUGEINT_MAX:
        return Value(hugeint=str(value))
    raise InvalidArgument("FIELDS_INVALID", "an integer is larger than 128 bits")


def _moment(value: Any) -> value_pb2.Value:
    if value.tzinfo is None:
        return Value(local_timestamp=value.isoformat())
    microseconds = (value - _EPOCH) // _MICROSECOND
    made = Value()
    made.timestamp.seconds, rest = divmod(microseconds, 1_000_000)
    made.timestamp.nanos = rest * 1000
    return made


def _span(value: Any) -> value_pb2.Value:
    return Value(
        interval=value_pb2.Interval(
            months=value.months, days=value.days, microseconds=value.microseconds
        )
    )


_SCALARS: dict[type, Callable[[Any], value_pb2.Value]] = {
    type(None): lambda _none: Value(null=value_pb2.NULL_VALUE_UNSPECIFIED),
    bool: lambda value: Value(bool=value),
    int: _integer,
    float: lambda value: Value(double=value),
    str: lambda value: Value(string=value),
    bytes: lambda value: Value(bytes=value),
    Decimal: lambda value: Value(decimal=format(value, "f") if value.is_finite() else str(value)),
    datetime: _moment,
    date: lambda value: Value(date=value.isoformat()),
    time: lambda value: Value(time=value.isoformat()),
    timedelta: lambda value: _span(
        Span(months=0, days=value.days, microseconds=(value % timedelta(days=1)) // _MICROSECOND)
    ),
    Span: _span,
    UUID: lambda value: Value(uuid=str(value)),
    Json: lambda value: Value(json=value.text),
}


def from_value(value: value_pb2.Value) -> object:
    """Return a value that travelled as Python has it: the inverse of `to_value`.

    Raises:
        InvalidArgument: FIELDS_INVALID if its text is not what its kind says, or it nests deeper than 32.
    """
    return _from_value(value, 0)


def _from_value(value: value_pb2.Value, depth: int) -> object:
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null":
        return None
    if depth >= _DEPTH_MAX:
        raise _too_deep()
    content = getattr(value, kind)
    if kind == "list":
        return [_from_value(item, depth + 1) for item in content.values]
    if kind == "map":
        return {key: _from_value(item, depth + 1) for key, item in content.entries.items()}
    parse = _PARSERS.get(kind)
    if parse is None:
        return content
    try:
        return parse(content)
    except (ValueError, ArithmeticError) as error:
        raise InvalidArgument(
            "FIELDS_INVALID", f"{str(content)[:80]!r} is no {kind}", kind=kind
        ) from error


_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,4})?|-?Infinity|NaN", re.ASCII)
_HUGEINT = re.compile(r"[+-]?\d{1,39}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_LOCAL = re.compile(rf"{_DATE.pattern}[T ]{_TIME.pattern}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


def _written_as(form: re.Pattern[str], read: Callable[[str], object]) -> Callable[[Any], object]:
    """Return what reads text of one form; Python itself takes more, and cuts digits it has no room for."""

    def parse(content: Any) -> object:
        if not form.fullmatch(content):
            raise ValueError
        return read(content)

    return parse


def _read_hugeint(text: str) -> int:
    number = int(text)
    if not _HUGEINT_MIN <= number <= _HUGEINT_MAX:
        raise ValueError
    return number


def _read_moment(content: Any) -> datetime:
    if content.nanos % 1000 or not 0 <= content.nanos < 1_000_000_000:
        raise ValueError
    return _EPOCH + timedelta(seconds=content.seconds, microseconds=content.nanos // 1000)


_PARSERS: dict[str, Callable[[Any], object]] = {
    "decimal": _written_as(_DECIMAL, Decimal),
    "hugeint": _written_as(_HUGEINT, _read_hugeint),
    "timestamp": _read_moment,
    "local_timestamp": _written_as(_LOCAL, datetime.fromisoformat),
    "date": _written_as(_DATE, date.fromisoformat),
    "time": _written_as(_TIME, time.fromisoformat),
    "interval": lambda content: Span(
        months=content.months, days=content.days, microseconds=content.microseconds
    ),
    "uuid": _written_as(_UUID, UUID),
    "json": Json,
}


def _too_deep() -> InvalidArgument:
    return InvalidArgument("FIELDS_INVALID", f"a value nests deeper than {_DEPTH_MAX}")


def to_plain_json(value: object) -> object:
    """Return a Python value as JSON can say it: what JSON lacks, and what it would bend, becomes text.

    Integers past 2^53 are text, as are decimals, dates, times and UUIDs; bytes are text in hexadecimal;
    NaN and the infinities are "NaN", "Infinity" and "-Infinity".
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -_EXACT_INTEGER_MAX <= value <= _EXACT_INTEGER_MAX else str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, list | tuple):
        return [to_plain_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_plain_json(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value.text if isinstance(value, Json) else str(value)


def to_struct(values: Mapping[str, object]) -> struct_pb2.Struct:
    """Return a mapping as google.protobuf.Struct, through `to_plain_json`."""
    struct = struct_pb2.Struct()
    for key, value in values.items():
        _fill(struct.fields[key], to_plain_json(value))
    return struct


def to_struct_value(value: object) -> struct_pb2.Value:
    """Return one value as google.protobuf.Value, through `to_plain_json`."""
    filled = struct_pb2.Value()
    _fill(filled, to_plain_json(value))
    return filled


def _fill(target: struct_pb2.Value, plain: object) -> None:
    """Set `target` to what `to_plain_json` gave."""
    if plain is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(plain, bool):
        target.bool_value = plain
    elif isinstance(plain, int | float):
        target.number_value = plain
    elif isinstance(plain, str):
        target.string_value = plain
    elif isinstance(plain, dict):
        target.struct_value.SetInParent()
        for key, value in plain.items():
            _fill(target.struct_value.fields[key], value)
    else:
        assert isinstance(plain, list)
        target.list_value.SetInParent()
        for item in plain:
            _fill(target.list_value.values.add(), item)


def from_struct(struct: struct_pb2.Struct) -> dict[str, object]:
    """Return a Struct as a dict; a number without a fraction becomes an int, as people mean it."""
    return {key: from_struct_value(value) for key, value in struct.fields.items()}


def from_struct_value(value: struct_pb2.Value) -> object:
    """Return one google.protobuf.Value as Python has it."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        exact = number.is_integer() and abs(number) <= _EXACT_INTEGER_MAX
        return int(number) if exact else number
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return [from_struct_value(item) for item in value.list_value.values]
    return None
