"""What a caller may send that is odd, forged or hostile, and what must not come of it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2

from chassis.paging import encode_token
from chassis.tables import typed_rows
from chassis.values import to_value
from flux.table.v1 import query_service_pb2, row_service_pb2, rows_pb2, table_pb2, table_service_pb2
from flux.type.v1 import value_pb2
from table_service.ordering import parse_order
from table_service.row_servicer import _binding
from tests.table_service.serving import (
    Client,
    Kind,
    Served,
    column,
    create_dataset,
    detail,
    new_request_id,
    reason,
    refused,
)

Mutation = row_service_pb2.Mutation
EMPTY_ROWS = {
    "json": rows_pb2.Rows(json=rows_pb2.JsonRows(rows=[struct_pb2.Struct()])),
    "typed": rows_pb2.Rows(typed=rows_pb2.TypedRows(rows=[rows_pb2.TypedRow()])),
}


async def add(client: Client, table: str, *rows: dict[str, object], **fields: Any) -> list[int]:
    request = row_service_pb2.InsertRowsRequest(
        table=table, rows=typed_rows(tuple(rows[0]), [tuple(r.values()) for r in rows]), **fields
    )
    return list((await client.call(client.rows.InsertRows, request)).row_ids)


async def insert_dataset(client: Client, table: str, dataset_id: str, **fields: Any) -> Any:
    insert = Mutation(insert=Mutation.Insert(table=table, dataset_id=dataset_id))
    request = row_service_pb2.TransactRequest(mutations=[insert], **fields)
    return await client.call(client.rows.Transact, request)


@pytest.mark.parametrize("encoding", list(EMPTY_ROWS))
async def test_update_that_names_no_column_changes_none(served: Served, encoding: str) -> None:
    client = served.client()
    await client.create_table("notes", column("text", Kind.KIND_STRING))
    [row_id] = await add(client, "notes", {"text": "kept"})
    request = row_service_pb2.UpdateRowRequest(
        table="notes", row_id=row_id, values=EMPTY_ROWS[encoding]
    )
    error = await refused(client.call(client.rows.UpdateRow, request))
    assert reason(error) == "ROW_INVALID"
    assert await client.values("SELECT text FROM notes") == [("kept",)]


async def test_column_called_rowid_leaves_the_row_ids_alone(served: Served) -> None:
    client = served.client()
    await client.create_table("odd", column("rowid", Kind.KIND_INT64), column("n", Kind.KIND_INT64))
    await client.import_file("odd", b"rowid,n\n7,1\n7,2\n9,3\n")
    made = await create_dataset(client, "SELECT 5 AS rowid, range AS n FROM range(4, 6)")
    await insert_dataset(client, "odd", made.dataset.id)
    found = await client.values("SELECT _row_id, rowid, n FROM odd ORDER BY n")
    assert [row[1:] for row in found] == [(7, 1), (7, 2), (9, 3), (5, 4), (5, 5)]
    assert len({row[0] for row in found}) == 5


async def test_bad_rows_are_numbered_though_a_column_is_called_n(served: Served) -> None:
    client = served.client()
    await client.create_table("odd", column("n", Kind.KIND_INT64), column("x", Kind.KIND_INT64))
    error = await refused(client.import_file("odd", b"n,x\n1,1\nzz,2\n5\n9,y\n"))
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    assert [one.field for one in violations] == ["rows[2].n", "rows[3]", "rows[4].x"]


@pytest.mark.parametrize(
    "position",
    ["abc", "-5", "9", "1 OR true", "²", '["1 OR true"]', '["²"]', '["1","2"]', '{"row":1}'],
)
async def test_forged_page_token_is_refused(served: Served, position: str) -> None:
    client = served.client()
    request = row_service_pb2.ListRowsRequest(table="flights")
    table = served.store.writer.catalog.active["main", "flights"]
    binding = _binding(request, table, parse_order("", table.columns))
    request.page_token = encode_token(position, binding)
    error = await refused(client.call(client.rows.ListRows, request))
    assert reason(error) == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize(
    "of",
    [
        table_pb2.Column(name="a", type=table_pb2.Type(kind=Kind.KIND_LIST)),
        table_pb2.Column(name="a", type=table_pb2.Type(kind=Kind.KIND_MAP)),
        column("a", Kind.KIND_LIST, element=table_pb2.Type(kind=Kind.KIND_UNKNOWN)),
        column("a", Kind.KIND_STRUCT, fields=[column("b", Kind.KIND_LIST)]),
        column("a", Kind.KIND_STRUCT, fields=[column("b", Kind.KIND_UNKNOWN)]),
        column("a", Kind.KIND_STRUCT),
        column("a\0b", Kind.KIND_INT64),
    ],
)
async def test_relation_that_could_not_be_is_not_described(
    served: Served, of: table_pb2.Column
) -> None:
    client = served.client()
    relation = query_service_pb2.DescribeQueryRequest.Relation(columns=[of])
    request = query_service_pb2.DescribeQueryRequest(
        sql="SELECT * FROM q", relations={"q": relation}
    )
    error = await refused(client.call(client.queries.DescribeQuery, request))
    assert reason(error) == "SQL_INVALID"


@pytest.mark.parametrize(
    "document", ["[" * 200 + "]" * 200, "1" + "0" * 400, "1" + "0" * 5000, "1e999", "null"]
)
async def test_every_stored_document_can_be_listed_as_json(served: Served, document: str) -> None:
    client = served.client()
    await client.create_table("documents", column("j", Kind.KIND_JSON))
    row = rows_pb2.TypedRow(values=[value_pb2.Value(json=document)])
    typed = rows_pb2.TypedRows(columns=["j"], rows=[row])
    insert = row_service_pb2.InsertRowsRequest(table="documents", rows=rows_pb2.Rows(typed=typed))
    await client.call(client.rows.InsertRows, insert)
    request = row_service_pb2.ListRowsRequest(table="documents")
    assert len((await client.call(client.rows.ListRows, request)).rows.json.rows) == 1


async def test_document_with_a_number_that_json_lacks_is_refused(served: Served) -> None:
    client = served.client()
    await client.create_table("documents", column("j", Kind.KIND_JSON))
    row = struct_pb2.Struct()
    row.fields["j"].number_value = float("nan")
    rows = rows_pb2.Rows(json=rows_pb2.JsonRows(rows=[row]))
    request = row_service_pb2.InsertRowsRequest(table="documents", rows=rows)
    assert reason(await refused(client.call(client.rows.InsertRows, request))) == "ROW_INVALID"


async def test_page_is_no_larger_than_a_message(served: Served) -> None:
    client = served.client()
    await client.create_table("wide", column("text", Kind.KIND_STRING))
    ids = []
    for _ in range(10):
        ids += await add(client, "wide", {"text": "z" * 2_500_000})
    request = row_service_pb2.ListRowsRequest(table="wide", columns=["text"])
    seen: list[object] = []
    # Ends with the last page.
    while True:
        answer = await client.call(client.rows.ListRows, request)
        seen += [row["_row_id"] for row in answer.rows.json.rows]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert seen == ids


async def test_retry_gets_its_answer_though_what_it_names_has_gone(served: Served) -> None:
    client = served.client()
    await client.create_table("goes", column("n", Kind.KIND_INT64))
    made = await create_dataset(client, "SELECT 7::BIGINT AS n")
    insert_id, transact_id, import_id = (new_request_id() for _ in range(3))

    async def all_of_them() -> list[Any]:
        return [
            await add(client, "goes", {"n": 1}, request_id=insert_id),
            await insert_dataset(client, "goes", made.dataset.id, request_id=transact_id),
            await client.import_file("goes", b"n\n2\n", request_id=import_id),
        ]

    first = await all_of_them()
    delete = query_service_pb2.DeleteDatasetRequest(dataset_id=made.dataset.id)
    await client.call(client.queries.DeleteDataset, delete)
    drop = table_service_pb2.DeleteTableRequest(table="goes")
    await client.call(client.tables.DeleteTable, drop)
    assert await all_of_them() == first
    error = await refused(add(client, "goes", {"n": 2}, request_id=insert_id))
    assert reason(error) == "REQUEST_ID_REUSED"


async def test_dataset_that_goes_while_a_write_waits_is_not_found(served: Served) -> None:
    client = served.client()
    await client.create_table("target", column("n", Kind.KIND_INT64))
    made = await create_dataset(client, "SELECT 7::BIGINT AS n")
    dataset = served.store.datasets[made.dataset.id]
    delete = query_service_pb2.DeleteDatasetRequest(dataset_id=dataset.id)
    await client.call(client.queries.DeleteDataset, delete)
    # As a request sees it that was read before.
    served.store.datasets[dataset.id] = dataset
    error = await refused(insert_dataset(client, "target", dataset.id))
    assert reason(error) == "DATASET_NOT_FOUND"


async def test_parameters_of_a_filter_are_bound_as_those_of_a_query(served: Served) -> None:
    client = served.client()
    given = value_pb2.Value(interval=value_pb2.Interval(months=3))
    request = row_service_pb2.ListRowsRequest(
        table="flights",
        filter="DATE '2024-01-31' + $wait = DATE '2024-04-30' AND id = $id",
        parameters={"wait": given, "id": to_value(1)},
    )
    assert len((await client.call(client.rows.ListRows, request)).rows.json.rows) == 1


async def test_rows_that_take_no_bytes_are_bounded(served: Served) -> None:
    client = served.client()
    nothing = pa.table({"delay": pa.nulls(10**9)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, nothing.schema) as writer:
        writer.write_table(nothing)
    stream = sink.getvalue().to_pybytes()
    rows = rows_pb2.Rows(arrow_ipc=stream)
    request = row_service_pb2.InsertRowsRequest(table="flights", rows=rows)
    assert reason(await refused(client.call(client.rows.InsertRows, request))) == "ROW_INVALID"
    await client.create_table("empty", column("delay", Kind.KIND_INT64))
    call = client.import_file("empty", stream, row_service_pb2.FILE_FORMAT_ARROW_IPC)
    assert reason(await refused(call)) == "FILE_INVALID"
