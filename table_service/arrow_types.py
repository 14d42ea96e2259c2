"""The Arrow types in which values of each of our types travel between DuckDB and the encodings."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from table_service.types import Column, Kind, Type, precision

_CARRIERS = {
    Kind.BOOL: pa.bool_(),
    Kind.INT16: pa.int16(),
    Kind.INT32: pa.int32(),
    Kind.INT64: pa.int64(),
    Kind.INT128: pa.string(),
    Kind.FLOAT: pa.float32(),
    Kind.DOUBLE: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.BYTES: pa.binary(),
    Kind.UUID: pa.string(),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("us"),
    Kind.TIMESTAMP: pa.timestamp("us", "UTC"),
    Kind.LOCAL_TIMESTAMP: pa.timestamp("us"),
    Kind.INTERVAL: pa.month_day_nano_interval(),
    Kind.JSON: pa.string(),
    Kind.ENUM: pa.string(),
}
# As plain numbers these are read without Python's ranges and without building objects.
_PLAIN = _CARRIERS | {
    Kind.DATE: pa.int32(),
    Kind.TIME: pa.int64(),
    Kind.TIMESTAMP: pa.int64(),
    Kind.LOCAL_TIMESTAMP: pa.int64(),
}
# Says which of our types a text column of an Arrow stream is.
TYPE_METADATA = b"flux.type"


def carrier_type(type_: Type) -> pa.DataType:
    """Return the Arrow type of a value's carrier."""
    return _built(type_, _CARRIERS)


def plain_type(type_: Type) -> pa.DataType:
    """Return the Arrow type to cast carriers to before their values are read one by one."""
    return _built(type_, _PLAIN)


def carrier_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the schema of rows of carriers, each field marked with our type's kind."""
    return pa.schema(
        [
            pa.field(c.name, carrier_type(c.type), metadata={TYPE_METADATA: str(c.type.kind)})
            for c in columns
        ]
    )


def _built(type_: Type, named: dict[Kind, pa.DataType]) -> pa.DataType:
    match type_.kind:
        case Kind.DECIMAL:
            return pa.decimal128(precision(type_), type_.scale)
        case Kind.LIST:
            assert type_.element is not None
            return pa.list_(_built(type_.element, named))
        case Kind.MAP:
            assert type_.element is not None
            return pa.map_(pa.string(), _built(type_.element, named))
        case Kind.STRUCT:
            return pa.struct([pa.field(f.name, _built(f.type, named)) for f in type_.fields])
        case kind:
            return named[kind]
