"""Rows as google.protobuf.Struct, for people: the column's type decides how a value is written."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import Any

from google.protobuf import struct_pb2

from flux.table.v1 import rows_pb2
from table_service import cells
from table_service.cells import INTEGER_EXACT_MAX as INTEGER_MAX
from table_service.coercions import can_take, coerced
from table_service.types import Kind, Type

Value = struct_pb2.Value
Reader = Callable[[Value], object]
Writer = Callable[[Any], Value]

# Protobuf reads messages no more than a hundred deep; a row is some ten deep before its values begin.
MESSAGE_DEPTH_MAX = 90
# How many messages deep a list and an object are.
_LIST_DEPTH, _OBJECT_DEPTH = 2, 3

_WORDS = {
    "bool_value": "a boolean",
    "number_value": "a number",
    "string_value": "a string",
    "list_value": "a list",
    "struct_value": "an object",
}


def reader(type_: Type, *, coerce: bool = False) -> Reader:
    """Return what makes the cell that the type stores of one JSON value, None of null.

    `coerce`: values of other kinds are taken as `coercions` says. What is returned raises ValueError for a
    value of another kind, or one that does not fit.
    """
    kind = type_.kind
    readers = _own_readers(type_, coerce=coerce)

    def read(value: Value) -> object:
        member = value.WhichOneof("kind")
        if member is None or member == "null_value":
            return None
        own = readers.get(member)
        if own is not None:
            return own(value)
        if coerce and member in _SOURCES:
            return coerced(*_SOURCES[member](value), type_)
        raise ValueError(f"{_WORDS[member]} is not a {kind}")

    return read


def _own_readers(type_: Type, *, coerce: bool) -> dict[str, Reader]:
    """Return what reads each member that a value of the type comes as."""
    match type_.kind:
        case Kind.JSON:
            return dict.fromkeys(_WORDS, _document_text)
        case Kind.LIST:
            assert type_.element is not None
            item = reader(type_.element, coerce=coerce)
            return {"list_value": lambda value: cells.list_cell(value.list_value.values, item)}
        case Kind.STRUCT:
            return {"struct_value": _struct_reader(type_, coerce=coerce)}
        case Kind.ENUM:
            label = cells.label_reader(type_)
            return {"string_value": lambda value: label(value.string_value)}
        case kind:
            readers: dict[str, Reader] = {}
            if kind is Kind.BOOL:
                readers["bool_value"] = lambda value: value.bool_value
            if of_number := _FROM_NUMBER.get(kind):
                readers["number_value"] = lambda value: of_number(value.number_value, type_)
            # With `coerce` it may be written in more ways.
            if (of_text := _FROM_TEXT.get(kind)) and not (coerce and can_take(kind)):
                readers["string_value"] = lambda value: of_text(value.string_value, type_)
            return readers


def _struct_reader(type_: Type, *, coerce: bool) -> Reader:
    readers = {field.name: reader(field.type, coerce=coerce) for field in type_.fields}

    def read(value: Value) -> object:
        fields = value.struct_value.fields
        return cells.struct_cell(fields, readers, lambda name: readers[name](fields[name]))

    return read


def _document_text(value: Value) -> str:
    try:
        return json.dumps(document(value), ensure_ascii=False, allow_nan=False)
    except RecursionError as error:
        raise cells.too_deep() from error


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
        _values(column, writer(type_, MESSAGE_DEPTH_MAX))
        for column, type_ in zip(columns, types, strict=True)
    ]
    return rows_pb2.JsonRows(
        rows=[
            struct_pb2.Struct(fields=dict(zip(names, values, strict=True)))
            for values in zip(*as_values, strict=True)
        ]
    )


def _values(column: Iterable[Any], write: Writer) -> list[Value]:
    return [_NULL if item is None else write(item) for item in column]


def writer(type_: Type, room: int) -> Writer:
    """Return what makes a message, at most `room` deep, of a plain cell that is not null."""
    match type_.kind:
        case Kind.LIST:
            assert type_.element is not None
            item = writer(type_.element, room - _LIST_DEPTH)
            return lambda cell: _list_value(_values(cell, item))
        case Kind.MAP:
            assert type_.element is not None
            item = writer(type_.element, room - _OBJECT_DEPTH)
            return lambda cell: _object_value({key: _one(of, item) for key, of in cell})
        case Kind.STRUCT:
            inner = room - _OBJECT_DEPTH
            writers = [(field.name, writer(field.type, inner)) for field in type_.fields]
            return lambda cell: _object_value(
                {name: _one(cell[name], write) for name, write in writers}
            )
        case Kind.JSON:
            return lambda cell: _document_value(cell, room)
        case kind:
            return _WRITERS[kind]


def _one(item: Any, write: Writer) -> Value:
    return _NULL if item is None else write(item)


def _integer_of(number: float, type_: Type) -> object:
    if not number.is_integer() or abs(number) > INTEGER_MAX:
        why = "send it as a string" if number.is_integer() else "is not an integer"
        raise ValueError(f"{number:.17g} {why}")
    checked = cells.integer(int(number), type_.kind)
    return str(checked) if type_.kind is Kind.INT128 else checked


def _integer_text(text: str, type_: Type) -> object:
    checked = cells.integer_of_text(text, type_.kind)
    return str(checked) if type_.kind is Kind.INT128 else checked


def _base64(text: str, _: Type) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{cells.shown(text)} is not base64") from error


_INTEGERS = (Kind.INT16, Kind.INT32, Kind.INT64, Kind.INT128)
_FROM_NUMBER: dict[Kind, Callable[[float, Type], object]] = {
    **dict.fromkeys(_INTEGERS, _integer_of),
    Kind.DECIMAL: cells.decimal_of_float,
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
    Kind.INTERVAL: lambda text, _: cells.interval_of_text(text),
}

_NULL = Value(null_value=struct_pb2.NULL_VALUE)


def _of_number(value: Value) -> tuple[object, Kind]:
    number = value.number_value
    if number.is_integer() and abs(number) <= INTEGER_MAX:
        return int(number), Kind.INT64
    return number, Kind.DOUBLE


# What a value of another kind is, plain, where it may be taken for a column.
_SOURCES: dict[str, Callable[[Value], tuple[object, Kind]]] = {
    "bool_value": lambda value: (value.bool_value, Kind.BOOL),
    "number_value": _of_number,
    "string_value": lambda value: (value.string_value, Kind.STRING),
}


def _text(text: str) -> Value:
    return Value(string_value=text)


def _list_value(values: list[Value]) -> Value:
    return Value(list_value=struct_pb2.ListValue(values=values))


def _object_value(fields: dict[str, Value]) -> Value:
    return Value(struct_value=struct_pb2.Struct(fields=fields))


def _integer_value(item: Any) -> Value:
    number = int(item)
    return Value(number_value=number) if abs(number) <= INTEGER_MAX else _text(str(number))


def _float_value(item: Any) -> Value:
    return Value(number_value=item) if isfinite(item) else _text(cells.float_name(item))


def _document_value(text: Any, room: int) -> Value:
    """Return a JSON document as a value; as text if it has no form as one."""
    try:
        return _of_document(json.loads(text, parse_float=_float_or_text), room)
    except (RecursionError, ValueError):
        return _text(text)


def _float_or_text(text: str) -> float | str:
    """Read a number; one past all floats stays text."""
    number = float(text)
    return number if isfinite(number) else text


def _of_document(item: Any, room: int) -> Value:
    if room <= 0:
        raise RecursionError
    match item:
        case None:
            return _NULL
        case bool():
            return Value(bool_value=item)
        case int():
            return _integer_value(item)
        case float():
            return _float_value(item)
        case list():
            return _list_value([_of_document(one, room - _LIST_DEPTH) for one in item])
        case dict():
            inner = room - _OBJECT_DEPTH
            return _object_value({name: _of_document(one, inner) for name, one in item.items()})
        case _:
            return _text(item)


_WRITERS: dict[Kind, Writer] = {
    Kind.BOOL: lambda item: Value(bool_value=item),
    **dict.fromkeys(_INTEGERS, _integer_value),
    Kind.DECIMAL: lambda item: _text(f"{item:f}"),
    Kind.FLOAT: _float_value,
    Kind.DOUBLE: _float_value,
    Kind.STRING: _text,
    Kind.ENUM: _text,
    Kind.BYTES: lambda item: _text(base64.b64encode(item).decode()),
    Kind.UUID: _text,
    Kind.DATE: lambda item: _text(cells.day_text(item)),
    Kind.TIME: lambda item: _text(cells.time_text(item)),
    Kind.TIMESTAMP: lambda item: _text(cells.moment_text(item, Kind.TIMESTAMP)),
    Kind.LOCAL_TIMESTAMP: lambda item: _text(cells.moment_text(item, Kind.LOCAL_TIMESTAMP)),
    Kind.INTERVAL: lambda item: _text(
        cells.interval_text(item.months, item.days, item.nanoseconds)
    ),
}
