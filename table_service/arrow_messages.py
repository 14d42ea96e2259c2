"""What the messages of an Arrow IPC stream say of themselves, before anything in them is expanded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

# Fields of the tables of Arrow's Message.fbs, in their order.
_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER = 1, 2
_DICTIONARY_RECORDS, _DICTIONARY_IS_DELTA = 1, 2
_RECORDS_LENGTH, _RECORDS_COMPRESSION = 0, 3
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one message with a body says. `grows`: it adds to a dictionary that was there before."""

    row_count: int
    compressed: bool
    is_dictionary: bool
    grows: bool


def messages(source: pa.Buffer | pa.NativeFile) -> Iterator[Message]:
    """Yield what each batch and dictionary of a stream says. No body is read.

    Raises:
        pyarrow.ArrowException, ValueError: If it is not a whole Arrow IPC stream.
    """
    for message in pa.ipc.MessageReader.open_stream(source):
        try:
            read = _message(memoryview(message.metadata))
        except (IndexError, struct.error) as error:
            raise ValueError("a message's metadata is damaged") from error
        if read is not None:
            yield read


def _message(flat: memoryview) -> Message | None:
    """Return what a message says; `flat` is a Message of Message.fbs. None for one of another kind."""
    message = _table(flat, 0)
    kind_at = _field(flat, message, _MESSAGE_HEADER_TYPE)
    header_at = _field(flat, message, _MESSAGE_HEADER)
    if kind_at is None or header_at is None:
        return None
    kind, records, grows = flat[kind_at], _table(flat, header_at), False
    if kind == _DICTIONARY_BATCH:
        records_at = _field(flat, records, _DICTIONARY_RECORDS)
        delta_at = _field(flat, records, _DICTIONARY_IS_DELTA)
        if records_at is None:
            return None
        grows = delta_at is not None and flat[delta_at] != 0
        records = _table(flat, records_at)
    elif kind != _RECORD_BATCH:
        return None
    length_at = _field(flat, records, _RECORDS_LENGTH)
    return Message(
        row_count=0 if length_at is None else int(struct.unpack_from("<q", flat, length_at)[0]),
        compressed=_field(flat, records, _RECORDS_COMPRESSION) is not None,
        is_dictionary=kind == _DICTIONARY_BATCH,
        grows=grows,
    )


def _table(flat: memoryview, at: int) -> int:
    """Return where the table is that is referred to from `at`."""
    [forward] = struct.unpack_from("<I", flat, at)
    return at + int(forward)


def _field(flat: memoryview, table: int, number: int) -> int | None:
    """Return where the field of a table is, or None if it is not there."""
    [back] = struct.unpack_from("<i", flat, table)
    fields = table - int(back)
    if fields < 0:
        raise IndexError
    [size] = struct.unpack_from("<H", flat, fields)
    slot = 4 + 2 * number
    if slot + 2 > size:
        return None
    [inside] = struct.unpack_from("<H", flat, fields + slot)
    return table + int(inside) if inside else None
