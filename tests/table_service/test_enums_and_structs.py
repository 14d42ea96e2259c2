"""Enums and structs as columns of tables, through the whole service."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.tables import one_row, typed_rows
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1 import rows_pb2, table_pb2
from tests.table_service.encoded import as_json
from tests.table_service.serving import (
    Client,
    Kind,
    Served,
    column,
    create_dataset,
    reason,
    refused,
)

STATE = table_pb2.Type(kind=Kind.KIND_ENUM, labels=["new", "open", "done"])
ADDRESS = table_pb2.Type(
    kind=Kind.KIND_STRUCT,
    fields=[
        table_pb2.Column(
            name="street", type=table_pb2.Type(kind=Kind.KIND_STRING), description="And the number."
        ),
        table_pb2.Column(name="states", type=table_pb2.Type(kind=Kind.KIND_LIST, element=STATE)),
        column("big", Kind.KIND_INT128),
    ],
)
PLACE = {"street": "Main 1", "states": ["done", None], "big": 2**100}


@pytest.fixture
async def client(served: Served) -> Client:
    client = served.client()
    for name in ("orders", "copies"):
        await client.create_table(
            name,
            table_pb2.Column(name="state", type=STATE),
            table_pb2.Column(name="place", type=ADDRESS),
            keys=[["state"]],
        )
    return client


async def insert(client: Client, rows: rows_pb2.Rows, **fields: Any) -> Any:
    request = messages.InsertRowsRequest(table="orders", rows=rows, **fields)
    return await client.call(client.rows.InsertRows, request)


async def test_labels_are_ordered_as_they_are_listed(client: Client) -> None:
    await insert(client, as_json({"state": "open"}, {"state": "done"}, {"state": "new"}, {}))
    found = await client.values("SELECT state FROM orders ORDER BY state NULLS LAST")
    assert found == [("new",), ("open",), ("done",), (None,)]
    request = messages.ListRowsRequest(
        table="orders", filter="state <> 'new'", order_by="state DESC"
    )
    rows = (await client.call(client.rows.ListRows, request)).rows.json.rows
    assert [row["state"] for row in rows] == ["done", "open"]
    # Beside text it is text, whatever the order of the labels.
    assert await client.values("SELECT state FROM orders WHERE state > 'new'") == [("open",)]


async def test_a_label_is_a_key(client: Client) -> None:
    await insert(client, typed_rows(("state", "place"), [("new", None)]))
    twice = await refused(insert(client, typed_rows(("state",), [("new",)])))
    assert reason(twice) == "DUPLICATE_KEY"
    upsert = messages.UpsertRowsRequest(
        table="orders",
        key="state",
        rows=typed_rows(("state", "place"), [("new", PLACE), ("done", None)]),
    )
    answer = await client.call(client.rows.UpsertRows, upsert)
    assert (answer.created_count, answer.updated_count) == (1, 1)
    found = await client.values("SELECT state, place FROM orders ORDER BY state")
    assert found == [("new", PLACE), ("done", None)]


async def test_a_struct_is_read_updated_and_looked_into(client: Client) -> None:
    [row_id] = (await insert(client, typed_rows(("state", "place"), [("new", PLACE)]))).row_ids
    values = one_row({"place": {"street": "Side 2"}})
    request = messages.UpdateRowRequest(table="orders", row_id=row_id, values=values)
    await client.call(client.rows.UpdateRow, request)
    whole = {"street": "Side 2", "states": None, "big": None}
    assert await client.values("SELECT place, place.street FROM orders") == [(whole, "Side 2")]


async def test_a_query_says_their_types(client: Client) -> None:
    await insert(client, typed_rows(("state", "place"), [("new", PLACE)]))
    answer = await client.query("SELECT state, place, [state] AS states FROM orders")
    state, place, states = answer.header.columns
    assert list(state.type.labels) == list(STATE.labels)
    assert [f.name for f in place.type.fields] == ["street", "states", "big"]
    assert list(states.type.element.labels) == list(STATE.labels)
    assert answer.values() == [("new", PLACE, ["new"])]


async def test_they_go_through_a_dataset(client: Client) -> None:
    await insert(client, typed_rows(("state", "place"), [("new", PLACE), ("done", None)]))
    made = await create_dataset(client, "SELECT state, place FROM orders ORDER BY state")
    kinds = messages.Mutation
    mutation = kinds(insert=kinds.Insert(table="copies", dataset_id=made.dataset.id))
    await client.call(client.rows.Transact, messages.TransactRequest(mutations=[mutation]))
    found = await client.values("SELECT state, place FROM copies ORDER BY state")
    assert found == [("new", PLACE), ("done", None)]


async def test_values_are_cast_only_when_asked(client: Client) -> None:
    rows = as_json({"state": "new", "place": {"street": 5, "big": "7.0"}})
    assert reason(await refused(insert(client, rows))) == "ROW_INVALID"
    await insert(client, rows, coerce=True)
    whole = {"street": "5", "states": None, "big": 7}
    assert await client.values("SELECT place FROM orders") == [(whole,)]


async def test_bad_rows_stand_alone_when_asked(client: Client) -> None:
    rows = as_json({"state": "new"}, {"state": "lost"}, {"place": {"x": 1}}, {"state": "done"})
    answer = await insert(client, rows, error_mode=messages.ERROR_MODE_PER_ROW)
    assert [(one.index, one.column) for one in answer.errors] == [(1, "state"), (2, "place")]
    assert [id_ > 0 for id_ in answer.row_ids] == [True, False, False, True]
    assert await client.values("SELECT state FROM orders ORDER BY state") == [("new",), ("done",)]
