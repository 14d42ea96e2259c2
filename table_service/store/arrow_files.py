"""Arrow IPC streams in files, made readable to one cursor: nothing unsound in them reaches DuckDB."""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from chassis.faults import ResourceExhausted
from table_service.arrow_messages import messages
from table_service.arrow_streams import expanded_bytes
from table_service.store.file_bytes import file_invalid

# The column that counts rows from 1; no column of a table begins like this.
ROW = "__row"
# A column of nulls takes no bytes, so a stream says little of how many rows a batch has.
BATCH_ROWS_MAX = 4 * 1024 * 1024
# Each costs time, however small it is.
BATCHES_MAX = 100_000
# DuckDB keeps rows in groups of so many, and fills one from a batch twice as fast as from ten.
_GATHERED_ROWS = 122_880
_GATHERED_BYTES_MAX = 32 * 1024 * 1024
# So much of a file that was read is let go of at once.
_RELEASED_BYTES = 8 * 1024 * 1024
_VIEW = "import_arrow"


def fields_of(
    cursor: duckdb.DuckDBPyConnection, path: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the columns, and DuckDB's names of their types.

    Raises:
        InvalidArgument: FILE_INVALID.
    """
    with _damage():
        schema = MappedStream(path).schema()
        # Here, because a name may be none in UTF-8.
        written = tuple(schema.names)
        cursor.register(_VIEW, schema.empty_table().rename_columns(_names(schema)))
        try:
            described = cursor.execute(f"DESCRIBE SELECT * FROM {_VIEW}").fetchall()
        finally:
            _unregister(cursor)
    return written, tuple(str(row[1]) for row in described)


@contextmanager
def opened(
    cursor: duckdb.DuckDBPyConnection, path: Path, expanded_bytes_max: int
) -> Iterator[tuple[str, int]]:
    """Yield a view of the stream's rows, its columns called c0, c1, … and `ROW`, and how many rows it has.

    Raises:
        InvalidArgument: FILE_INVALID.
        ResourceExhausted: FILE_TOO_LARGE if its values take more than `expanded_bytes_max` bytes.
    """
    with _damage():
        mapped = MappedStream(path)
        _check_messages(mapped.buffer)
        row_count = _sound_rows(mapped.batches(), expanded_bytes_max)
        cursor.register(_VIEW, _numbered(mapped.schema(), mapped.batches()))
        try:
            yield _VIEW, row_count
        finally:
            _unregister(cursor)


class MappedStream:
    """A file in memory, of which hardly more than what is being read is there at any time."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            # Closed when the last batch of it has gone.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.buffer = pa.py_buffer(self._map)

    def schema(self) -> pa.Schema:
        """Return the schema that the stream begins with."""
        with pa.ipc.open_stream(self.buffer) as reader:
            return reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches, from the first."""
        source, released = pa.BufferReader(self.buffer), 0
        with pa.ipc.open_stream(source) as reader:
            for batch in reader:
                yield batch
                read = source.tell() // mmap.PAGESIZE * mmap.PAGESIZE
                if read - released >= _RELEASED_BYTES:
                    # All that went before, since whoever gathers batches reads them later than this: what is
                    # read again comes from the system's cache.
                    self._map.madvise(mmap.MADV_DONTNEED, 0, read)
                    released = read


def _check_messages(stream: pa.Buffer) -> None:
    for at, message in enumerate(messages(stream)):
        if message.compressed:
            raise file_invalid("it is compressed; send it without body compression")
        if message.grows:
            raise file_invalid("it has a dictionary that grows; write it with whole dictionaries")
        if not 0 <= message.row_count <= BATCH_ROWS_MAX:
            raise file_invalid(f"it has a batch of more than {BATCH_ROWS_MAX} rows")
        if at >= BATCHES_MAX:
            raise file_invalid(f"it has more than {BATCHES_MAX} batches")


def _sound_rows(batches: Iterable[pa.RecordBatch], expanded_bytes_max: int) -> int:
    """Return how many rows there are, after every batch was checked to point nowhere but into itself."""
    row_count = byte_count = 0
    for batch in batches:
        batch.validate(full=True)
        row_count += batch.num_rows
        byte_count += sum(map(expanded_bytes, batch.columns))
        if byte_count > expanded_bytes_max:
            raise ResourceExhausted(
                "FILE_TOO_LARGE",
                f"the values in the file take more than {expanded_bytes_max} bytes",
                bytes=expanded_bytes_max,
            )
    return row_count


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as error:
        raise file_invalid("it is not a whole Arrow IPC stream") from error


def _unregister(cursor: duckdb.DuckDBPyConnection) -> None:
    # In a transaction that failed it cannot be dropped; the rollback does it.
    with suppress(duckdb.TransactionException):
        cursor.unregister(_VIEW)


def _names(schema: pa.Schema) -> list[str]:
    return [f"c{at}" for at in range(len(schema))]


def _numbered(written: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
    """Return the batches with a column that counts rows from 1."""
    names = _names(written)
    schema = pa.schema(
        [field.with_name(name) for field, name in zip(written, names, strict=True)]
    ).append(pa.field(ROW, pa.int64()))

    def numbered() -> Iterator[pa.RecordBatch]:
        row_count, counted = 0, pa.array([], pa.int64())
        for batch in _gathered(written, batches):
            if batch.num_rows > len(counted):
                # As long as the longest batch so far; a window function, or Python, is slower.
                numbers = array("q", range(1, batch.num_rows + 1))
                buffers = [None, pa.py_buffer(numbers)]
                counted = pa.Array.from_buffers(pa.int64(), batch.num_rows, buffers)
            rows = pc.add(counted.slice(0, batch.num_rows), row_count)
            yield pa.RecordBatch.from_arrays([*batch.columns, rows], schema=schema)
            row_count += batch.num_rows

    return pa.RecordBatchReader.from_batches(schema, numbered())


def _gathered(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches, small ones together."""
    if not all(_joins(type_) for type_ in schema.types):
        yield from batches
        return
    held: list[pa.RecordBatch] = []
    rows = byte_count = 0
    for batch in batches:
        large = batch.num_rows >= _GATHERED_ROWS or batch.nbytes >= _GATHERED_BYTES_MAX
        if held and (large or rows >= _GATHERED_ROWS or byte_count >= _GATHERED_BYTES_MAX):
            yield pa.concat_batches(held)
            held, rows, byte_count = [], 0, 0
        if large:
            yield batch
            continue
        held.append(batch)
        rows += batch.num_rows
        byte_count += batch.nbytes
    if held:
        yield pa.concat_batches(held)


def _joins(type_: pa.DataType) -> bool:
    """Return whether arrays of a type can be made one; Arrow knows no such way for every type."""
    types = pa.types
    return bool(
        types.is_primitive(type_)
        or types.is_decimal(type_)
        or types.is_string(type_)
        or types.is_large_string(type_)
        or types.is_binary(type_)
        or types.is_large_binary(type_)
        or types.is_fixed_size_binary(type_)
    )
