"""Rows as google.protobuf.Struct, for people: the column's type decides how a value is written."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from google.protobuf import struct_pb2

from flux.table.v1 import rows_pb2
from table_service import cells
from table_service.types import Kind, Type

Value = struct_pb2.Value

# Past this a JSON number is a string, both ways.
INTEGER_MAX = 2**53
# Each level of a document is two of a message, and protobuf reads no more than a hundred.
DOCUMENT_DEPTH_MAX = 40

_WORDS = {
    "bool_value": "a boolean",
    "number_value": "a number",
    "string_value": "a string",
    "list_value": "a list",
    "struct_value": "an object",
}


def cell(value: Value, type_: Type) -> object:
    """Return one JSON value as the cell that the type stores; None for null.

    Raises:
        ValueError: If the value is of another type, or does not fit.
    """
    member = value.WhichOneof("kind")
    if member in (None, "null_value"):
        return None
    if type_.kind is Kind.JSON:
        return json.dumps(document(value), ensure_ascii=False, allow_nan=False)
    if member == "number_value" and type_.kind in _FROM_NUMBER:
        return _FROM_NUMBER[type_.kind](value.number_value, type_)
    if member == "string_value" and type_.kind in _FROM_TEXT:
        return _FROM_TEXT[type_.kind](value.string_value, type_)
    if member == "bool_value" and type_.kind is Kind.BOOL:
        return value.bool_value
    if member == "list_value" and type_.kind is Kind.LIST:
        assert type_.element is not None
        return [cell(item, type_.element) for item in value.list_value.values]
    raise ValueError(f"{_WORDS[member]} is not a {type_.kind}")


def document(value: Value) -> object:
    """Return a JSON value as Python has it, whole numbers as integers."""
    member = value.WhichOneof("kind")
    if member == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= INTEGER_MAX else number
    if member == "list_value":
        return [document(item) for item in value.list_value.values]
    if member == "struct_value":
        return {name: document(item) for name, item in value.struct_value.fields.items()}
    return getattr(value, member) if member in ("bool_value", "string_value") else None


def to_rows(
    names: Sequence[str], types: Sequence[Type], columns: Sequence[Sequence[Any]]
) -> rows_pb2.JsonRows:
    """Return plain cells, column by column, as a message.

    Raises:
        ValueError: For a value that has no form outside the store, such as a date in the year 10000.
    """
    as_values = [
        [_value(item, type_) for item in column]
        for column, type_ in zip(columns, types, strict=True)
    ]
    return rows_pb2.JsonRows(
        rows=[
            struct_pb2.Struct(fields=dict(zip(names, values, strict=True)))
            for values in zip(*as_values, strict=True)
        ]
    )


def _value(item: Any, type_: Type) -> Value:
    if item is None:
        return _NULL
    return _WRITERS[type_.kind](item, type_)


def _integer_of(number: float, type_: Type) -> object:
    if not number.is_integer() or abs(number) > INTEGER_MAX:
        why = "send it as a string" if number.is_integer() else "is not an integer"
        raise ValueError(f"{number:.17g} {why}")
    checked = cells.integer(int(number), type_.kind)
    return str(checked) if type_.kind is Kind.INT128 else checked


def _integer_text(text: str, type_: Type) -> object:
    checked = cells.integer_text(text, type_.kind)
    return str(checked) if type_.kind is Kind.INT128 else checked


def _base64(text: str, _: Type) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{cells.shown(text)} is not base64") from error


_INTEGERS = (Kind.INT16, Kind.INT32, Kind.INT64, Kind.INT128)
_FROM_NUMBER: dict[Kind, Callable[[float, Type], object]] = {
    **dict.fromkeys(_INTEGERS, _integer_of),
    Kind.DECIMAL: lambda number, type_: cells.decimal(repr(number), type_),
    Kind.FLOAT: lambda number, type_: cells.floating(number, type_.kind),
    Kind.DOUBLE: lambda number, _: number,
}
_FROM_TEXT: dict[Kind, Callable[[str, Type], object]] = {
    **dict.fromkeys(_INTEGERS, _integer_text),
    Kind.DECIMAL: cells.decimal,
    Kind.FLOAT: lambda text, type_: cells.named_float(text, type_.kind),
    Kind.DOUBLE: lambda text, type_: cells.named_float(text, type_.kind),
    Kind.STRING: lambda text, _: text,
    Kind.BYTES: _base64,
    Kind.UUID: lambda text, _: cells.uuid(text),
    Kind.DATE: lambda text, _: cells.day(text),
    Kind.TIME: lambda text, _: cells.time_of_day(text),
    Kind.TIMESTAMP: lambda text, type_: cells.moment(text, type_.kind),
    Kind.LOCAL_TIMESTAMP: lambda text, type_: cells.moment(text, type_.kind),
    Kind.INTERVAL: lambda text, _: cells.interval_text(text),
}

_DOCUMENT = Type(kind=Kind.JSON)
_NULL = Value(null_value=struct_pb2.NULL_VALUE)


def _text(text: str) -> Value:
    return Value(string_value=text)


def _integer_value(item: Any, _: Type) -> Value:
    number = int(item)
    return Value(number_value=number) if abs(number) <= INTEGER_MAX else _text(str(number))


def _float_value(item: Any, _: Type) -> Value:
    return Value(number_value=item) if isfinite(item) else _text(cells.float_name(item))


def _document_value(item: Any, _: Type) -> Value:
    """Return a JSON document as a value; as text if it has no form as one."""
    try:
        return _of_document(json.loads(item), DOCUMENT_DEPTH_MAX)
    except (RecursionError, ValueError):
        return _text(item)


def _of_document(item: Any, depth: int) -> Value:
    if depth == 0:
        raise RecursionError
    match item:
        case None:
            return _NULL
        case bool():
            return Value(bool_value=item)
        case int():
            return _integer_value(item, _DOCUMENT)
        case float():
            return _float_value(item, _DOCUMENT)
        case list():
            values = [_of_document(one, depth - 1) for one in item]
            return Value(list_value=struct_pb2.ListValue(values=values))
        case dict():
            fields = {name: _of_document(one, depth - 1) for name, one in item.items()}
            return Value(struct_value=struct_pb2.Struct(fields=fields))
        case _:
            return _text(item)


def _list_value(item: Any, type_: Type) -> Value:
    assert type_.element is not None
    values = [_value(one, type_.element) for one in item]
    return Value(list_value=struct_pb2.ListValue(values=values))


def _map_value(item: Any, type_: Type) -> Value:
    assert type_.element is not None
    fields = {key: _value(one, type_.element) for key, one in item}
    return Value(struct_value=struct_pb2.Struct(fields=fields))


def _struct_value(item: Any, type_: Type) -> Value:
    fields = {f.name: _value(item[f.name], f.type) for f in type_.fields}
    return Value(struct_value=struct_pb2.Struct(fields=fields))


_WRITERS: dict[Kind, Callable[[Any, Type], Value]] = {
    Kind.BOOL: lambda item, _: Value(bool_value=item),
    **dict.fromkeys(_INTEGERS, _integer_value),
    Kind.DECIMAL: lambda item, _: _text(f"{item:f}"),
    Kind.FLOAT: _float_value,
    Kind.DOUBLE: _float_value,
    Kind.STRING: lambda item, _: _text(item),
    Kind.BYTES: lambda item, _: _text(base64.b64encode(item).decode()),
    Kind.UUID: lambda item, _: _text(item),
    Kind.DATE: lambda item, _: _text(cells.day_text(item)),
    Kind.TIME: lambda item, _: _text(cells.time_text(item)),
    Kind.TIMESTAMP: lambda item, type_: _text(cells.moment_text(item, type_.kind)),
    Kind.LOCAL_TIMESTAMP: lambda item, type_: _text(cells.moment_text(item, type_.kind)),
    Kind.INTERVAL: lambda item, _: _text(
        cells.written_interval(item.months, item.days, item.nanoseconds)
    ),
    Kind.JSON: _document_value,
    Kind.LIST: _list_value,
    Kind.MAP: _map_value,
    Kind.STRUCT: _struct_value,
}
