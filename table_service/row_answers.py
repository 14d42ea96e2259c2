"""Rows that were read together, each as the answer to the call that asked for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from chassis.faults import Fault
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2
from table_service import codec, json_rows, typed_rows
from table_service.plain_rows import PlainRows
from table_service.result_stream import ROW_BYTES_MAX, row_too_large
from table_service.types import Column

Rows = rows_pb2.Rows
# More are encoded one by one, so that they are not held twice.
_TOGETHER_BYTES_MAX = 4 * 1024 * 1024


def row_answers(
    encoding: Rows.Encoding.ValueType, rows: pa.Table | PlainRows, columns: Sequence[Column]
) -> list[messages.GetRowResponse | Fault]:
    """Return the answer of each row; QUERY_LIMIT for one that no message can hold.

    Raises:
        InvalidArgument: QUERY_FAILED for a value that has no form outside the store.
    """
    if isinstance(rows, PlainRows) and encoding != Rows.ENCODING_ARROW_IPC:
        return [_answer(row) for row in _each(_plain(encoding, rows))]
    carriers = rows.carriers() if isinstance(rows, PlainRows) else rows
    if encoding == Rows.ENCODING_ARROW_IPC or carriers.nbytes > _TOGETHER_BYTES_MAX:
        alone = (carriers.slice(at, 1) for at in range(carriers.num_rows))
        return [_answer(codec.encode(row, columns, encoding)) for row in alone]
    return [_answer(row) for row in _each(codec.encode(carriers, columns, encoding))]


def _plain(encoding: Rows.Encoding.ValueType, rows: PlainRows) -> Rows:
    names, types = zip(*((column.name, column.type) for column in rows.columns), strict=True)
    if encoding == Rows.ENCODING_TYPED:
        return Rows(typed=typed_rows.to_rows(names, types, rows.cells))
    return Rows(json=json_rows.to_rows(names, types, rows.cells))


def _each(rows: Rows) -> Iterator[Rows]:
    if rows.WhichOneof("encoded") == "typed":
        names = rows.typed.columns
        for row in rows.typed.rows:
            yield Rows(typed=rows_pb2.TypedRows(columns=names, rows=[row]))
    else:
        for fields in rows.json.rows:
            yield Rows(json=rows_pb2.JsonRows(rows=[fields]))


def _answer(row: Rows) -> messages.GetRowResponse | Fault:
    if row.ByteSize() > ROW_BYTES_MAX:
        return row_too_large()
    return messages.GetRowResponse(rows=row)
