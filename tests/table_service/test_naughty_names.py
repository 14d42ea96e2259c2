"""Texts that make trouble, as names, and wherever else a request has a text."""

from __future__ import annotations

import re
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from chassis.tables import typed_rows
from chassis.values import from_value
from flux.table.v1 import (
    query_service_pb2,
    rows_pb2,
    table_pb2,
    table_service_pb2,
)
from flux.table.v1 import row_service_pb2 as messages
from table_service.column_rules import name_violations
from table_service.sandbox_rules import SESSION_NAMES
from tests.table_service.encoded import as_json
from tests.table_service.naughty import NAUGHTY
from tests.table_service.serving import Client, Kind, Served, column, detail, reason, refused

Rows = rows_pb2.Rows
FORMATS = [
    messages.FILE_FORMAT_CSV,
    messages.FILE_FORMAT_PARQUET,
    messages.FILE_FORMAT_ARROW_IPC,
    messages.FILE_FORMAT_JSON_LINES,
]
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# One of those that only the case of letters tells apart.
NAMES = tuple(
    {
        text.lower(): text
        for text in NAUGHTY
        if len(text) <= 100 and not name_violations(text, "name")
    }.values()
)
BAD_NAMES = tuple(
    text for text in NAUGHTY if 0 < len(text) <= 128 and name_violations(text, "name")
)
LABELS = tuple(text for text in NAUGHTY if 0 < len(text) <= 128 and not CONTROL.search(text))


async def create(client: Client, name: str, *columns: table_pb2.Column, **fields: Any) -> Any:
    table = table_pb2.Table(name=name, columns=columns, **fields)
    request = table_service_pb2.CreateTableRequest(table=table)
    return await client.call(client.tables.CreateTable, request)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def listed(client: Client, table: str) -> list[list[object]]:
    """Return the values of all rows."""
    request = messages.ListRowsRequest(table=table, page_size=1000, encoding=Rows.ENCODING_TYPED)
    typed = (await client.call(client.rows.ListRows, request)).rows.typed
    return [[from_value(value) for value in row.values[2:]] for row in typed.rows]


async def test_as_names_of_columns(served: Served) -> None:
    client = served.client()
    columns = [column(name, Kind.KIND_STRING) for name in NAMES]
    await create(client, "odd", *columns, unique_keys=[table_pb2.UniqueKey(columns=NAMES[:16])])
    stored = await client.call(
        client.tables.GetTable, table_service_pb2.GetTableRequest(table="odd")
    )
    assert [c.name for c in stored.table.columns] == list(NAMES)
    values = [f"value {at}" for at in range(len(NAMES))]
    rows = [
        typed_rows(NAMES, [values]),
        as_json(dict(zip(NAMES, values, strict=True)) | {NAMES[0]: "other"}, {NAMES[-1]: "alone"}),
    ]
    for some in rows:
        await client.call(
            client.rows.InsertRows, messages.InsertRowsRequest(table="odd", rows=some)
        )
    nothing: list[object] = [None] * (len(NAMES) - 1)
    expected = [values, ["other", *values[1:]], [*nothing, "alone"]]
    assert await listed(client, "odd") == expected
    # By the table's name too: alone, SESSION_NAMES are functions that people may not call.
    picked = ", ".join(f"odd.{quoted(name)}" for name in NAMES)
    answer = await client.query(f"SELECT {picked} FROM odd WHERE {quoted(NAMES[0])} = 'value 0'")
    assert [c.name for c in answer.header.columns] == list(NAMES)
    assert answer.values() == [tuple(values)]
    found = messages.ListRowsRequest(
        table="odd",
        filter=" AND ".join(
            f"{quoted(name)} IS NOT NULL"
            for name in NAMES[:100]
            if name.lower() not in SESSION_NAMES
        ),
        columns=NAMES,
        order_by=f"{quoted(NAMES[3])} DESC",
    )
    assert len((await client.call(client.rows.ListRows, found)).rows.json.rows) == 2
    for file_format in FORMATS:
        content = await client.export_file("odd", file_format)
        await create(client, f"copy_{file_format}", *columns)
        await client.import_file(f"copy_{file_format}", content, file_format)
        assert await listed(client, f"copy_{file_format}") == expected


async def test_names_that_no_column_has_are_refused_by_their_place(served: Served) -> None:
    client = served.client()
    columns = [column(name, Kind.KIND_STRING) for name in BAD_NAMES]
    error = await refused(create(client, "odd", column("a", Kind.KIND_INT64), *columns))
    assert reason(error) == "SCHEMA_INVALID"
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    fields = [f"table.columns[{at}].name" for at in range(1, len(BAD_NAMES) + 1)][:100]
    assert [one.field for one in violations] == fields


