"""Rows as flux.type.v1.Value, lossless: between cells and messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, methodcaller
from typing import Any

from google.protobuf import timestamp_pb2

from flux.table.v1 import rows_pb2
from flux.type.v1 import value_pb2
from table_service import cells
from table_service.types import Kind, Type

Value = value_pb2.Value

# Which member of Value carries a kind.
MEMBERS = {
    Kind.BOOL: "bool",
    Kind.INT16: "int64",
    Kind.INT32: "int64",
    Kind.INT64: "int64",
    Kind.INT128: "hugeint",
    Kind.DECIMAL: "decimal",
    Kind.FLOAT: "double",
    Kind.DOUBLE: "double",
    Kind.STRING: "string",
    Kind.BYTES: "bytes",
    Kind.UUID: "uuid",
    Kind.DATE: "date",
    Kind.TIME: "time",
    Kind.TIMESTAMP: "timestamp",
    Kind.LOCAL_TIMESTAMP: "local_timestamp",
    Kind.INTERVAL: "interval",
    Kind.JSON: "json",
    Kind.LIST: "list",
    Kind.STRUCT: "map",
    Kind.MAP: "map",
}
_NULLS = frozenset({"null", None})
# Members whose value is the cell as it is; Arrow refuses what does not fit.
_AS_THEY_ARE = frozenset(
    {Kind.BOOL, Kind.INT16, Kind.INT32, Kind.INT64, Kind.DOUBLE, Kind.STRING, Kind.BYTES}
)
_INTEGER_EXACT_IN_DOUBLE = 2**53

_which = methodcaller("WhichOneof", "kind")
_GETTERS = {kind: attrgetter(member) for kind, member in MEMBERS.items()}


def column_cells(values: Sequence[Value], type_: Type) -> list[object]:
    """Return the cells of a whole column, or raise ValueError without saying which value is wrong.

    The fast way for columns of one member. A member that is not set reads as zero or empty, so only what
    reads so needs to be asked what it is.
    """
    kind = type_.kind
    if kind in _AS_THEY_ARE:
        cells_: list[object] = list(map(_GETTERS[kind], values))
        if not all(cells_):
            _settle_empty(cells_, values, type_)
        return cells_
    if kind is Kind.TIMESTAMP:
        moments = list(map(_GETTERS[kind], values))
        if all(0 <= m.nanos < 1_000_000_000 and not m.nanos % 1000 for m in moments):
            numbers = [m.seconds * 1_000_000 + m.nanos // 1000 for m in moments]
            if numbers:
                cells.in_range(min(numbers))
                cells.in_range(max(numbers))
            read: list[object] = list(numbers)
            if not all(read):
                _settle_empty(read, values, type_)
            return read
    return [cell(value, type_) for value in values]


def _settle_empty(cells_: list[object], values: Sequence[Value], type_: Type) -> None:
    """Put None where nothing is set, and what `cell` makes of it where another member is."""
    member = MEMBERS[type_.kind]
    for at, item in enumerate(cells_):
        if item:
            continue
        found = _which(values[at])
        if found in _NULLS:
            cells_[at] = None
        elif found != member:
            cells_[at] = cell(values[at], type_)


def cell(value: Value, type_: Type) -> object:
    """Return one value as the cell that the type stores; None for null.

    An integer is taken where a float or decimal is wanted and holds it exactly.

    Raises:
        ValueError: If the value is of another type, or does not fit.
    """
    member = _which(value)
    if member in _NULLS:
        return None
    if member == MEMBERS[type_.kind]:
        return _READERS[type_.kind](value, type_)
    if member == "int64" and type_.kind in _FROM_INTEGER:
        return _FROM_INTEGER[type_.kind](value.int64, type_)
    raise ValueError(f"a {member} is not a {type_.kind}")


def to_rows(
    names: Sequence[str], types: Sequence[Type], columns: Sequence[Sequence[Any]]
) -> rows_pb2.TypedRows:
    """Return plain cells, column by column, as a message.

    Raises:
        ValueError: For a value that has no form outside the store, such as a date in the year 10000.
    """
    as_values = [_values(cells_, type_) for cells_, type_ in zip(columns, types, strict=True)]
    row = rows_pb2.TypedRow
    return rows_pb2.TypedRows(
        columns=names, rows=[row(values=values) for values in zip(*as_values, strict=True)]
    )


def _values(column: Iterable[Any], type_: Type) -> list[Value]:
    write = _WRITERS[type_.kind]
    return [_NULL if item is None else write(item, type_) for item in column]


def value_of(item: Any, type_: Type) -> Value:
    """Return one plain cell as a message."""
    return _NULL if item is None else _WRITERS[type_.kind](item, type_)


def _list_cell(value: Value, type_: Type) -> object:
    assert type_.element is not None
    return [cell(item, type_.element) for item in value.list.values]


def _map_cell(value: Value, type_: Type) -> object:
    assert type_.element is not None
    return [(key, cell(item, type_.element)) for key, item in value.map.entries.items()]


def _struct_cell(value: Value, type_: Type) -> object:
    entries = value.map.entries
    return {f.name: cell(entries[f.name], f.type) for f in type_.fields if f.name in entries}


def _moment_cell(value: Value, _: Type) -> int:
    moment = value.timestamp
    if moment.nanos % 1000 or not 0 <= moment.nanos < 1_000_000_000:
        raise ValueError(f"{moment.nanos} nanoseconds are not whole microseconds")
    return cells.in_range(moment.seconds * 1_000_000 + moment.nanos // 1000)


def _double_of_integer(number: int, type_: Type) -> float:
    if abs(number) > _INTEGER_EXACT_IN_DOUBLE:
        raise ValueError(f"{number} is not exact as a {type_.kind}")
    return float(number)


_READERS: dict[Kind, Callable[[Value, Type], object]] = {
    Kind.BOOL: lambda value, _: value.bool,
    Kind.INT16: lambda value, type_: cells.integer(value.int64, type_.kind),
    Kind.INT32: lambda value, type_: cells.integer(value.int64, type_.kind),
    Kind.INT64: lambda value, _: value.int64,
    Kind.INT128: lambda value, type_: str(cells.integer_text(value.hugeint, type_.kind)),
    Kind.DECIMAL: lambda value, type_: cells.decimal(value.decimal, type_),
    Kind.FLOAT: lambda value, type_: cells.floating(value.double, type_.kind),
    Kind.DOUBLE: lambda value, _: value.double,
    Kind.STRING: lambda value, _: value.string,
    Kind.BYTES: lambda value, _: value.bytes,
    Kind.UUID: lambda value, _: cells.uuid(value.uuid),
    Kind.DATE: lambda value, _: cells.day(value.date),
    Kind.TIME: lambda value, _: cells.time_of_day(value.time),
    Kind.TIMESTAMP: _moment_cell,
    Kind.LOCAL_TIMESTAMP: lambda value, type_: cells.moment(value.local_timestamp, type_.kind),
    Kind.INTERVAL: lambda value, _: cells.interval(
        value.interval.months, value.interval.days, value.interval.microseconds
    ),
    Kind.JSON: lambda value, _: cells.json_document(value.json),
    Kind.LIST: _list_cell,
    Kind.MAP: _map_cell,
    Kind.STRUCT: _struct_cell,
}

_FROM_INTEGER: dict[Kind, Callable[[int, Type], object]] = {
    Kind.INT128: lambda number, _: str(number),
    Kind.DECIMAL: lambda number, type_: cells.decimal(str(number), type_),
    Kind.FLOAT: _double_of_integer,
    Kind.DOUBLE: _double_of_integer,
}

_NULL = Value(null=value_pb2.NULL_VALUE_UNSPECIFIED)


def _moment_value(item: Any, _: Type) -> Value:
    seconds, microseconds = divmod(cells.in_range(item), 1_000_000)
    return Value(timestamp=timestamp_pb2.Timestamp(seconds=seconds, nanos=microseconds * 1000))


def _interval_value(item: Any, _: Type) -> Value:
    return Value(
        interval=value_pb2.Interval(
            months=item.months, days=item.days, microseconds=item.nanoseconds // 1000
        )
    )


def _list_value(item: Any, type_: Type) -> Value:
    assert type_.element is not None
    return Value(list=value_pb2.List(values=_values(item, type_.element)))


def _map_value(item: Any, type_: Type) -> Value:
    assert type_.element is not None
    element = type_.element
    return Value(map=value_pb2.Map(entries={key: value_of(of, element) for key, of in item}))


def _struct_value(item: Any, type_: Type) -> Value:
    entries = {f.name: value_of(item[f.name], f.type) for f in type_.fields}
    return Value(map=value_pb2.Map(entries=entries))


_WRITERS: dict[Kind, Callable[[Any, Type], Value]] = {
    Kind.BOOL: lambda item, _: Value(bool=item),
    Kind.INT16: lambda item, _: Value(int64=item),
    Kind.INT32: lambda item, _: Value(int64=item),
    Kind.INT64: lambda item, _: Value(int64=item),
    Kind.INT128: lambda item, _: Value(hugeint=item),
    Kind.DECIMAL: lambda item, _: Value(decimal=f"{item:f}"),
    Kind.FLOAT: lambda item, _: Value(double=item),
    Kind.DOUBLE: lambda item, _: Value(double=item),
    Kind.STRING: lambda item, _: Value(string=item),
    Kind.BYTES: lambda item, _: Value(bytes=item),
    Kind.UUID: lambda item, _: Value(uuid=item),
    Kind.DATE: lambda item, _: Value(date=cells.day_text(item)),
    Kind.TIME: lambda item, _: Value(time=cells.time_text(item)),
    Kind.TIMESTAMP: _moment_value,
    Kind.LOCAL_TIMESTAMP: lambda item, type_: Value(
        local_timestamp=cells.moment_text(item, type_.kind)
    ),
    Kind.INTERVAL: _interval_value,
    Kind.JSON: lambda item, _: Value(json=item),
    Kind.LIST: _list_value,
    Kind.MAP: _map_value,
    Kind.STRUCT: _struct_value,
}
