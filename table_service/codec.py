"""Rows between the wire and Arrow: the one module that knows the three encodings.

Inside, rows are Arrow tables of *carriers* (see `arrow_types`): what `decode` gives can be written by the
store as it is, and what the store reads with `types.outgoing_list` can be given to `encode`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import pyarrow as pa
import pyarrow.compute as pc

from chassis.faults import InvalidArgument
from flux.table.v1 import rows_pb2
from table_service import json_rows, typed_rows
from table_service.arrow_columns import ARROW_ERRORS, column_carriers
from table_service.arrow_streams import bounded_table
from table_service.arrow_types import carrier_schema, carrier_type, plain_type
from table_service.row_faults import RowFault, RowFaults
from table_service.types import Column, Type

Rows = rows_pb2.Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Rows as they came.

    `rows`: carriers of the rows that are good, under the names of the columns that came, in the table's
        order; there is always one. A row that lacks a column has null there, and so has a null that came.
    `missing`: for each column of `rows` that came in some rows only, true where it did not.
    `faults`: why the others are bad, by row; never any unless rows stand alone.
    `places`: for each of `rows` its place among those sent; None if all of them are good.
    `count`: how many were sent.
    """

    rows: pa.Table
    missing: Mapping[str, pa.BooleanArray]
    faults: tuple[RowFault, ...]
    places: pa.Int64Array | None
    count: int


def decode(
    rows: Rows,
    columns: Sequence[Column],
    *,
    path: str = "rows",
    complete: bool = True,
    coerce: bool = False,
    per_row: bool = False,
) -> Decoded:
    """Return rows as carriers, and which of them came without which columns.

    `complete`: the rows are to be whole, so a column that refuses null and has no default must be in each.
    `path` is where the rows stand in the request. Whole rows of no column at all come back with the first
    one, missing in all; others of no column are refused, because they would change nothing.
    `coerce`: values of other types are taken as `coercions` says. `per_row`: each row stands alone, so
    what is wrong with one is in `faults` and not raised; it is still raised if nothing could be right.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND for a name that is not among `columns`; ROW_INVALID with the
            first `VIOLATIONS_MAX` values that do not fit, each by row, column and value.
    """
    known = {column.name: column for column in columns}
    faults = RowFaults(path, per_row=per_row)
    encoded = rows.WhichOneof("encoded")
    match encoded:
        case "typed":
            came = _from_typed(rows.typed, known, faults, coerce=coerce)
        case "json":
            came = _from_json(rows.json, known, faults, coerce=coerce)
        case "arrow_ipc":
            came = _from_arrow(rows.arrow_ipc, known, faults, coerce=coerce)
        case None:
            raise InvalidArgument("ROW_INVALID", "the rows have no encoding")
        case other:
            assert_never(other)
    place = "arrow_ipc" if encoded == "arrow_ipc" else f"{encoded}.rows"
    _check_nulls(came, columns, place, faults, complete=complete)
    faults.refuse()
    if not came.arrays and not complete:
        raise InvalidArgument("ROW_INVALID", f"{path} names no column")
    return _without_bad_rows(came, columns, faults)


def encode(rows: pa.Table, columns: Sequence[Column], encoding: Rows.Encoding.ValueType) -> Rows:
    """Return rows of carriers, which have `columns` in order, as a message.

    Raises:
        InvalidArgument: QUERY_FAILED for a value that has no form outside the store, such as a date in
            the year 10000 (a table never holds one).
    """
    if encoding == Rows.ENCODING_ARROW_IPC:
        return Rows(arrow_ipc=arrow_stream(rows, columns))
    names, types = [c.name for c in columns], [c.type for c in columns]
    try:
        plain = [_plain(rows.column(at), type_).to_pylist() for at, type_ in enumerate(types)]
        if encoding == Rows.ENCODING_TYPED:
            return Rows(typed=typed_rows.to_rows(names, types, plain))
        return Rows(json=json_rows.to_rows(names, types, plain))
    except ValueError as error:
        raise InvalidArgument("QUERY_FAILED", f"the result holds {error}") from error


