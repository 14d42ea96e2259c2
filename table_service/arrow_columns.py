"""Columns of any Arrow type, as others send them, made into carriers: what would be bent is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from table_service import cells
from table_service.arrow_types import carrier_type, plain_type
from table_service.types import Column, Kind, Type

# What Arrow and our own checks raise for a value that does not fit.
ARROW_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError)


def column_carriers(
    values: pa.ChunkedArray,
    column: Column,
    place: str,
    add_violation: Callable[[str, int, str, object], None],
) -> pa.Array:
    """Return a column of any Arrow type as carriers; what does not fit is null and a violation.

    `add_violation` takes the field, the row counted from 0, the column's name and the reason.
    """
    target = carrier_type(column.type)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    try:
        _check_family(values.type, column.type)
    except ValueError as error:
        add_violation(f"{place}[0].{column.name}", 0, column.name, error)
        return pa.nulls(len(values), target)
    try:
        return _cast(values, column.type)
    except ARROW_ERRORS:
        pass
    good: list[object] = []
    for at in range(len(values)):
        # One by one only where the column as a whole does not fit.
        try:
            [one] = _cast(values.slice(at, 1), column.type).to_pylist()
        except ARROW_ERRORS as error:
            one = None
            why = error if type(error) is ValueError else _misfit(values[at], column.type)
            add_violation(f"{place}[{at}].{column.name}", at, column.name, why)
        good.append(one)
    return pa.array(good, target)


def _misfit(value: pa.Scalar, type_: Type) -> str:
    try:
        seen = cells.shown(value.as_py())
    except ARROW_ERRORS:
        seen = "the value"
    return f"{seen} does not fit {type_.kind}"


def _cast(values: pa.ChunkedArray, type_: Type) -> pa.Array:
    """Return values as carriers without loss, or raise one of `ARROW_ERRORS`."""
    target = carrier_type(type_)
    if type_.kind is Kind.DECIMAL and pa.types.is_integer(values.type):
        values = values.cast(pa.decimal128(38, 0)) if values.type != pa.uint64() else values
    if type_.kind is Kind.INT128 and pa.types.is_decimal(values.type):
        values = values.cast(pa.decimal256(39, 0))
    cast = values.cast(target, safe=type_.kind is not Kind.FLOAT)
    array = cast.combine_chunks() if isinstance(cast, pa.ChunkedArray) else cast
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], target)
    check = _CHECKS.get(type_.kind)
    if check is None:
        return array
    plain = array.cast(plain_type(type_)).to_pylist()
    return pa.array([None if one is None else check(one, type_) for one in plain], target)


def _check_item(item: Any, type_: Type) -> Any:
    """Return a plain cell as `pa.array` takes it, checked; for what Arrow itself does not check."""
    if item is None:
        return None
    if type_.kind is Kind.LIST and type_.element is not None:
        element = type_.element
        return [_check_item(one, element) for one in item]
    check = _CHECKS.get(type_.kind)
    return check(item, type_) if check else item


_CHECKS: dict[Kind, Callable[[Any, Type], Any]] = {
    Kind.INT128: lambda item, type_: str(cells.integer_text(item, type_.kind)),
    Kind.UUID: lambda item, _: cells.uuid(item),
    Kind.JSON: lambda item, _: cells.json_document(item),
    Kind.DATE: lambda item, _: (cells.day_text(item), item)[1],
    Kind.TIME: lambda item, _: _checked_time(item),
    Kind.TIMESTAMP: lambda item, _: cells.in_range(item),
    Kind.LOCAL_TIMESTAMP: lambda item, _: cells.in_range(item),
    Kind.INTERVAL: lambda item, _: _checked_interval(item),
    Kind.LIST: _check_item,
}


def _checked_time(item: int) -> int:
    if not 0 <= item < cells.DAY_MICROSECONDS:
        raise ValueError(f"{item} microseconds are not a time of day")
    return item


def _checked_interval(item: Any) -> Any:
    if item.nanoseconds % 1000:
        raise ValueError(f"{item.nanoseconds} nanoseconds are not whole microseconds")
    return item


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
    return bool(is_.is_list(arrow) or is_.is_large_list(arrow) or is_.is_list_view(arrow))


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
    Kind.JSON: _is_text,
    Kind.UUID: _is_text,
    Kind.BYTES: _is_bytes,
    Kind.DATE: pa.types.is_date,
    Kind.TIME: pa.types.is_time,
    Kind.TIMESTAMP: lambda arrow: pa.types.is_timestamp(arrow) and arrow.tz is not None,
    Kind.LOCAL_TIMESTAMP: lambda arrow: pa.types.is_timestamp(arrow) and arrow.tz is None,
    Kind.INTERVAL: pa.types.is_interval,
    Kind.LIST: _is_list,
}


def _check_family(arrow: pa.DataType, type_: Type) -> None:
    if pa.types.is_null(arrow):
        return
    takes = _FAMILIES.get(type_.kind)
    if not (takes(arrow) if takes else arrow == carrier_type(type_)):
        raise ValueError(f"Arrow's {arrow} is not a {type_.kind}")
    if type_.element is not None and type_.kind is Kind.LIST:
        _check_family(arrow.value_type, type_.element)
