"""Texts that make trouble, as values: cells, keys, parameters, literals, defaults, documents, file cells."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pytest

from chassis.scalars import Json
from chassis.tables import typed_rows
from chassis.values import from_value, to_value
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2, table_pb2, table_service_pb2
from tests.table_service.encoded import as_arrow, as_json
from tests.table_service.naughty import NAUGHTY
from tests.table_service.serving import Client, Kind, Served, column, reason, refused

Rows = rows_pb2.Rows
FORMATS = [
    messages.FILE_FORMAT_CSV,
    messages.FILE_FORMAT_PARQUET,
    messages.FILE_FORMAT_ARROW_IPC,
    messages.FILE_FORMAT_JSON_LINES,
]
TEXT_LIST = table_pb2.Type(kind=Kind.KIND_LIST, element=table_pb2.Type(kind=Kind.KIND_STRING))


async def insert(client: Client, rows: Rows) -> None:
    await client.call(client.rows.InsertRows, messages.InsertRowsRequest(table="odd", rows=rows))


def values_of(rows: Rows, encoding: Any) -> list[Any]:
    """Return the values of the only column after _row_id and _version."""
    if encoding == Rows.ENCODING_TYPED:
        return [from_value(row.values[2]) for row in rows.typed.rows]
    if encoding == Rows.ENCODING_JSON:
        return [row.fields["v"].string_value for row in rows.json.rows]
    found: list[Any] = pa.ipc.open_stream(rows.arrow_ipc).read_all().column("v").to_pylist()
    return found


@pytest.mark.parametrize(
    "rows",
    [
        typed_rows(("v",), [(text,) for text in NAUGHTY]),
        as_json(*({"v": text} for text in NAUGHTY)),
        as_arrow(v=pa.array(NAUGHTY)),
        as_arrow(v=pa.array(NAUGHTY).dictionary_encode()),
    ],
    ids=["typed", "json", "arrow", "arrow_dictionary"],
)
async def test_as_cells_in_every_encoding(served: Served, rows: Rows) -> None:
    client = served.client()
    await client.create_table("odd", column("v", Kind.KIND_STRING), keys=[["v"]])
    await insert(client, rows)
    for encoding in (Rows.ENCODING_TYPED, Rows.ENCODING_JSON, Rows.ENCODING_ARROW_IPC):
        request = messages.ListRowsRequest(table="odd", page_size=1000, encoding=encoding)
        answer = await client.call(client.rows.ListRows, request)
        assert values_of(answer.rows, encoding) == list(NAUGHTY)
    twice = await refused(insert(client, typed_rows(("v",), [(NAUGHTY[-1],)])))
    assert reason(twice) == "DUPLICATE_KEY"


async def test_as_parameters(served: Served) -> None:
    client = served.client()
    await client.create_table("odd", column("v", Kind.KIND_STRING))
    await insert(client, typed_rows(("v",), [(text,) for text in NAUGHTY]))
    for at in range(0, len(NAUGHTY), 100):
        texts = NAUGHTY[at : at + 100]
        parameters = {f"p{number}": text for number, text in enumerate(texts)}
        names = ", ".join(f"${name}" for name in parameters)
        assert await client.values(f"SELECT {names}", parameters) == [texts]
        counted = await client.values(f"SELECT count(*) FROM odd WHERE v IN ({names})", parameters)
        assert counted == [(len(texts),)]
        request = messages.ListRowsRequest(
            table="odd",
            filter=f"v IN ({names})",
            parameters={name: to_value(text) for name, text in parameters.items()},
            page_size=1000,
            encoding=Rows.ENCODING_TYPED,
        )
        answer = await client.call(client.rows.ListRows, request)
        assert values_of(answer.rows, Rows.ENCODING_TYPED) == list(texts)


async def test_as_literals_of_a_filter_and_of_a_query(served: Served) -> None:
    client = served.client()
    await client.create_table("odd", column("v", Kind.KIND_STRING))
    await insert(client, typed_rows(("v",), [(text,) for text in NAUGHTY]))
    short = [text for text in NAUGHTY if len(text) < 300 and "\0" not in text]
    for at in range(0, len(short), 30):
        texts = short[at : at + 30]
        listed = ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
        assert await client.values(f"SELECT {listed}") == [tuple(texts)]
        request = messages.ListRowsRequest(
            table="odd", filter=f"v IN ({listed})", page_size=1000, encoding=Rows.ENCODING_TYPED
        )
        answer = await client.call(client.rows.ListRows, request)
        assert values_of(answer.rows, Rows.ENCODING_TYPED) == texts


async def test_a_nul_in_sql_is_refused(served: Served) -> None:
    client = served.client()
    await client.create_table("odd", column("v", Kind.KIND_STRING))
    # Which of the two depends on who looks first: the parser of 1.5 ends every statement at a NUL.
    reasons = ("SQL_INVALID", "SQL_REFUSED")
    assert reason(await refused(client.values("SELECT 'a\0b'"))) in reasons
    request = messages.ListRowsRequest(table="odd", filter="v = 'a\0b'")
    assert reason(await refused(client.call(client.rows.ListRows, request))) in reasons


async def test_as_defaults_descriptions_and_labels_of_a_table(served: Served) -> None:
    client = served.client()
    columns = [
        table_pb2.Column(
            name=f"c{at}",
            type=table_pb2.Type(kind=Kind.KIND_STRING),
            description=text[:2000],
            default=table_pb2.Default(literal=to_value(text)),
        )
        for at, text in enumerate(NAUGHTY)
    ]
    for at in range(0, len(NAUGHTY), 60):
        texts = NAUGHTY[at : at + 60]
        table = table_pb2.Table(
            name=f"odd_{at}",
            columns=columns[at : at + 60],
            description=texts[0],
            labels={f"l{number}": text for number, text in enumerate(texts) if len(text) < 256},
        )
        request = table_service_pb2.CreateTableRequest(table=table)
        await client.call(client.tables.CreateTable, request)
        stored = await client.call(
            client.tables.GetTable, table_service_pb2.GetTableRequest(table=table.name)
        )
        assert stored.table.description == texts[0]
        assert stored.table.labels == table.labels
        assert [c.description for c in stored.table.columns] == [
            c.description for c in table.columns
        ]
        assert [c.default for c in stored.table.columns] == [c.default for c in table.columns]
        rows = messages.InsertRowsRequest(
            table=table.name, rows=as_json({f"c{at}": "given"}, {f"c{at + 1}": "given"})
        )
        await client.call(client.rows.InsertRows, rows)
        names = ", ".join(c.name for c in table.columns)
        assert await client.values(f"SELECT {names} FROM odd_{at} ORDER BY _row_id") == [
            ("given", *texts[1:]),
            (texts[0], "given", *texts[2:]),
        ]


def said(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with what its document says; JSON lines write it in their own way."""
    return (json.loads(row[0].text), *row[1:])