def arrow_stream(rows: pa.Table, columns: Sequence[Column]) -> bytes:
    """Return rows of carriers as one complete Arrow IPC stream."""
    schema = carrier_schema(columns)
    arrays = [
        rows.column(at)
        if rows.schema.field(at).type == field.type
        else rows.column(at).cast(field.type)
        for at, field in enumerate(schema)
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return bytes(memoryview(sink.getvalue()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Came:
    """Every row as it came, bad ones too; `missing` as in `Decoded`."""

    count: int
    arrays: dict[str, pa.Array]
    missing: dict[str, pa.BooleanArray]


def _without_bad_rows(came: _Came, columns: Sequence[Column], faults: RowFaults) -> Decoded:
    arrays, missing = came.arrays, came.missing
    if not arrays:
        first = columns[0]
        arrays = {first.name: pa.nulls(came.count, carrier_type(first.type))}
        missing = {first.name: pa.repeat(pa.scalar(True), came.count)}
    # In the table's order, whatever the rows', so that more rows can share a statement.
    arrays = {column.name: arrays[column.name] for column in columns if column.name in arrays}
    rows = pa.Table.from_arrays(list(arrays.values()), names=list(arrays))
    places = None
    bad = faults.rows
    if bad:
        places = pa.array([at for at in range(came.count) if at not in bad], pa.int64())
        rows = rows.take(places)
        missing = {name: mask.take(places) for name, mask in missing.items()}
    return Decoded(
        rows=rows, missing=missing, faults=faults.by_row(), places=places, count=came.count
    )


def _from_typed(
    rows: rows_pb2.TypedRows, known: Mapping[str, Column], faults: RowFaults, *, coerce: bool
) -> _Came:
    columns, width = _named(rows.columns, known), len(rows.columns)
    values = _even_values(rows, faults)
    arrays: dict[str, pa.Array] = {}
    for at, column in enumerate(columns):
        of_column = values[at::width]
        try:
            cells_ = typed_rows.column_cells(of_column, column.type, coerce=coerce)
            arrays[column.name] = pa.array(cells_, carrier_type(column.type))
        except ARROW_ERRORS:
            read = typed_rows.reader(column.type, coerce=coerce)
            place = f"values[{at}]"
            arrays[column.name] = _good_cells(of_column, column, read, "typed.rows", place, faults)
    return _Came(count=len(rows.rows), arrays=arrays, missing={})


def _even_values(rows: rows_pb2.TypedRows, faults: RowFaults) -> list[typed_rows.Value]:
    """Return the values of all rows; those of a row that has too many or too few are null."""
    width = len(rows.columns)
    if all(len(row.values) == width for row in rows.rows):
        return [value for row in rows.rows for value in row.values]
    nulls = [typed_rows.Value()] * width
    values: list[typed_rows.Value] = []
    for at, row in enumerate(rows.rows):
        if len(row.values) == width:
            values.extend(row.values)
        else:
            why = f"{len(row.values)} values for {width} columns"
            faults.add_row(f"typed.rows[{at}].values", at, why)
            values.extend(nulls)
    faults.refuse()
    return values


def _from_json(
    rows: rows_pb2.JsonRows, known: Mapping[str, Column], faults: RowFaults, *, coerce: bool
) -> _Came:
    fields = [row.fields for row in rows.rows]
    names = dict.fromkeys(name for of_row in fields for name in of_row)
    if faults.per_row:
        for name in [name for name in names if name not in known]:
            del names[name]
            for at in (at for at, of_row in enumerate(fields) if name in of_row):
                faults.add(f"json.rows[{at}].{name}", at, name, "there is no such column")
    came = _Came(count=len(fields), arrays={}, missing={})
    for column in _named(list(names), known):
        name = column.name
        read = json_rows.reader(column.type, coerce=coerce)
        of_column = [of_row.get(name, _ABSENT) for of_row in fields]
        absent = [value is _ABSENT for value in of_column]
        if any(absent):
            came.missing[name] = pa.array(absent)
        try:
            cells_ = list(map(read, of_column))
            came.arrays[name] = pa.array(cells_, carrier_type(column.type))
        except ARROW_ERRORS:
            came.arrays[name] = _good_cells(of_column, column, read, "json.rows", name, faults)
    return came


_ABSENT = json_rows.Value()


def _from_arrow(
    stream: bytes, known: Mapping[str, Column], faults: RowFaults, *, coerce: bool
) -> _Came:
    try:
        table = bounded_table(stream)
    except (pa.ArrowException, ValueError, OSError) as error:
        why = str(error).split("\n", 1)[0][:200]
        raise InvalidArgument(
            "ROW_INVALID", f"arrow_ipc is not an Arrow IPC stream: {why}"
        ) from error
    arrays = {
        column.name: column_carriers(
            table.column(column.name), column, "arrow_ipc", faults, coerce=coerce
        )
        for column in _named(table.schema.names, known)
    }
    return _Came(count=table.num_rows, arrays=arrays, missing={})


def _named(names: Sequence[str], known: Mapping[str, Column]) -> list[Column]:
    for name in names:
        if name not in known:
            raise InvalidArgument("COLUMN_NOT_FOUND", f"no column {name!r}", column=name)
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InvalidArgument("ROW_INVALID", f"column {twice!r} comes twice", column=twice)
    return [known[name] for name in names]


def _good_cells(
    values: Sequence[Any],
    column: Column,
    read: Callable[[Any], object],
    place: str,
    field: str,
    faults: RowFaults,
) -> pa.Array:
    """Return the carriers of a column that does not fit as a whole, null for each that does not fit."""
    carrier = carrier_type(column.type)
    good: list[object] = []
    for at, value in enumerate(values):
        item = None
        if faults.wants(at):
            try:
                item = read(value)
                pa.array([item], carrier)
            except ARROW_ERRORS as error:
                item = None
                faults.add(f"{place}[{at}].{field}", at, column.name, error)
        good.append(item)
    return pa.array(good, carrier)


def _check_nulls(
    came: _Came, columns: Sequence[Column], place: str, faults: RowFaults, *, complete: bool
) -> None:
    for column in columns:
        if not column.not_null:
            continue
        name, needed = column.name, complete and column.default is None
        array, missing = came.arrays.get(name), came.missing.get(name)
        if array is None:
            rows: Iterable[int] = range(came.count if needed else 0)
        elif not array.null_count:
            rows = ()
        else:
            null = array.is_null()
            if missing is not None and not needed:
                null = pc.and_not(null, missing)
            rows = pc.indices_nonzero(null).to_pylist()
        for at in rows:
            if faults.full:
                return
            faults.add(f"{place}[{at}].{name}", at, name, "null in a column that refuses it")


def _plain(values: pa.ChunkedArray, type_: Type) -> pa.ChunkedArray:
    target = plain_type(type_)
    if values.type == target:
        return values
    carrier = carrier_type(type_)
    return (values if values.type == carrier else values.cast(carrier)).cast(target)