async def test_as_fields_of_structs_and_labels_of_enums(served: Served) -> None:
    client = served.client()
    few = LABELS[:12]
    fields = [column(name, Kind.KIND_ENUM, labels=few[at % 9 :]) for at, name in enumerate(NAMES)]
    columns = [
        column("e", Kind.KIND_ENUM, labels=LABELS),
        column("s", Kind.KIND_STRUCT, fields=fields),
    ]
    created = await create(
        client, "odd", *columns, unique_keys=[table_pb2.UniqueKey(columns=["e"])]
    )
    assert list(created.table.columns[0].type.labels) == list(LABELS)
    rows = [
        (label, {name: few[(number * 7 + at) % 3 + 9] for number, name in enumerate(NAMES)})
        for at, label in enumerate(LABELS[:40])
    ]
    request = messages.InsertRowsRequest(table="odd", rows=typed_rows(("e", "s"), rows))
    await client.call(client.rows.InsertRows, request)
    others = [{"e": label} for label in LABELS[40:]]
    rest = messages.InsertRowsRequest(table="odd", rows=as_json(*others, {"s": rows[0][1]}))
    await client.call(client.rows.InsertRows, rest)
    expected = [
        *map(list, rows),
        *([label, None] for label in LABELS[40:]),
        [None, rows[0][1]],
    ]
    assert await listed(client, "odd") == expected
    answer = await client.query("SELECT e, s FROM odd ORDER BY e NULLS LAST")
    assert answer.header.columns[0].type.kind == Kind.KIND_ENUM
    assert list(answer.header.columns[0].type.labels) == list(LABELS)
    assert [f.name for f in answer.header.columns[1].type.fields] == list(NAMES)
    assert [list(row) for row in answer.values()] == expected
    for file_format in FORMATS:
        content = await client.export_file("odd", file_format)
        await create(client, f"copy_{file_format}", *columns)
        await client.import_file(f"copy_{file_format}", content, file_format)
        assert await listed(client, f"copy_{file_format}") == expected


async def test_a_value_that_is_no_label_is_refused_everywhere(served: Served) -> None:
    client = served.client()
    await create(client, "odd", column("e", Kind.KIND_ENUM, labels=["a", "it's", "c"]))
    for rows in (as_json({"e": "a"}, {"e": "b"}), typed_rows(("e",), [("a",), ("b",)])):
        request = messages.InsertRowsRequest(table="odd", rows=rows)
        error = await refused(client.call(client.rows.InsertRows, request))
        assert reason(error) == "ROW_INVALID"
        assert "row 1, column 'e': 'b' is none of the labels 'a', \"it's\", 'c'" in str(
            error.details()
        )
    for content, file_format in (
        (b"e\na\nb\n", messages.FILE_FORMAT_CSV),
        (b'{"e":"a"}\n{"e":"b"}\n', messages.FILE_FORMAT_JSON_LINES),
    ):
        error = await refused(client.import_file("odd", content, file_format))
        assert reason(error) == "ROW_INVALID"
        assert "row 2, column 'e'" in str(error.details())
        assert "labels" in str(error.details())
    assert await client.values("SELECT count(*) FROM odd") == [(0,)]


def requests_with(text: str) -> list[tuple[str, str, Any]]:
    """Return requests in which a text stands where a name, a token or SQL is expected."""
    tables, rows = table_service_pb2, messages
    return [
        ("tables", "GetTable", tables.GetTableRequest(table=text)),
        ("tables", "ListTables", tables.ListTablesRequest(name_prefix=text)),
        ("tables", "ListTables", tables.ListTablesRequest(page_token=text)),
        ("tables", "ListTables", tables.ListTablesRequest(labels={text: text})),
        ("rows", "ListRows", rows.ListRowsRequest(table="flights", filter=text)),
        ("rows", "ListRows", rows.ListRowsRequest(table="flights", order_by=text)),
        ("rows", "ListRows", rows.ListRowsRequest(table="flights", columns=[text])),
        ("rows", "ListRows", rows.ListRowsRequest(table="flights", page_token=text)),
        (
            "rows",
            "InsertRows",
            rows.InsertRowsRequest(table="flights", rows=as_json({text: 1}), request_id=text),
        ),
        ("rows", "InsertRows", rows.InsertRowsRequest(table="flights", rows=as_json({text: 1}))),
        ("queries", "DescribeQuery", query_service_pb2.DescribeQueryRequest(sql=text)),
        (
            "queries",
            "DescribeQuery",
            query_service_pb2.DescribeQueryRequest(sql=f"SELECT {text} FROM flights"),
        ),
        ("queries", "GetDataset", query_service_pb2.GetDatasetRequest(dataset_id=text)),
    ]


CALMLY = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
}


@pytest.mark.parametrize("part", range(4))
async def test_wherever_a_text_stands_the_answer_is_calm(served: Served, part: int) -> None:
    client = served.client()
    for text in NAUGHTY[part::4]:
        for stub, method, request in requests_with(text):
            try:
                await client.call(getattr(getattr(client, stub), method), request)
            except grpc.aio.AioRpcError as error:
                assert error.code() in CALMLY, (method, text, error)  # noqa: PT017
    assert await client.values("SELECT count(*) FROM flights") == [(4,)]
