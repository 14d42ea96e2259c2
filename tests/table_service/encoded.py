"""Rows in the three encodings, for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from google.protobuf import json_format, struct_pb2

from chassis.values import to_value
from flux.table.v1 import rows_pb2
from table_service.types import Column, Kind, Type

Rows = rows_pb2.Rows
ENCODINGS = (Rows.ENCODING_TYPED, Rows.ENCODING_JSON, Rows.ENCODING_ARROW_IPC)


def typed(columns: Sequence[str], *rows: Sequence[object]) -> Rows:
    """Return typed rows."""
    return Rows(
        typed=rows_pb2.TypedRows(
            columns=columns,
            rows=[rows_pb2.TypedRow(values=[to_value(value) for value in row]) for row in rows],
        )
    )


def as_json(*rows: Mapping[str, object]) -> Rows:
    """Return JSON rows."""
    return Rows(
        json=rows_pb2.JsonRows(
            rows=[json_format.ParseDict(dict(row), struct_pb2.Struct()) for row in rows]
        )
    )


def as_arrow(compression: str | None = None, **columns: pa.Array) -> Rows:
    """Return rows as an Arrow IPC stream."""
    return arrow_rows(pa.table(columns), compression=compression)


def arrow_rows(table: pa.Table, compression: str | None = None) -> Rows:
    """Return a table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return Rows(arrow_ipc=sink.getvalue().to_pybytes())


def of_kind(kind: Kind, name: str = "v", *, not_null: bool = False) -> Column:
    """Return a column; a decimal has nine digits, two of them after the point."""
    type_ = Type(kind=kind, precision=9, scale=2) if kind is Kind.DECIMAL else Type(kind=kind)
    return Column(name=name, type=type_, not_null=not_null)


def a_list(element: Type) -> Type:
    """Return a list's type."""
    return Type(kind=Kind.LIST, element=element)


def a_struct(**fields: Type) -> Type:
    """Return a struct's type."""
    columns = tuple(Column(name=name, type=type_) for name, type_ in fields.items())
    return Type(kind=Kind.STRUCT, fields=columns)


def an_enum(*labels: str) -> Type:
    """Return an enum's type."""
    return Type(kind=Kind.ENUM, labels=labels)
