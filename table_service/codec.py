"""Rows between the wire and Arrow: the one module that knows the three encodings.

Inside, rows are Arrow tables of *carriers* (see `arrow_types`): what `decode` gives can be written by the
store as it is, and what the store reads with `types.outgoing_list` can be given to `encode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

import pyarrow as pa
import pyarrow.compute as pc

from chassis.faults import FieldViolation, InvalidArgument
from flux.table.v1 import rows_pb2
from table_service import json_rows, typed_rows
from table_service.arrow_columns import ARROW_ERRORS, column_carriers
from table_service.arrow_types import carrier_schema, carrier_type, plain_type
from table_service.types import Column, Type

Rows = rows_pb2.Rows
VIOLATIONS_MAX = 100
# What an Arrow stream may hold: a column of nulls takes no bytes a row, and a compressed one few.
ARROW_ROWS_MAX = 1_000_000
ARROW_BYTES_MAX = 256 * 1024 * 1024


def decode(
    rows: Rows, columns: Sequence[Column], *, path: str = "rows", complete: bool = True
) -> pa.Table:
    """Return rows as carriers, under the names of those of `columns` that came.

    `complete`: the rows are to be whole, so a column that refuses null must be among them. `path` is where
    the rows stand in the request. Whole rows of no column at all come back with the first one, all null;
    others of no column are refused, because they would change it.

    Raises:
        InvalidArgument: COLUMN_NOT_FOUND for a name that is not among `columns`; ROW_INVALID with the
            first `VIOLATIONS_MAX` values that do not fit, each by row, column and value.
    """
    known = {column.name: column for column in columns}
    violations = _Violations(path)
    encoded = rows.WhichOneof("encoded")
    match encoded:
        case "typed":
            count, arrays = _from_typed(rows.typed, known, violations)
        case "json":
            count, arrays = _from_json(rows.json, known, violations)
        case "arrow_ipc":
            count, arrays = _from_arrow(rows.arrow_ipc, known, violations)
        case None:
            raise InvalidArgument("ROW_INVALID", "the rows have no encoding")
        case other:
            assert_never(other)
    place = "arrow_ipc" if encoded == "arrow_ipc" else f"{encoded}.rows"
    _check_nulls(count, columns, arrays, place, violations, complete=complete)
    violations.refuse()
    # In the table's order, whatever the rows', so that more rows can share a statement.
    arrays = {name: arrays[name] for name in known if name in arrays}
    if not arrays and not complete:
        raise InvalidArgument("ROW_INVALID", f"{path} names no column")
    if not arrays:
        arrays = {columns[0].name: pa.nulls(count, carrier_type(columns[0].type))}
    return pa.Table.from_arrays(list(arrays.values()), names=list(arrays))


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


class _Violations:
    """What is wrong so far, up to a bound."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.found: list[FieldViolation] = []

    @property
    def full(self) -> bool:
        return len(self.found) >= VIOLATIONS_MAX

    def add(self, field: str, row: int, column: str, why: object) -> None:
        if not self.full:
            sentence = f"row {row}, column {column!r}: {why}"
            self.found.append(
                FieldViolation(
                    field=f"{self.path}.{field}", description=sentence, reason="ROW_INVALID"
                )
            )

    def refuse(self) -> None:
        if self.found:
            raise InvalidArgument(
                "ROW_INVALID", self.found[0].description, violations=tuple(self.found)
            )


_Arrays = dict[str, pa.Array]


def _from_typed(
    rows: rows_pb2.TypedRows, known: Mapping[str, Column], violations: _Violations
) -> tuple[int, _Arrays]:
    width, count = len(rows.columns), len(rows.rows)
    columns = _named(rows.columns, known)
    values = [value for row in rows.rows for value in row.values]
    lengths = [len(row.values) for row in rows.rows]
    if lengths.count(width) != count:
        for at, length in enumerate(lengths):
            if length != width:
                _refuse_length(violations, at, length, width)
        violations.refuse()
    arrays: _Arrays = {}
    for at, column in enumerate(columns):
        of_column = values[at::width]
        try:
            cells_ = typed_rows.column_cells(of_column, column.type)
            arrays[column.name] = pa.array(cells_, carrier_type(column.type))
        except ARROW_ERRORS:
            place = f"values[{at}]"
            _find(of_column, column, typed_rows.cell, "typed.rows", place, violations)
    return count, arrays


