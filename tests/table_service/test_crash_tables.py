"""kill -9 at every step of making and deleting a table."""

from __future__ import annotations

from pathlib import Path

from flux.table.v1 import table_pb2
from flux.table.v1 import table_service_pb2 as messages
from tests.support.crash_calls import Call
from tests.support.crashes import Journal, ServiceProcess, kill_at_every_step
from tests.table_service.row_calls import create, failure, insert, table_rows
from tests.table_service.serving import Client, Kind, column, reason


async def nothing(client: Client) -> None:
    await insert_one(client, "others")


async def insert_one(client: Client, table: str) -> None:
    await create(client, table, column("key", Kind.KIND_STRING), keys={"key": ["key"]})
    await insert(client, table, {"key": "old"})


async def names(client: Client) -> list[str]:
    answer = await client.call(client.tables.ListTables, messages.ListTablesRequest())
    return [table.name for table in answer.tables]


async def make_table(running: ServiceProcess, journal: Journal) -> None:
    table = table_pb2.Table(
        name="items",
        columns=[column("key", Kind.KIND_STRING)],
        unique_keys=[table_pb2.UniqueKey(name="key", columns=["key"])],
    )
    request = messages.CreateTableRequest(table=table)
    journal.append(Call(service="tables", method="CreateTable", request=request))
    await journal[0].make(running.client())


async def check_made(running: ServiceProcess, journal: Journal) -> None:
    client, [call] = running.client(), journal
    assert await names(client) in [["items", "others"], ["others"]][: 1 if call.acknowledged else 2]
    await call.make_again(client)
    assert call.acknowledged
    assert await names(client) == ["items", "others"]
    await insert(client, "items", {"key": "a"})
    error = await failure(insert(client, "items", {"key": "a"}))
    assert reason(error) == "DUPLICATE_KEY"


async def test_table_is_there_or_not_whenever_its_making_is_killed(tmp_path: Path) -> None:
    steps = await kill_at_every_step(tmp_path, prepare=nothing, act=make_table, check=check_made)
    assert any("CHECKPOINT" in step for step in steps)


async def delete_table(running: ServiceProcess, journal: Journal) -> None:
    request = messages.DeleteTableRequest(table="others")
    journal.append(Call(service="tables", method="DeleteTable", request=request))
    await journal[0].make(running.client())


async def check_deleted(running: ServiceProcess, journal: Journal) -> None:
    client, [call] = running.client(), journal
    if await names(client):
        assert not call.acknowledged
        assert await table_rows(client, "others") == [("old",)]
    await call.make_again(client)
    assert call.acknowledged
    assert await names(client) == []
    await insert_one(client, "others")


async def test_table_is_deleted_or_not_whenever_that_is_killed(tmp_path: Path) -> None:
    await kill_at_every_step(tmp_path, prepare=nothing, act=delete_table, check=check_deleted)
