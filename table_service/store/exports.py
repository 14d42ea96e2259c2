"""Tables into files, in one bounded read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from table_service.arrow_types import carrier_schema
from table_service.file_columns import to_csv, to_json_lines, to_parquet
from table_service.store.imports import Format
from table_service.store.statements import batches, reading
from table_service.store.transaction import physical
from table_service.tables import Table
from table_service.types import Column, outgoing_list, quoted

_ARROW_ROWS_MAX = 65_536
_COPY_OPTIONS = {
    Format.CSV: "FORMAT csv, HEADER true",
    Format.PARQUET: "FORMAT parquet",
    Format.JSON_LINES: "FORMAT json, ARRAY false",
}
_WRITERS = {Format.CSV: to_csv, Format.PARQUET: to_parquet, Format.JSON_LINES: to_json_lines}


def grows_in_order(format_: Format) -> bool:
    """Return whether the file can be read while it is being written.

    DuckDB's own writers put blocks at offsets from several threads: before the end, a part that
    is not written yet reads as zeros.
    """
    return format_ is Format.ARROW_IPC


def export(
    cursor: duckdb.DuckDBPyConnection,
    table: Table,
    columns: Sequence[Column],
    format_: Format,
    path: Path,
) -> int:
    """Write every row of the table into the file; return how many."""
    with reading(cursor):
        if format_ is Format.ARROW_IPC:
            return _export_arrow(cursor, table, columns, path)
        write = _WRITERS[format_]
        selected = ", ".join(f"{write(c.name, c.type)} AS {quoted(c.name)}" for c in columns)
        target = "'" + str(path).replace("'", "''") + "'"
        [[row_count]] = cursor.execute(
            f"COPY (SELECT {selected} FROM {physical(table)}) TO {target}"
            f" ({_COPY_OPTIONS[format_]}, COMPRESSION {_compression(format_)}, USE_TMP_FILE false)"
        ).fetchall()
        return int(row_count)


def _compression(format_: Format) -> str:
    return "snappy" if format_ is Format.PARQUET else "none"


def _export_arrow(
    cursor: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[Column], path: Path
) -> int:
    schema, row_count = carrier_schema(columns), 0
    sql = f"SELECT {outgoing_list(columns)} FROM {physical(table)}"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches(cursor, sql, {}, batch_rows=_ARROW_ROWS_MAX):
            writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
            row_count += batch.num_rows
    return row_count
