"""Tables of public data as Python values, and hashes of their rows that owe nothing to table_service."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chassis.scalars import Json
from flux.table.v1 import table_pb2

Kind = table_pb2.Type.Kind
INTEGERS = (Kind.KIND_INT16, Kind.KIND_INT32, Kind.KIND_INT64, Kind.KIND_INT128)
FLOATS = (Kind.KIND_FLOAT, Kind.KIND_DOUBLE)
_PLAIN = {
    "bool": Kind.KIND_BOOL,
    "date": Kind.KIND_DATE,
    "double": Kind.KIND_DOUBLE,
    "int16": Kind.KIND_INT16,
    "int32": Kind.KIND_INT32,
    "int64": Kind.KIND_INT64,
    "int128": Kind.KIND_INT128,
    "json": Kind.KIND_JSON,
    "text": Kind.KIND_STRING,
}
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True)
Row = tuple[object, ...]
# Makes of a value that is not null what stands for it in a hash.
Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Columns of a relation whose values, where none is null, are a key of another."""

    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table to be made, and its rows: values in the order of its columns, None for null."""

    table: table_pb2.Table
    rows: tuple[Row, ...]
    references: tuple[Reference, ...] = ()

    @property
    def name(self) -> str:
        """Return the table's name."""
        return self.table.name

    @property
    def columns(self) -> Sequence[table_pb2.Column]:
        """Return the columns in order."""
        return self.table.columns

    @property
    def names(self) -> list[str]:
        """Return the names of the columns in order."""
        return [column.name for column in self.columns]


def relation(
    name: str,
    columns: str,
    rows: Iterable[Row],
    *,
    keys: Sequence[Sequence[str]] = (),
    checks: Mapping[str, str] | None = None,
    references: Sequence[str] = (),
) -> Relation:
    """Return a relation whose `columns` are written as "name:type" with "!" behind what refuses null.

    A type is one of `_PLAIN`, "decimal(9,2)", or one of these with "[]" behind it. A reference is written as
    "column,column>table(column,column)".
    """
    table = table_pb2.Table(
        name=name,
        columns=[_column(word) for word in columns.split()],
        unique_keys=[table_pb2.UniqueKey(columns=key) for key in keys],
        checks=[
            table_pb2.Check(name=name, expression=check) for name, check in (checks or {}).items()
        ],
    )
    found = tuple(_reference(text) for text in references)
    return Relation(table=table, rows=tuple(rows), references=found)


def _column(word: str) -> table_pb2.Column:
    name, _, written = word.partition(":")
    return table_pb2.Column(
        name=name, type=type_of(written.rstrip("!")), not_null=written.endswith("!")
    )


def _reference(text: str) -> Reference:
    columns, _, rest = text.partition(">")
    target, _, target_columns = rest.rstrip(")").partition("(")
    return Reference(
        columns=tuple(columns.split(",")),
        target=target,
        target_columns=tuple(target_columns.split(",")),
    )


def type_of(written: str) -> table_pb2.Type:
    """Return the type that is written as `relation` says."""
    if written.endswith("[]"):
        return table_pb2.Type(kind=Kind.KIND_LIST, element=type_of(written[:-2]))
    if written.startswith("decimal("):
        precision, scale = written[len("decimal(") : -1].split(",")
        return table_pb2.Type(kind=Kind.KIND_DECIMAL, precision=int(precision), scale=int(scale))
    return table_pb2.Type(kind=_PLAIN[written])


def row_hashes(columns: Sequence[table_pb2.Column], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return a hash a row, in their order: equal for equal values, however a format has written them."""
    readers = [canonical(column.type) for column in columns]
    return [_hash(readers, row) for row in rows]


def _hash(readers: Sequence[Reader], row: Sequence[Any]) -> str:
    cells = [
        None if value is None else read(value) for read, value in zip(readers, row, strict=True)
    ]
    return hashlib.sha256(_ENCODER.encode(cells).encode()).hexdigest()


def canonical(type_: table_pb2.Type) -> Reader:
    """Return what makes of a value what stands for it in a hash: bool, int, str, lists and dicts of these."""
    match type_.kind:
        case Kind.KIND_BOOL:
            return _bool
        case kind if kind in INTEGERS:
            return int
        case Kind.KIND_DECIMAL:
            unit = Decimal(1).scaleb(-type_.scale)
            return lambda value: _decimal(value, unit)
        case kind if kind in FLOATS:
            return lambda value: float(value).hex()
        case Kind.KIND_LIST:
            item = canonical(type_.element)
            return lambda value: [None if one is None else item(one) for one in _document(value)]
        case Kind.KIND_STRUCT:
            fields = {field.name: canonical(field.type) for field in type_.fields}
            return lambda value: _fields(_document(value), fields)
        case Kind.KIND_JSON:
            return lambda value: _document(value.text if isinstance(value, Json) else value)
        case _:
            return str


def _bool(value: Any) -> bool:
    assert isinstance(value, bool), value
    return value


def _document(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _fields(value: dict[str, Any], readers: dict[str, Reader]) -> dict[str, Any]:
    assert value.keys() == readers.keys()
    return {
        name: None if value[name] is None else read(value[name]) for name, read in readers.items()
    }


def _decimal(value: Any, unit: Decimal) -> str:
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    exact = number.quantize(unit)
    assert exact == number, f"{number} has more digits after the point than {unit}"
    return str(exact)