def _refuse_length(violations: _Violations, at: int, length: int, width: int) -> None:
    if not violations.full:
        violations.found.append(
            FieldViolation(
                field=f"{violations.path}.typed.rows[{at}].values",
                description=f"row {at}: {length} values for {width} columns",
                reason="ROW_INVALID",
            )
        )


def _from_json(
    rows: rows_pb2.JsonRows, known: Mapping[str, Column], violations: _Violations
) -> tuple[int, _Arrays]:
    fields = [row.fields for row in rows.rows]
    names = dict.fromkeys(name for of_row in fields for name in of_row)
    arrays: _Arrays = {}
    for column in _named(list(names), known):
        name = column.name
        of_column = [of_row.get(name, _ABSENT) for of_row in fields]
        try:
            cells_ = [json_rows.cell(value, column.type) for value in of_column]
            arrays[name] = pa.array(cells_, carrier_type(column.type))
        except ARROW_ERRORS:
            _find(of_column, column, json_rows.cell, "json.rows", f"{name}", violations)
    return len(fields), arrays


_ABSENT = json_rows.Value()


def _from_arrow(
    stream: bytes, known: Mapping[str, Column], violations: _Violations
) -> tuple[int, _Arrays]:
    try:
        table = _bounded_table(stream)
        table.validate(full=True)
    except ARROW_ERRORS as error:
        raise InvalidArgument("ROW_INVALID", "arrow_ipc is not an Arrow IPC stream") from error
    arrays: _Arrays = {}
    for column in _named(table.schema.names, known):
        arrays[column.name] = column_carriers(
            table.column(column.name), column, "arrow_ipc", violations.add
        )
    return table.num_rows, arrays


def _bounded_table(stream: bytes) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    row_count = byte_count = 0
    with pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            row_count += batch.num_rows
            byte_count += batch.nbytes
            if row_count > ARROW_ROWS_MAX or byte_count > ARROW_BYTES_MAX:
                raise InvalidArgument(
                    "ROW_INVALID",
                    f"arrow_ipc has more than {ARROW_ROWS_MAX} rows or {ARROW_BYTES_MAX} bytes;"
                    " import a file of so many",
                )
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)


def _named(names: Sequence[str], known: Mapping[str, Column]) -> list[Column]:
    for name in names:
        if name not in known:
            raise InvalidArgument("COLUMN_NOT_FOUND", f"no column {name!r}", column=name)
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InvalidArgument("ROW_INVALID", f"column {twice!r} comes twice", column=twice)
    return [known[name] for name in names]


def _find(
    values: Sequence[Any],
    column: Column,
    read: Callable[[Any, Type], object],
    place: str,
    field: str,
    violations: _Violations,
) -> None:
    """Look again, one by one, at a column that does not fit as a whole."""
    before = len(violations.found)
    for at, value in enumerate(values):
        try:
            pa.array([read(value, column.type)], carrier_type(column.type))
        except ARROW_ERRORS as error:
            violations.add(f"{place}[{at}].{field}", at, column.name, error)
    assert violations.full or len(violations.found) > before, column


def _check_nulls(
    count: int,
    columns: Sequence[Column],
    arrays: _Arrays,
    place: str,
    violations: _Violations,
    *,
    complete: bool,
) -> None:
    for column in columns:
        if not column.not_null:
            continue
        array = arrays.get(column.name)
        if array is None:
            missing = complete and count > 0 and not violations.found
            rows = range(count) if missing else range(0)
        else:
            rows = pc.indices_nonzero(array.is_null()).to_pylist() if array.null_count else range(0)
        for at in rows:
            if violations.full:
                return
            violations.add(
                f"{place}[{at}].{column.name}", at, column.name, "null in a column that refuses it"
            )


def _plain(values: pa.ChunkedArray, type_: Type) -> pa.ChunkedArray:
    target = plain_type(type_)
    if values.type == target:
        return values
    carrier = carrier_type(type_)
    return (values if values.type == carrier else values.cast(carrier)).cast(target)
