"""Rows cut into messages of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from chassis.faults import ResourceExhausted
from flux.table.v1 import rows_pb2
from table_service import codec
from table_service.types import Column

MESSAGE_BYTES_MAX = 1024 * 1024
# Aimed lower, because the next rows may be larger than those before.
_MESSAGE_BYTES_AIM = MESSAGE_BYTES_MAX * 3 // 4
_FIRST_ROWS = 128
_ROWS_MAX = 65_536
# gRPC's own limit is 16 MiB by default; a row must leave room for what is around it.
ROW_BYTES_MAX = 15 * 1024 * 1024


def in_messages(
    rows: pa.Table, columns: Sequence[Column], encoding: rows_pb2.Rows.Encoding.ValueType
) -> Iterator[rows_pb2.Rows]:
    """Yield the rows in messages of at most a mebibyte each; a row larger than that comes alone.

    Raises:
        ResourceExhausted: QUERY_LIMIT for a row that no message can hold.
    """
    at, count = 0, _FIRST_ROWS
    while at < rows.num_rows:
        message = codec.encode(rows.slice(at, count), columns, encoding)
        sent, size = min(count, rows.num_rows - at), message.ByteSize()
        fitting = max(1, sent * _MESSAGE_BYTES_AIM // max(size, 1))
        if size > MESSAGE_BYTES_MAX and sent > 1:
            count = min(fitting, sent // 2)
            continue
        if size > ROW_BYTES_MAX:
            raise row_too_large()
        yield message
        at += sent
        count = min(fitting, _ROWS_MAX)


def row_too_large() -> ResourceExhausted:
    """Return the fault of a row that no message can hold."""
    return ResourceExhausted(
        "QUERY_LIMIT", f"a row is larger than {ROW_BYTES_MAX} bytes", bytes=ROW_BYTES_MAX
    )


def first_rows(
    rows: pa.Table,
    columns: Sequence[Column],
    encoding: rows_pb2.Rows.Encoding.ValueType,
    *,
    bytes_max: int = MESSAGE_BYTES_MAX,
) -> tuple[rows_pb2.Rows, int]:
    """Return as many of the first rows as one message of `bytes_max` holds, and how many they are."""
    while True:
        message = codec.encode(rows, columns, encoding)
        if message.ByteSize() <= bytes_max or rows.num_rows == 0:
            return message, rows.num_rows
        # Ends at no row, because each round has half as many.
        rows = rows.slice(0, rows.num_rows // 2)
