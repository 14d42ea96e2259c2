"""Rows as flux.type.v1.Value, lossless: between cells and messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter, methodcaller
from typing import Any

from google.protobuf import timestamp_pb2

from flux.table.v1 import rows_pb2
from flux.type.v1 import value_pb2
from table_service import cells
from table_service.coercions import coerced
from table_service.types import Kind, Type

Value = value_pb2.Value
Reader = Callable[[Value], object]
Writer = Callable[[Any], Value]

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
    Kind.ENUM: "string",
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

_which = methodcaller("WhichOneof", "kind")
_GETTERS = {kind: attrgetter(member) for kind, member in MEMBERS.items()}


def column_cells(values: Sequence[Value], type_: Type, *, coerce: bool = False) -> list[object]:
    """Return the cells of a whole column, or raise ValueError without saying which value is wrong.

    The fast way for columns of one member. A member that is not set reads as zero or empty, so only what
    reads so needs to be asked what it is.
    """
    kind, read = type_.kind, reader(type_, coerce=coerce)
    if kind in _AS_THEY_ARE:
        cells_: list[object] = list(map(_GETTERS[kind], values))
        if not all(cells_):
            _settle_empty(cells_, values, kind, read)
        return cells_
    if kind is Kind.TIMESTAMP:
        moments = list(map(_GETTERS[kind], values))
        if all(0 <= m.nanos < 1_000_000_000 and not m.nanos % 1000 for m in moments):
            numbers = [m.seconds * 1_000_000 + m.nanos // 1000 for m in moments]
            if numbers:
                cells.in_range(min(numbers))
                cells.in_range(max(numbers))
            found: list[object] = list(numbers)
            if not all(found):
                _settle_empty(found, values, kind, read)
            return found
    return [read(value) for value in values]


def _settle_empty(cells_: list[object], values: Sequence[Value], kind: Kind, read: Reader) -> None:
    """Put None where nothing is set, and what `read` makes of it where another member is."""
    member = MEMBERS[kind]
    for at, item in enumerate(cells_):
        if item:
            continue
        found = _which(values[at])
        if found in _NULLS:
            cells_[at] = None
        elif found != member:
            cells_[at] = read(values[at])


def reader(type_: Type, *, coerce: bool = False) -> Reader:
    """Return what makes the cell that the type stores of one value, None of null.

    An integer is taken where a float or decimal holds it exactly. `coerce`: values of other kinds are taken
    as `coercions` says. What is returned raises ValueError for a value of another kind, or one that does not
    fit.
    """
    kind, member = type_.kind, MEMBERS[type_.kind]
    own, of_integer = _own_reader(type_, coerce=coerce), _FROM_INTEGER.get(kind)

    def read(value: Value) -> object:
        found = _which(value)
        if found == member:
            return own(value)
        if found in _NULLS:
            return None
        if found == "int64" and of_integer is not None:
            return of_integer(value.int64, type_)
        if coerce and found in _SOURCES:
            source, plain = _SOURCES[found]
            return coerced(plain(value), source, type_)
        raise ValueError(f"a {found} is not a {kind}")

    return read


def _own_reader(type_: Type, *, coerce: bool) -> Reader:
    """Return what reads the member that carries the type, which is set."""
    match type_.kind:
        case Kind.LIST:
            assert type_.element is not None
            item = reader(type_.element, coerce=coerce)
            return lambda value: cells.list_cell(value.list.values, item)
        case Kind.MAP:
            assert type_.element is not None
            item = reader(type_.element, coerce=coerce)
            return lambda value: [(key, item(of)) for key, of in value.map.entries.items()]
        case Kind.STRUCT:
            return _struct_reader(type_, coerce=coerce)
        case Kind.ENUM:
            label = cells.label_reader(type_)
            return lambda value: label(value.string)
        case kind:
            return partial(_READERS[kind], type_)


def _struct_reader(type_: Type, *, coerce: bool) -> Reader:
    readers = {field.name: reader(field.type, coerce=coerce) for field in type_.fields}

    def read(value: Value) -> object:
        entries = value.map.entries
        return cells.struct_cell(entries, readers, lambda name: readers[name](entries[name]))

    return read


def to_rows(
    names: Sequence[str], types: Sequence[Type], columns: Sequence[Sequence[Any]]
) -> rows_pb2.TypedRows:
    """Return plain cells, column by column, as a message.

    Raises:
        ValueError: For a value that has no form outside the store, such as a date in the year 10000.
    """
    as_values = [
        _values(cells_, writer(type_)) for cells_, type_ in zip(columns, types, strict=True)
    ]
    row = rows_pb2.TypedRow
    return rows_pb2.TypedRows(
        columns=names, rows=[row(values=values) for values in zip(*as_values, strict=True)]
    )


def _values(column: Iterable[Any], write: Writer) -> list[Value]:
    return [_NULL if item is None else write(item) for item in column]


def writer(type_: Type) -> Writer:
    """Return what makes a message of a plain cell that is not null."""
    match type_.kind:
        case Kind.LIST:
            assert type_.element is not None
            item = writer(type_.element)
            return lambda cell: Value(list=value_pb2.List(values=_values(cell, item)))
        case Kind.MAP:
            assert type_.element is not None
            item = writer(type_.element)
            return lambda cell: _map_value({key: _one(of, item) for key, of in cell})
        case Kind.STRUCT:
            writers = [(field.name, writer(field.type)) for field in type_.fields]
            return lambda cell: _map_value(
                {name: _one(cell[name], write) for name, write in writers}
            )
        case kind:
            return _WRITERS[kind]


def _one(item: Any, write: Writer) -> Value:
    return _NULL if item is None else write(item)


def _map_value(entries: dict[str, Value]) -> Value:
    return Value(map=value_pb2.Map(entries=entries))


def _moment_cell(value: Value) -> int:
    moment = value.timestamp
    if moment.nanos % 1000 or not 0 <= moment.nanos < 1_000_000_000:
        raise ValueError(f"{moment.nanos} nanoseconds are not whole microseconds")
    return cells.in_range(moment.seconds * 1_000_000 + moment.nanos // 1000)


def _interval_cell(value: Value) -> tuple[int, int, int]:
    span = value.interval
    return cells.interval(span.months, span.days, span.microseconds)


_READERS: dict[Kind, Callable[[Type, Value], object]] = {
    Kind.BOOL: lambda _, value: value.bool,
    Kind.INT16: lambda type_, value: cells.integer(value.int64, type_.kind),
    Kind.INT32: lambda type_, value: cells.integer(value.int64, type_.kind),
    Kind.INT64: lambda _, value: value.int64,
    Kind.INT128: lambda type_, value: str(cells.integer_of_text(value.hugeint, type_.kind)),
    Kind.DECIMAL: lambda type_, value: cells.decimal(value.decimal, type_),
    Kind.FLOAT: lambda type_, value: cells.floating(value.double, type_.kind),
    Kind.DOUBLE: lambda _, value: value.double,
    Kind.STRING: lambda _, value: value.string,
    Kind.BYTES: lambda _, value: value.bytes,
    Kind.UUID: lambda _, value: cells.uuid(value.uuid),
    Kind.DATE: lambda _, value: cells.day(value.date),
    Kind.TIME: lambda _, value: cells.time_of_day(value.time),
    Kind.TIMESTAMP: lambda _, value: _moment_cell(value),
    Kind.LOCAL_TIMESTAMP: lambda type_, value: cells.moment(value.local_timestamp, type_.kind),
    Kind.INTERVAL: lambda _, value: _interval_cell(value),
    Kind.JSON: lambda _, value: cells.json_document(value.json),
}

_FROM_INTEGER: dict[Kind, Callable[[int, Type], object]] = {
    Kind.INT128: lambda number, _: str(number),
    Kind.DECIMAL: lambda number, type_: cells.decimal(str(number), type_),
    Kind.FLOAT: lambda number, type_: cells.float_of_integer(number, type_.kind),
    Kind.DOUBLE: lambda number, type_: cells.float_of_integer(number, type_.kind),
}

# What another kind's member is, plain, where it may be taken for a column.
_SOURCES: dict[str, tuple[Kind, Callable[[Value], object]]] = {
    "bool": (Kind.BOOL, _GETTERS[Kind.BOOL]),
    "int64": (Kind.INT64, _GETTERS[Kind.INT64]),
    "double": (Kind.DOUBLE, _GETTERS[Kind.DOUBLE]),
    "string": (Kind.STRING, _GETTERS[Kind.STRING]),
    "decimal": (Kind.DECIMAL, lambda value: cells.number_of_text(value.decimal)),
    "hugeint": (Kind.INT128, lambda value: cells.integer_of_text(value.hugeint, Kind.INT128)),
    "uuid": (Kind.UUID, lambda value: cells.uuid(value.uuid)),
    "json": (Kind.JSON, lambda value: cells.json_document(value.json)),
    "date": (Kind.DATE, lambda value: cells.day(value.date)),
    "time": (Kind.TIME, lambda value: cells.time_of_day(value.time)),
    "timestamp": (Kind.TIMESTAMP, _moment_cell),
    "local_timestamp": (
        Kind.LOCAL_TIMESTAMP,
        lambda value: cells.moment(value.local_timestamp, Kind.LOCAL_TIMESTAMP),
    ),
    "interval": (Kind.INTERVAL, _interval_cell),
}

_NULL = Value(null=value_pb2.NULL_VALUE_UNSPECIFIED)


def _moment_value(item: Any) -> Value:
    seconds, microseconds = divmod(cells.in_range(item), 1_000_000)
    return Value(timestamp=timestamp_pb2.Timestamp(seconds=seconds, nanos=microseconds * 1000))


def _interval_value(item: Any) -> Value:
    return Value(
        interval=value_pb2.Interval(
            months=item.months, days=item.days, microseconds=item.nanoseconds // 1000
        )
    )


def _local_value(item: Any) -> Value:
    return Value(local_timestamp=cells.moment_text(item, Kind.LOCAL_TIMESTAMP))


_WRITERS: dict[Kind, Writer] = {
    Kind.BOOL: lambda item: Value(bool=item),
    Kind.INT16: lambda item: Value(int64=item),
    Kind.INT32: lambda item: Value(int64=item),
    Kind.INT64: lambda item: Value(int64=item),
    Kind.INT128: lambda item: Value(hugeint=item),
    Kind.DECIMAL: lambda item: Value(decimal=f"{item:f}"),
    Kind.FLOAT: lambda item: Value(double=item),
    Kind.DOUBLE: lambda item: Value(double=item),
    Kind.STRING: lambda item: Value(string=item),
    Kind.ENUM: lambda item: Value(string=item),
    Kind.BYTES: lambda item: Value(bytes=item),
    Kind.UUID: lambda item: Value(uuid=item),
    Kind.DATE: lambda item: Value(date=cells.day_text(item)),
    Kind.TIME: lambda item: Value(time=cells.time_text(item)),
    Kind.TIMESTAMP: _moment_value,
    Kind.LOCAL_TIMESTAMP: _local_value,
    Kind.INTERVAL: _interval_value,
    Kind.JSON: lambda item: Value(json=item),
}
