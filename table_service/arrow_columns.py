"""Columns of any Arrow type, as others send them, made into carriers: what would be bent is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from chassis.faults import InvalidArgument
from table_service import cells
from table_service.arrow_types import carrier_type, plain_type
from table_service.coercions import can_take, coerced
from table_service.row_faults import RowFaults
from table_service.types import Column, Kind, Type

# What Arrow and our own checks raise for a value that does not fit.
ARROW_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError)

_Cast = Callable[[pa.Array], pa.Array]


def column_carriers(
    values: pa.ChunkedArray, column: Column, place: str, faults: RowFaults, *, coerce: bool = False
) -> pa.Array:
    """Return a column of any Arrow type as carriers; what does not fit is null and a fault of its row.

    `coerce`: values of other kinds are taken as `coercions` says.

    Raises:
        InvalidArgument: ROW_INVALID if no value of its Arrow type could fit.
    """
    try:
        cast = _cast_of(values.type, column.type, coerce=coerce)
    except ValueError as error:
        raise InvalidArgument(
            "ROW_INVALID", f"column {column.name!r}: {error}", column=column.name
        ) from error
    pieces = _cast_in_pieces(values.combine_chunks(), 0, cast, column, place, faults)
    return pa.concat_arrays(pieces)


def _cast_in_pieces(
    values: pa.Array, first: int, cast: _Cast, column: Column, place: str, faults: RowFaults
) -> list[pa.Array]:
    """Return the carriers of `values`, the first of which is row `first`, halved until each half fits."""
    target = carrier_type(column.type)
    if faults.full or not len(values):
        return [pa.nulls(len(values), target)]
    try:
        return [cast(values)]
    except ARROW_ERRORS as error:
        if len(values) == 1:
            why = error if type(error) is ValueError else _misfit(values[0], column.type)
            faults.add(f"{place}[{first}].{column.name}", first, column.name, why)
            return [pa.nulls(1, target)]
    half = len(values) // 2
    return [
        *_cast_in_pieces(values.slice(0, half), first, cast, column, place, faults),
        *_cast_in_pieces(values.slice(half), first + half, cast, column, place, faults),
    ]


def _misfit(value: pa.Scalar, type_: Type) -> str:
    try:
        seen = cells.shown(value.as_py())
    except ARROW_ERRORS:
        seen = "the value"
    return f"{seen} does not fit {type_.kind}"


def _cast_of(arrow: pa.DataType, type_: Type, *, coerce: bool) -> _Cast:
    """Return what makes carriers of values of an Arrow type, without loss or with one of `ARROW_ERRORS`.

    Raises:
        ValueError: If no value of the Arrow type could fit.
    """
    is_ = pa.types
    if is_.is_null(arrow):
        return lambda values: pa.nulls(len(values), carrier_type(type_))
    if is_.is_dictionary(arrow):
        inner = _cast_of(arrow.value_type, type_, coerce=coerce)
        return lambda values: inner(values.dictionary_decode())
    if isinstance(arrow, pa.BaseExtensionType):
        return _cast_of_extension(arrow, type_, coerce=coerce)
    if type_.kind is Kind.LIST and _is_list(arrow):
        assert type_.element is not None
        return partial(_cast_list, type_, _cast_of(arrow.value_type, type_.element, coerce=coerce))
    if type_.kind is Kind.STRUCT and is_.is_struct(arrow):
        return _cast_of_struct(arrow, type_, coerce=coerce)
    takes = _FAMILIES.get(type_.kind)
    own = partial(_cast_scalars, type_) if takes is not None and takes(arrow) else None
    source = _source(arrow) if coerce and can_take(type_.kind) else None
    if source is not None:
        return partial(_coerce_scalars, source, type_, own)
    if own is None:
        raise ValueError(f"Arrow's {arrow} is not a {type_.kind}")
    return own


def _cast_of_extension(arrow: pa.BaseExtensionType, type_: Type, *, coerce: bool) -> _Cast:
    if arrow.extension_name == "arrow.uuid":
        if type_.kind not in (Kind.UUID, Kind.STRING if coerce else Kind.UUID):
            raise ValueError(f"Arrow's {arrow} is not a {type_.kind}")
        return lambda values: _uuid_texts(values.storage)
    inner = _cast_of(arrow.storage_type, type_, coerce=coerce)
    return lambda values: inner(values.storage)


def _uuid_texts(values: pa.Array) -> pa.Array:
    found = values.to_pylist()
    return pa.array([None if one is None else cells.uuid_of_bytes(one) for one in found])


def _cast_of_struct(arrow: pa.StructType, type_: Type, *, coerce: bool) -> _Cast:
    names = [arrow.field(at).name for at in range(arrow.num_fields)]
    types = {field.name: field.type for field in type_.fields}
    casts: dict[str, tuple[int, _Cast]] = {}
    for at, name in enumerate(names):
        if name not in types:
            raise ValueError(f"the struct has no field {cells.shown(name)}")
        if name in casts:
            raise ValueError(f"field {name!r} comes twice")
        casts[name] = at, _cast_of(arrow.field(at).type, types[name], coerce=coerce)

    def cast(values: pa.Array) -> pa.Array:
        # Flattening gives the fields the struct's own nulls.
        came, target = values.flatten(), carrier_type(type_)
        fields = [
            casts[field.name][1](came[casts[field.name][0]])
            if field.name in casts
            else pa.nulls(len(values), carrier_type(field.type))
            for field in type_.fields
        ]
        return pa.StructArray.from_arrays(fields, fields=list(target), mask=values.is_null())

    return cast


def _cast_list(type_: Type, of_elements: _Cast, values: pa.Array) -> pa.Array:
    lengths = pc.list_value_length(values).fill_null(0).to_pylist()
    ends = accumulate(lengths, initial=0)
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()),
        of_elements(values.flatten()),
        type=carrier_type(type_),
        mask=values.is_null(),
    )


def _cast_scalars(type_: Type, values: pa.Array) -> pa.Array:
    target = carrier_type(type_)
    if type_.kind is Kind.DECIMAL and pa.types.is_integer(values.type):
        values = values.cast(pa.decimal128(38, 0)) if values.type != pa.uint64() else values
    if type_.kind is Kind.INT128 and pa.types.is_decimal(values.type):
        values = values.cast(pa.decimal256(39, 0))
    rounds = type_.kind is Kind.FLOAT and pa.types.is_floating(values.type)
    cast = values.cast(target, safe=not rounds)
    if rounds and pc.any(pc.and_(pc.is_inf(cast), pc.is_finite(values))).as_py():
        raise OverflowError
    check = _CHECKS.get(type_.kind)
    return check(cast, type_) if check else cast


def _coerce_scalars(source: Kind, type_: Type, own: _Cast | None, values: pa.Array) -> pa.Array:
    if own is not None:
        with suppress(*ARROW_ERRORS):
            return own(values)
    if source in _PLAIN_SOURCES:
        values = values.cast(carrier_type(_PLAIN_SOURCES[source]))
        values = values.cast(plain_type(_PLAIN_SOURCES[source]))
    found = [
        None if one is None else coerced(one, source, type_) for one in _plain_items(values, source)
    ]
    return pa.array(found, carrier_type(type_))


def _plain_items(values: pa.Array, source: Kind) -> Iterator[Any]:
    for one in values.to_pylist():
        whole = one is None or source is not Kind.INTERVAL
        yield one if whole else (one.months, one.days, one.nanoseconds)


# What is cast to our own carrier first, so that a unit or a width of Arrow's makes no difference.
_PLAIN_SOURCES = {
    kind: Type(kind=kind) for kind in (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP)
}


def _source(arrow: pa.DataType) -> Kind | None:
    """Return of which kind values of an Arrow type are, if they can be taken for another."""
    return next((kind for kind in _SOURCE_KINDS if _FAMILIES[kind](arrow)), None)


def _texts(check: Callable[[str], str]) -> Callable[[pa.Array, Type], pa.Array]:
    def checked(values: pa.Array, _: Type) -> pa.Array:
        found = values.to_pylist()
        return pa.array([None if one is None else check(one) for one in found], pa.string())

    return checked


def _between(low: int, high: int, why: str) -> Callable[[pa.Array, Type], pa.Array]:
    def checked(values: pa.Array, type_: Type) -> pa.Array:
        found = pc.min_max(values.cast(plain_type(type_))).as_py()
        if found["min"] is not None and not low <= found["min"] <= found["max"] <= high:
            raise ValueError(why)
        return values

    return checked


def _checked_intervals(values: pa.Array, _: Type) -> pa.Array:
    for item in values.to_pylist():
        if item is not None and item.nanoseconds % 1000:
            raise ValueError(f"{item.nanoseconds} nanoseconds are not whole microseconds")
    return values


def _checked_labels(values: pa.Array, type_: Type) -> pa.Array:
    unknown = pc.invert(pc.is_in(values, pa.array(type_.labels, pa.string(), from_pandas=True)))
    for text in values.filter(pc.and_(unknown, values.is_valid())).slice(0, 1).to_pylist():
        cells.label_reader(type_)(text)
    return values


_INT128_TEXT = partial(cells.integer_of_text, kind=Kind.INT128)
# What Arrow itself does not check; a time of day it does.
_CHECKS: dict[Kind, Callable[[pa.Array, Type], pa.Array]] = {
    Kind.INT128: _texts(lambda text: str(_INT128_TEXT(text))),
    Kind.UUID: _texts(cells.uuid),
    Kind.JSON: _texts(cells.json_document),
    Kind.DATE: _between(cells.DAY_MIN, cells.DAY_MAX, "a date outside the years 1 to 9999"),
    Kind.TIMESTAMP: _between(
        cells.MOMENT_MIN, cells.MOMENT_MAX, "a timestamp outside the years 1 to 9999"
    ),
    Kind.LOCAL_TIMESTAMP: _between(
        cells.MOMENT_MIN, cells.MOMENT_MAX, "a timestamp outside the years 1 to 9999"
    ),
    Kind.INTERVAL: _checked_intervals,
    Kind.ENUM: _checked_labels,
}


def _is_text(arrow: pa.DataType) -> bool:
    is_ = pa.types
    return bool(is_.is_string(arrow) or is_.is_large_string(arrow) or is_.is_string_view(arrow))


def _is_bytes(arrow: pa.DataType) -> bool:
    is_ = pa.types
    whole = is_.is_binary(arrow) or is_.is_large_binary(arrow) or is_.is_binary_view(arrow)
    return bool(whole or is_.is_fixed_size_binary(arrow))


def _is_whole(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow))


def _is_number(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow) or pa.types.is_floating(arrow))


def _is_list(arrow: pa.DataType) -> bool:
    is_ = pa.types
    return bool(is_.is_list(arrow) or is_.is_large_list(arrow) or is_.is_fixed_size_list(arrow))


# What each kind takes. Arrow could cast more than anybody should mean: text to numbers, numbers to text.
_FAMILIES: dict[Kind, Callable[[pa.DataType], bool]] = {
    Kind.BOOL: pa.types.is_boolean,
    Kind.INT16: _is_whole,
    Kind.INT32: _is_whole,
    Kind.INT64: _is_whole,
    Kind.INT128: lambda arrow: (
        _is_whole(arrow) or _is_text(arrow) or (pa.types.is_decimal(arrow) and arrow.scale == 0)
    ),
    Kind.DECIMAL: lambda arrow: _is_whole(arrow) or pa.types.is_decimal(arrow),
    Kind.FLOAT: _is_number,
    Kind.DOUBLE: _is_number,
    Kind.STRING: _is_text,
    Kind.ENUM: _is_text,
    Kind.JSON: _is_text,
    Kind.UUID: _is_text,
    Kind.BYTES: _is_bytes,
    Kind.DATE: pa.types.is_date,
    Kind.TIME: pa.types.is_time,
    Kind.TIMESTAMP: lambda arrow: pa.types.is_timestamp(arrow) and arrow.tz is not None,
    Kind.LOCAL_TIMESTAMP: lambda arrow: pa.types.is_timestamp(arrow) and arrow.tz is None,
    Kind.INTERVAL: pa.types.is_interval,
}
# In this order; an integer is one before it is a number.
_SOURCE_KINDS = (
    *(Kind.BOOL, Kind.INT64, Kind.DECIMAL, Kind.DOUBLE, Kind.STRING),
    *(Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.LOCAL_TIMESTAMP, Kind.INTERVAL),
)
