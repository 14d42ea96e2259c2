"""TableService and RowService over a real port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2

from chassis.tables import one_row, typed_rows
from chassis.values import from_value, to_value
from flux.table.v1 import row_service_pb2, rows_pb2, table_pb2, table_service_pb2
from tests.table_service.serving import (
    Client,
    Kind,
    Served,
    column,
    detail,
    new_request_id,
    reason,
    serving,
)

Mutation = row_service_pb2.Mutation
Precondition = row_service_pb2.Precondition
TYPED = rows_pb2.Rows.ENCODING_TYPED


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def client(served: Served) -> Client:
    editor = served.client()
    await editor.create_table(
        "items",
        column("key", Kind.KIND_STRING, not_null=True),
        column("size", Kind.KIND_INT32),
        column("at", Kind.KIND_TIMESTAMP),
        keys=[["key"]],
    )
    return editor


async def add(client: Client, *rows: tuple[object, ...], request_id: str = "") -> list[int]:
    request = row_service_pb2.InsertRowsRequest(
        table="items", rows=typed_rows(("key", "size"), rows), request_id=request_id
    )
    return list((await client.call(client.rows.InsertRows, request)).row_ids)


async def listed(client: Client, **fields: Any) -> list[tuple[object, ...]]:
    request = row_service_pb2.ListRowsRequest(table="items", encoding=TYPED, **fields)
    answer = await client.call(client.rows.ListRows, request)
    return [tuple(map(from_value, row.values)) for row in answer.rows.typed.rows]


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def test_rows_are_inserted_read_changed_and_deleted(client: Client) -> None:
    assert await add(client, ("a", 1), ("b", None)) == [1, 2]
    update = row_service_pb2.UpdateRowRequest(
        table="items", row_id=2, values=one_row({"size": 5}), expected_version=1
    )
    assert (await client.call(client.rows.UpdateRow, update)).version == 2
    assert reason(await failure(client.call(client.rows.UpdateRow, update))) == "ETAG_MISMATCH"
    get = row_service_pb2.GetRowRequest(table="items", row_id=2)
    row = (await client.call(client.rows.GetRow, get)).rows.json.rows[0]
    assert dict(row) == {"_row_id": 2, "_version": 2, "key": "b", "size": 5, "at": None}
    delete = row_service_pb2.DeleteRowRequest(table="items", row_id=2)
    await client.call(client.rows.DeleteRow, delete)
    error = await failure(client.call(client.rows.GetRow, get))
    assert (error.code(), reason(error)) == (grpc.StatusCode.NOT_FOUND, "ROW_NOT_FOUND")


async def test_every_bad_value_is_named(client: Client) -> None:
    error = await failure(add(client, ("a", 2**40), (None, 1), ("c", "x")))
    assert reason(error) == "ROW_INVALID"
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    assert [violation.field for violation in violations] == [
        "rows.typed.rows[0].values[1]",
        "rows.typed.rows[2].values[1]",
        "rows.typed.rows[1].key",
    ]
    assert await listed(client) == []


async def test_a_duplicate_key_is_named(client: Client) -> None:
    await add(client, ("a", 1))
    error = await failure(add(client, ("b", 1), ("a", 2)))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    assert detail(error, error_details_pb2.ErrorInfo).metadata["key"] == "key: a"


async def test_a_retry_of_an_insert_gets_the_first_answer(client: Client) -> None:
    id_ = new_request_id()
    first, again = await asyncio.gather(
        add(client, ("a", 1), request_id=id_), add(client, ("a", 1), request_id=id_)
    )
    assert first == again
    error = await failure(add(client, ("b", 1), request_id=id_))
    assert reason(error) == "REQUEST_ID_REUSED"


async def test_pages_follow_the_row_ids_and_the_filter(client: Client) -> None:
    await add(client, *[(f"k{at}", at) for at in range(10)])
    request = row_service_pb2.ListRowsRequest(
        table="items",
        filter="size % 2 = $rest AND key <> 'k4' -- even",
        parameters={"rest": to_value(0), "unused": to_value("x")},
        columns=["size"],
        encoding=TYPED,
        page_size=2,
    )
    sizes: list[object] = []
    while True:
        answer = await client.call(client.rows.ListRows, request)
        assert list(answer.rows.typed.columns) == ["_row_id", "_version", "size"]
        sizes += [from_value(row.values[2]) for row in answer.rows.typed.rows]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert sizes == [0, 2, 6, 8]
    request.page_token, request.filter = "", "size % 2 = $rest"
    token = (await client.call(client.rows.ListRows, request)).next_page_token
    request.page_token, request.filter = token, "size % 2 <> $rest"
    error = await failure(client.call(client.rows.ListRows, request))
    assert reason(error) == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("size = ", "SQL_INVALID"),
        ("nope = 1", "SQL_INVALID"),
        ("size = $nope", "SQL_INVALID"),
        ("size IN (SELECT 1)", "SQL_REFUSED"),
        ("true), (true", "SQL_REFUSED"),
        ("getenv('HOME') = 'x'", "SQL_REFUSED"),
        ("key::INTEGER = 1", "QUERY_FAILED"),
    ],
)
async def test_a_bad_filter_is_refused(client: Client, written: str, expected: str) -> None:
    await add(client, ("a", 1))
    assert reason(await failure(listed(client, filter=written))) == expected


async def test_parameters_of_every_kind_are_bound(client: Client) -> None:
    await add(client, ("a", 1))
    everything = {
        "b": True,
        "f": 1.5,
        "t": "x",
        "u": b"x",
        "l": [1, 2],
        "n": None,
        "h": 2**100,
    }
    request_filter = (
        "$b AND $f > 1 AND $t = 'x' AND octet_length($u) = 1 AND len($l) = 2 AND $n IS NULL"
        " AND $h > 0"
    )
    parameters = {name: to_value(value) for name, value in everything.items()}
    assert len(await listed(client, filter=request_filter, parameters=parameters)) == 1


async def test_a_transaction_happens_whole_or_not_at_all(client: Client) -> None:
    [row_id] = await add(client, ("a", 1))
    steps = [
        Mutation(update=Mutation.Update(table="items", row_id=row_id, values=one_row({"size": 2}))),
        Mutation(insert=Mutation.Insert(table="items", rows=typed_rows(("key",), [("b",)]))),
        Mutation(
            upsert=Mutation.Upsert(
                table="items",
                key_columns=["key"],
                rows=typed_rows(("key", "size"), [("b", 7), ("c", 8)]),
            )
        ),
    ]
    check = Precondition(
        row_version=Precondition.RowVersion(table="items", row_id=row_id, version=1)
    )
    absent = Precondition(
        row_absent=Precondition.RowAbsent(table="items", key=one_row({"key": "z"}))
    )
    request = row_service_pb2.TransactRequest(preconditions=[check, absent], mutations=steps)
    results = (await client.call(client.rows.Transact, request)).results
    assert results[0].version == 2
    assert (list(results[1].row_ids), results[1].inserted_count) == ([2], 1)
    assert (results[2].inserted_count, results[2].updated_count) == (1, 1)
    assert [row[2:4] for row in await listed(client)] == [("a", 2), ("b", 7), ("c", 8)]
    error = await failure(client.call(client.rows.Transact, request))
    assert reason(error) == "PRECONDITION_FAILED"

    twice = Mutation(
        upsert=Mutation.Upsert(
            table="items", key_columns=["key"], rows=typed_rows(("key",), [("d",), ("d",)])
        )
    )
    again = row_service_pb2.TransactRequest(mutations=[steps[0], twice])
    assert reason(await failure(client.call(client.rows.Transact, again))) == "DUPLICATE_KEY"
    assert [row[1] for row in await listed(client)] == [2, 2, 1]


async def test_the_index_of_a_mutation_is_in_the_path(client: Client) -> None:
    bad = Mutation(
        insert=Mutation.Insert(table="items", rows=typed_rows(("key", "size"), [("a", "x")]))
    )
    good = Mutation(insert=Mutation.Insert(table="items", rows=typed_rows(("key",), [("a",)])))
    request = row_service_pb2.TransactRequest(mutations=[good, bad])
    error = await failure(client.call(client.rows.Transact, request))
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    assert violations[0].field == "mutations[1].insert.rows.typed.rows[0].values[1]"


async def test_tables_are_created_listed_and_deleted_softly(client: Client) -> None:
    await add(client, ("a", 1))
    await client.create_table("zoo", column("a", Kind.KIND_INT64))
    request = table_service_pb2.ListTablesRequest(page_size=1)
    first = await client.call(client.tables.ListTables, request)
    assert [table.name for table in first.tables] == ["items"]
    request.page_token = first.next_page_token
    last = await client.call(client.tables.ListTables, request)
    assert ([table.name for table in last.tables], last.next_page_token) == (["zoo"], "")

    id_ = new_request_id()
    delete = table_service_pb2.DeleteTableRequest(table="items", request_id=id_)
    deleted = (await client.call(client.tables.DeleteTable, delete)).table
    assert deleted.state == table_pb2.Table.STATE_DELETED
    delete = table_service_pb2.DeleteTableRequest(table="items", request_id=id_)
    assert (await client.call(client.tables.DeleteTable, delete)).table == deleted
    assert reason(await failure(listed(client))) == "TABLE_NOT_FOUND"
    await client.create_table("items", column("key", Kind.KIND_INT64))
    assert await listed(client) == []


async def test_a_table_exists_once(client: Client) -> None:
    error = await failure(client.create_table("items", column("a", Kind.KIND_INT64)))
    assert (error.code(), reason(error)) == (grpc.StatusCode.ALREADY_EXISTS, "TABLE_EXISTS")


async def test_every_contradiction_in_a_schema_is_named(client: Client) -> None:
    error = await failure(
        client.create_table(
            "t",
            column("a", Kind.KIND_INT64),
            column("A", Kind.KIND_DECIMAL, precision=3, scale=4),
            column("_row_id", Kind.KIND_LIST),
            column("s", Kind.KIND_STRUCT),
            keys=[["nope"], ["_row_id"]],
        )
    )
    assert reason(error) == "SCHEMA_INVALID"
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    assert {violation.field for violation in violations} == {
        "table.columns[1].name",
        "table.columns[1].type",
        "table.columns[2].name",
        "table.columns[2].type",
        "table.columns[3].type",
        "table.unique_keys[0].columns[0]",
        "table.unique_keys[1].columns[0]",
    }


async def test_a_namespace_is_its_services_own(served: Served, client: Client) -> None:
    claims = served.keys.claims(sub="workflow", kind="service", roles=[])
    workflow = Client(served.channel, served.keys.sign(claims))
    table = table_pb2.Table(
        name="events", namespace="workflow", columns=[column("a", Kind.KIND_INT64)]
    )
    create = table_service_pb2.CreateTableRequest(table=table)
    assert (
        reason(await failure(client.call(client.tables.CreateTable, create))) == "NAMESPACE_CLOSED"
    )
    await workflow.call(workflow.tables.CreateTable, create)
    insert = row_service_pb2.InsertRowsRequest(
        table="workflow.events", rows=typed_rows(("a",), [(1,)])
    )
    await workflow.call(workflow.rows.InsertRows, insert)
    get = row_service_pb2.GetRowRequest(table="workflow.events", row_id=1)
    admin = served.client("usr_2", "admin")
    await admin.call(admin.rows.GetRow, get)
    assert reason(await failure(admin.call(admin.rows.InsertRows, insert))) == "NAMESPACE_CLOSED"
    assert reason(await failure(client.call(client.rows.GetRow, get))) == "NAMESPACE_CLOSED"


async def test_a_run_that_acts_for_a_person_is_that_person(served: Served, client: Client) -> None:
    claims = served.keys.claims(sub="usr_1", act={"sub": "workflow"})
    acting = Client(served.channel, served.keys.sign(claims))
    id_ = new_request_id()
    assert await add(client, ("a", 1), request_id=id_) == await add(
        acting, ("a", 1), request_id=id_
    )


async def test_every_encoding_goes_in_and_comes_out(client: Client) -> None:
    await add(client, ("a", 1))
    encodings = {
        rows_pb2.Rows.ENCODING_TYPED: "typed",
        rows_pb2.Rows.ENCODING_JSON: "json",
        rows_pb2.Rows.ENCODING_ARROW_IPC: "arrow_ipc",
    }
    for encoding, member in encodings.items():
        request = row_service_pb2.ListRowsRequest(
            table="items", encoding=encoding, columns=["key", "size"], filter="key = 'a'"
        )
        rows = (await client.call(client.rows.ListRows, request)).rows
        assert rows.WhichOneof("encoded") == member


async def test_a_page_of_many_rows_is_converted_whole(client: Client) -> None:
    await add(client, *[(f"k{at}", at) for at in range(1200)])
    assert len(await listed(client, page_size=1000)) == 1000