async def test_as_documents_lists_and_fields(served: Served) -> None:
    client = served.client()
    fields = [column("a", Kind.KIND_STRING), table_pb2.Column(name="b", type=TEXT_LIST)]
    await client.create_table(
        "odd",
        column("v", Kind.KIND_JSON),
        table_pb2.Column(name="w", type=TEXT_LIST),
        column("s", Kind.KIND_STRUCT, fields=fields),
    )
    rows = [
        (
            Json(json.dumps({text: [text]}, ensure_ascii=at % 2 == 0)),
            [text, None, text],
            {"a": text, "b": [text]},
        )
        for at, text in enumerate(NAUGHTY)
    ]
    await insert(client, typed_rows(("v", "w", "s"), rows))
    found = await client.values("SELECT v, w, s FROM odd ORDER BY _row_id")
    assert found == rows
    answer = await client.query("SELECT v FROM odd ORDER BY _row_id", encoding=Rows.ENCODING_JSON)
    documents = [
        dict(row.fields["v"].struct_value) for rows in answer.batches for row in rows.json.rows
    ]
    assert [next(iter(document)) for document in documents] == list(NAUGHTY)
    for file_format in FORMATS:
        content = await client.export_file("odd", file_format)
        name = f"copy_{file_format}"
        await client.create_table(
            name,
            column("v", Kind.KIND_JSON),
            table_pb2.Column(name="w", type=TEXT_LIST),
            column("s", Kind.KIND_STRUCT, fields=fields),
        )
        await client.import_file(name, content, file_format)
        found = await client.values(f"SELECT v, w, s FROM {name} ORDER BY _row_id")
        assert list(map(said, found)) == list(map(said, rows))


@pytest.mark.parametrize("file_format", FORMATS, ids=messages.FileFormat.Name)
async def test_as_cells_of_files(served: Served, file_format: Any) -> None:
    client = served.client()
    await client.create_table("odd", column("n", Kind.KIND_INT64), column("v", Kind.KIND_STRING))
    await client.create_table("copy", column("n", Kind.KIND_INT64), column("v", Kind.KIND_STRING))
    rows = [(None if at % 7 == 0 else at, text) for at, text in enumerate(NAUGHTY)]
    await insert(client, typed_rows(("n", "v"), rows))
    await client.import_file("copy", await client.export_file("odd", file_format), file_format)
    assert await client.values("SELECT n, v FROM copy ORDER BY _row_id") == rows


async def test_as_cells_of_a_file_that_python_wrote(served: Served) -> None:
    client = served.client()
    await client.create_table("odd", column("n", Kind.KIND_INT64), column("v", Kind.KIND_STRING))
    # Python's own writer knows no NUL before 3.11, and DuckDB's reader takes a bare \r for a new line.
    texts = [text for text in NAUGHTY if "\0" not in text]
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(["n", "v"])
    writer.writerows(enumerate(texts))
    await client.import_file("odd", file.getvalue().encode())
    assert await client.values("SELECT v FROM odd ORDER BY _row_id") == [(text,) for text in texts]
