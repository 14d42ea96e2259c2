"""Files of relations in every format, written and read by nothing of table_service's."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from flux.table.v1 import row_service_pb2, table_pb2
from tests.table_service.relations import Kind, Relation

CSV = row_service_pb2.FILE_FORMAT_CSV
PARQUET = row_service_pb2.FILE_FORMAT_PARQUET
ARROW = row_service_pb2.FILE_FORMAT_ARROW_IPC
JSON_LINES = row_service_pb2.FILE_FORMAT_JSON_LINES
FORMATS = (CSV, PARQUET, ARROW, JSON_LINES)
Columns = Sequence[table_pb2.Column]

_ARROW = {
    Kind.KIND_BOOL: pa.bool_(),
    Kind.KIND_INT16: pa.int16(),
    Kind.KIND_INT32: pa.int32(),
    Kind.KIND_INT64: pa.int64(),
    Kind.KIND_DOUBLE: pa.float64(),
    Kind.KIND_DATE: pa.date32(),
}


def file_of(relation: Relation, file_format: Any) -> bytes:
    """Return the rows of a relation as a file."""
    return _WRITERS[file_format](relation)


def rows_of(content: bytes, columns: Columns, file_format: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a file that has exactly these columns in this order."""
    return _READERS[file_format](content, columns)


def _csv_file(relation: Relation) -> bytes:
    lines = [",".join(_csv_text(name) for name in relation.names)]
    lines += [",".join(_csv_field(value) for value in row) for row in relation.rows]
    return "".join(line + "\r\n" for line in lines).encode()


def _csv_field(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return _csv_text(value)
        case list() | dict():
            return _csv_text(json.dumps(value, ensure_ascii=False))
        case _:
            return str(value)


def _csv_text(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _json_lines_file(relation: Relation) -> bytes:
    def lines() -> Iterable[str]:
        for row in relation.rows:
            fields = zip(relation.columns, row, strict=True)
            yield json.dumps(
                {column.name: _json(value, column) for column, value in fields}, ensure_ascii=False
            )

    return "".join(line + "\n" for line in lines()).encode()


def _json(value: Any, column: table_pb2.Column) -> Any:
    if column.type.kind == Kind.KIND_JSON and isinstance(value, str):
        return json.loads(value)
    return value if isinstance(value, bool | int | float | list | dict | None) else str(value)


def _arrow_type(type_: table_pb2.Type) -> pa.DataType:
    match type_.kind:
        case Kind.KIND_DECIMAL:
            return pa.decimal128(type_.precision, type_.scale)
        case Kind.KIND_LIST:
            return pa.list_(_arrow_type(type_.element))
        case Kind.KIND_STRUCT:
            return pa.struct([(field.name, _arrow_type(field.type)) for field in type_.fields])
        case kind:
            return _ARROW.get(kind, pa.string())


def _arrow_table(relation: Relation) -> pa.Table:
    schema = pa.schema([(column.name, _arrow_type(column.type)) for column in relation.columns])
    columns = zip(*relation.rows, strict=True)
    arrays = [pa.array(list(c), type_) for c, type_ in zip(columns, schema.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _arrow_file(relation: Relation) -> bytes:
    table, sink = _arrow_table(relation), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    return sink.getvalue()


def _parquet_file(relation: Relation) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_arrow_table(relation), sink, row_group_size=1000)
    return sink.getvalue()


def _tuples(table: pa.Table, columns: Columns) -> list[tuple[Any, ...]]:
    assert table.column_names == [column.name for column in columns]
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _csv_rows(content: bytes, columns: Columns) -> list[tuple[Any, ...]]:
    nested = (Kind.KIND_LIST, Kind.KIND_STRUCT)
    types = {
        column.name: pa.string() if column.type.kind in nested else _arrow_type(column.type)
        for column in columns
    }
    options = pa_csv.ConvertOptions(
        column_types=types,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parsing = pa_csv.ParseOptions(newlines_in_values=True)
    table = pa_csv.read_csv(io.BytesIO(content), convert_options=options, parse_options=parsing)
    return _tuples(table, columns)


def _json_line_rows(content: bytes, columns: Columns) -> list[tuple[Any, ...]]:
    names = [column.name for column in columns]
    rows = []
    for line in content.decode().removesuffix("\n").split("\n"):
        fields = json.loads(line, parse_float=float)
        assert list(fields) == names
        rows.append(tuple(fields.values()))
    return rows


def _arrow_rows(content: bytes, columns: Columns) -> list[tuple[Any, ...]]:
    with pa.ipc.open_stream(content) as reader:
        return _tuples(reader.read_all(), columns)


def _parquet_rows(content: bytes, columns: Columns) -> list[tuple[Any, ...]]:
    return _tuples(pq.read_table(io.BytesIO(content)), columns)


_WRITERS: dict[Any, Callable[[Relation], bytes]] = {
    CSV: _csv_file,
    PARQUET: _parquet_file,
    ARROW: _arrow_file,
    JSON_LINES: _json_lines_file,
}
_READERS: dict[Any, Callable[[bytes, Columns], list[tuple[Any, ...]]]] = {
    CSV: _csv_rows,
    PARQUET: _parquet_rows,
    ARROW: _arrow_rows,
    JSON_LINES: _json_line_rows,
}
