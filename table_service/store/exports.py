"""Tables and results of queries into files, in one bounded read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa

from table_service.arrow_types import carrier_schema
from table_service.csv_dialect import Dialect
from table_service.file_columns import to_csv, to_json_lines, to_parquet
from table_service.store.datasets import Bound
from table_service.store.file_bytes import Format
from table_service.store.outflow import Outflow
from table_service.store.statements import batches, numbered
from table_service.store.transaction import physical
from table_service.tables import Table
from table_service.types import Column, Kind, outgoing, quoted, sql_text, sql_type

_ARROW_ROWS_MAX = 65_536
_WRITERS = {Format.CSV: to_csv, Format.PARQUET: to_parquet, Format.JSON_LINES: to_json_lines}
# Empty values of these are texts that are empty.
_TEXTS = frozenset({Kind.STRING, Kind.BYTES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What to write: FROM what, the columns of the file, and SQL of each as `columns` say it."""

    relation: str
    columns: tuple[Column, ...]
    values: tuple[str, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)


def of_table(table: Table, columns: Sequence[Column]) -> Exported:
    """Return these columns of a table, to be exported."""
    return Exported(
        relation=physical(table),
        columns=tuple(columns),
        values=tuple(quoted(column.name) for column in columns),
    )


def of_query(bound: Bound) -> Exported:
    """Return the result of a statement, to be exported as the nearest that a table could hold."""
    values: list[str] = []
    for at, described in enumerate(bound.columns):
        target = sql_type(described.column.type)
        same = described.written == target
        values.append(f"q.c{at}" if same else f"CAST(q.c{at} AS {target})")
    return Exported(
        relation=numbered(bound.statement, bound.columns),
        columns=tuple(described.column for described in bound.columns),
        values=tuple(values),
        parameters=bound.parameters,
    )


def export_file(
    cursor: duckdb.DuckDBPyConnection,
    exported: Exported,
    format_: Format,
    dialect: Dialect,
    path: Path,
) -> int:
    """Write every row into the file; return how many. The cursor stands in a transaction that reads.

    Not for Arrow. DuckDB's writers put blocks at offsets from several threads: before the end, a part that is
    not written yet reads as zeros.
    """
    write = _WRITERS[format_]
    selected = ", ".join(
        f"{write(value, column.type)} AS {quoted(column.name)}"
        for value, column in zip(exported.values, exported.columns, strict=True)
    )
    options = ["USE_TMP_FILE false", *_options(format_, dialect, exported.columns)]
    [[row_count]] = cursor.execute(
        f"COPY (SELECT {selected} FROM {exported.relation}) TO {sql_text(str(path))}"
        f" ({', '.join(options)})",
        dict(exported.parameters) or None,
    ).fetchall()
    return int(row_count)


def export_arrow(cursor: duckdb.DuckDBPyConnection, exported: Exported, sink: Outflow) -> int:
    """Write every row as an Arrow stream; return how many. The cursor stands in a transaction that reads."""
    schema, row_count = carrier_schema(exported.columns), 0
    selected = ", ".join(
        outgoing(value, column)
        for value, column in zip(exported.values, exported.columns, strict=True)
    )
    sql = f"SELECT {selected} FROM {exported.relation}"
    found = batches(cursor, sql, exported.parameters, batch_rows=_ARROW_ROWS_MAX)
    # What is written is sent at once: nothing is, before DuckDB has found what to read.
    first = next(found)
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in chain([first], found):
            writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
            row_count += batch.num_rows
    sink.finish()
    return row_count


def _options(format_: Format, dialect: Dialect, columns: Sequence[Column]) -> list[str]:
    match format_:
        case Format.PARQUET:
            return ["FORMAT parquet", "COMPRESSION snappy"]
        case Format.JSON_LINES:
            return ["FORMAT json", "ARRAY false", "COMPRESSION none"]
        case _:
            return ["FORMAT csv", "COMPRESSION none", *_csv_options(dialect, columns)]


def _csv_options(dialect: Dialect, columns: Sequence[Column]) -> list[str]:
    options = [
        f"HEADER {str(dialect.header).lower()}",
        f"DELIMITER {sql_text(dialect.delimiter)}",
        f"QUOTE {sql_text(dialect.quote)}",
        f"ESCAPE {sql_text(dialect.escape or dialect.quote)}",
        f"NULLSTR {sql_text(dialect.null_text)}",
    ]
    texts = [quoted(column.name) for column in columns if column.type.kind in _TEXTS]
    if texts and (dialect.null_text or dialect.escape not in ("", dialect.quote)):
        # DuckDB would leave the empty text bare then, and bare it is null to whoever reads it; a text with an
        # escape in it too, and there are readers that take the escape for one outside quotes as well.
        options.append(f"FORCE_QUOTE ({', '.join(texts)})")
    return options
