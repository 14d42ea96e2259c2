"""Arrow IPC streams as others send them: looked at before anything in them is expanded.

A few bytes can stand for very many: a compressed body, a column of nulls, a dictionary or a view of one
long text. So what a stream would take is reckoned first.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from chassis.faults import InvalidArgument
from table_service.arrow_messages import messages

ROWS_MAX = 1_000_000
BYTES_MAX = 256 * 1024 * 1024
# What a null takes when it becomes a value of some type.
_NULL_BYTES = 8
_VIEW_BYTES = 16


def bounded_table(stream: bytes) -> pa.Table:
    """Return the rows of a whole stream, checked to be what they say.

    Raises:
        InvalidArgument: ROW_INVALID if it is compressed or has more than `ROWS_MAX` rows or `BYTES_MAX`
            bytes.
        pyarrow.ArrowException, ValueError: If it is not a whole Arrow IPC stream.
    """
    if is_compressed(pa.py_buffer(stream)):
        raise InvalidArgument("ROW_INVALID", "arrow_ipc is compressed; send it as it is")
    batches: list[pa.RecordBatch] = []
    row_count = byte_count = 0
    with pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            row_count += batch.num_rows
            if row_count <= ROWS_MAX:
                batch.validate(full=True)
                byte_count += sum(map(expanded_bytes, batch.columns))
            if row_count > ROWS_MAX or byte_count > BYTES_MAX:
                raise InvalidArgument(
                    "ROW_INVALID",
                    f"arrow_ipc has more than {ROWS_MAX} rows or {BYTES_MAX} bytes;"
                    " import a file of so many",
                )
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)


def is_compressed(source: pa.Buffer | pa.NativeFile) -> bool:
    """Return whether any body of a stream is compressed. Only messages are read, no bodies.

    Raises:
        pyarrow.ArrowException, ValueError: If it is not a whole Arrow IPC stream.
    """
    return any(message.compressed for message in messages(source))


def expanded_bytes(array: pa.Array) -> int:
    """Return about how many bytes an array takes once each value stands by itself.

    The array has been validated in full.
    """
    is_, type_ = pa.types, array.type
    if isinstance(array, pa.ExtensionArray):
        return expanded_bytes(array.storage)
    if is_.is_null(type_):
        return len(array) * _NULL_BYTES
    if is_.is_dictionary(type_):
        return _dictionary_bytes(array)
    if is_.is_string_view(type_) or is_.is_binary_view(type_):
        return len(array) * _VIEW_BYTES + _view_bytes(array)
    if is_.is_struct(type_):
        return sum(map(expanded_bytes, array.flatten()))
    if is_.is_list(type_) or is_.is_large_list(type_) or is_.is_fixed_size_list(type_):
        return len(array) * _NULL_BYTES + expanded_bytes(array.values)
    return int(array.nbytes)


def _dictionary_bytes(array: pa.DictionaryArray) -> int:
    words, is_ = array.dictionary, pa.types
    slots = len(array) * _NULL_BYTES
    if any(check(words.type) for check in (is_.is_string, is_.is_binary, is_.is_large_string)):
        lengths = pc.binary_length(words).take(array.indices)
        return slots + (pc.sum(lengths).as_py() or 0)
    return slots + len(array) * expanded_bytes(words)


def _view_bytes(array: pa.Array) -> int:
    """Return the sum of the lengths that views begin with."""
    views = array.buffers()[1]
    first = array.offset * _VIEW_BYTES
    lengths = memoryview(views)[first : first + len(array) * _VIEW_BYTES].cast("i")
    return sum(length for length in lengths[:: _VIEW_BYTES // 4] if length > 0)
