"""ListTables: who is shown which tables, in which order, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flux.table.v1 import grant_pb2, table_pb2
from flux.table.v1 import table_service_pb2 as messages
from table_service.store import catalog
from table_service.store.transaction import Transaction
from table_service.store.write_queue import Change
from tests.table_service.schema_calls import a_column, alter, create, describe, rename
from tests.table_service.serving import Client, Served, reason, refused, serving
from tests.table_service.stores import EVENTS

List = messages.ListTablesRequest
DELETED = table_pb2.Table.STATE_DELETED


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as plain:
        yield plain


async def pages(client: Client, **fields: Any) -> list[list[str]]:
    """Return the names of every page."""
    request, found = List(**fields), []
    while True:
        page = await client.call(client.tables.ListTables, request)
        found.append([table.name for table in page.tables])
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def names(client: Client, **fields: Any) -> list[str]:
    return [name for page in await pages(client, **fields) for name in page]


async def make(client: Client, name: str, **fields: Any) -> None:
    await create(client, name, a_column("a"), **fields)


async def delete(client: Client, name: str) -> None:
    await client.call(client.tables.DeleteTable, messages.DeleteTableRequest(table=name))


async def test_orders_go_both_ways_and_in_pages(plain: Served) -> None:
    client = plain.client()
    for name in ("c", "a", "d", "b", "e"):
        await make(client, name)
    await alter(client, "a", describe("a", "other"))
    orders = {
        List.ORDER_UNSPECIFIED: "abcde",
        List.ORDER_NAME: "abcde",
        List.ORDER_CREATE_TIME: "cadbe",
        List.ORDER_UPDATE_TIME: "cdbea",
    }
    for order, expected in orders.items():
        assert await names(client, order=order) == list(expected)
        assert await names(client, order=order, descending=True) == list(reversed(expected))
        cut = await pages(client, order=order, page_size=2)
        assert [len(page) for page in cut] == [2, 2, 1]
        assert [name for page in cut for name in page] == list(expected)
        back = await names(client, order=order, descending=True, page_size=3)
        assert back == list(reversed(expected))


async def test_filters_choose(plain: Served) -> None:
    client, other = plain.client(), plain.client("usr_2")
    await make(client, "red_one", labels={"team": "red", "kind": "x"})
    await make(client, "red_two", labels={"team": "red"})
    await make(client, "blue", labels={"team": "blue"})
    await make(other, "theirs", labels={"team": "red"})
    admin = plain.client("usr_9", "admin")
    assert await names(client, labels={"team": "red"}) == ["red_one", "red_two"]
    assert await names(client, labels={"team": "red", "kind": "x"}) == ["red_one"]
    assert await names(client, labels={"kind": ""}) == []
    assert await names(client, name_prefix="red") == ["red_one", "red_two"]
    assert await names(client, name_prefix="red_%") == []
    assert await names(admin, owner="usr_2") == ["theirs"]
    assert await names(client, owner="usr_2") == []
    assert len(await names(admin)) == 4


async def test_only_what_one_may_see_is_listed(plain: Served) -> None:
    owner, other = plain.client(), plain.client("usr_2", "viewer")
    for name in ("open", "shut", "gone"):
        await make(owner, name)
    assert await names(other) == []
    grant = grant_pb2.Grant(role="viewer", rights=[grant_pb2.RIGHT_INSERT])
    for name in ("open", "gone"):
        await owner.call(
            owner.tables.GrantAccess, messages.GrantAccessRequest(table=name, grant=grant)
        )
    assert await names(other) == ["gone", "open"]
    await delete(owner, "gone")
    assert await names(other) == ["open"]
    # Deleted tables are shown to who could bring them back.
    assert await names(owner, state=DELETED) == ["gone"]
    assert await names(other, state=DELETED) == []
    assert await names(plain.client("usr_9", "admin"), state=DELETED) == ["gone"]
    await make(plain.service("workflow"), "runs", namespace="workflow")
    error = await refused(names(owner, namespace="workflow"))
    assert reason(error) == "NAMESPACE_CLOSED"
    assert await names(plain.client("usr_9", "admin"), namespace="workflow") == ["runs"]


async def test_list_follows_every_change(plain: Served) -> None:
    client = plain.client()
    await make(client, "a")
    await make(client, "b")
    first = await client.call(client.tables.ListTables, List())
    await alter(client, "a", rename("a", "z"))
    second = await client.call(client.tables.ListTables, List())
    assert second.tables[0].columns[0].name == "z"
    assert second.tables[1] == first.tables[1]
    await delete(client, "a")
    await make(client, "a")
    assert (await client.call(client.tables.ListTables, List())).tables[0].etag == "1"
    assert await names(client, state=DELETED) == ["a"]


async def test_deleted_tables_of_one_name_are_all_listed(plain: Served) -> None:
    client = plain.client()
    for _ in range(3):
        await make(client, "a")
        await delete(client, "a")
    assert await pages(client, state=DELETED, page_size=2) == [["a", "a"], ["a"]]


async def test_token_belongs_to_its_list(plain: Served) -> None:
    client = plain.client()
    for name in "abc":
        await make(client, name)
    token = (await client.call(client.tables.ListTables, List(page_size=1))).next_page_token
    same = List(page_size=2, page_token=token)
    page = await client.call(client.tables.ListTables, same)
    assert [table.name for table in page.tables] == ["b", "c"]
    for other in (List(descending=True), List(name_prefix="a"), List(order=List.ORDER_CREATE_TIME)):
        other.page_token = token
        error = await refused(client.call(client.tables.ListTables, other))
        assert reason(error) == "PAGE_TOKEN_INVALID"


async def test_page_ends_before_it_is_too_large(plain: Served) -> None:
    client = plain.client()

    def apply(transaction: Transaction) -> bytes:
        for at in range(300):
            id_ = f"tbl_{at:03}"
            table = replace(
                EVENTS, id=id_, storage=id_, name=f"t{at:03}", description=f"{at}" * 10_000
            )
            catalog.create_table(transaction, table)
        return b""

    await plain.store.writer.submit(Change(apply=apply, alone=True))
    found = await pages(client, page_size=1000)
    assert len(found) == 2
    assert [name for page in found for name in page] == [f"t{at:03}" for at in range(300)]
