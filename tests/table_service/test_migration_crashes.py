"""kill -9 at every step of a migration: the table is wholly old or wholly new, and its rows are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flux.table.v1 import table_pb2
from flux.table.v1 import table_service_pb2 as messages
from tests.support.crash_calls import Call
from tests.support.crashes import Journal, ServiceProcess, kill_at_every_step
from tests.table_service.schema_calls import (
    Operation,
    a_column,
    add,
    add_check,
    alter,
    create,
    drop,
    function,
    get,
    insert,
    literal,
    rename,
    retype,
    set_default,
    versions,
)
from tests.table_service.serving import Client

ALTERED = [
    rename("size", "Size"),
    add(a_column("note", "STRING", default=literal("it's"))),
    drop("spare"),
]
REBUILT = [
    retype("size", "STRING"),
    add(a_column("n", not_null=True, default=function("SEQUENCE"), unique=True)),
    add_check("length(size) < 5"),
    set_default("size", literal("x")),
]
OLD = [(1, 1, 10), (2, 1, 20), (3, 1, 30)]


async def prepare(client: Client) -> None:
    await create(client, "t", a_column("size"), a_column("spare", "DATE"))
    await insert(client, "t", ["size"], *([size] for _, _, size in OLD))


async def prepare_altered(client: Client) -> None:
    await prepare(client)
    await alter(client, "t", *REBUILT[:1])


def call_to_alter(operations: Sequence[Operation]) -> Call:
    request = messages.AlterTableRequest(table="t", operations=operations)
    return Call(service="tables", method="AlterTable", request=request)


async def check_old_or_new(client: Client, call: Call, columns: str, new: Sequence[object]) -> None:
    """Look at the table after a kill, and again after the retry; the last value of a row is its size."""
    table = await get(client, "t")
    version = len(await versions(client, "t"))
    assert table.schema_version == version
    if call.acknowledged:
        assert table == call.answer.table
    elif version == 1:
        rows = await client.values("SELECT _row_id, _version, size FROM t ORDER BY _row_id")
        assert rows == OLD
    await call.make_again(client)
    assert call.acknowledged, call.refused
    assert await get(client, "t") == call.answer.table
    rows = await client.values(f"SELECT _row_id, _version, {columns} FROM t ORDER BY _row_id")
    assert rows == new


async def alter_in_place(running: ServiceProcess, journal: Journal) -> None:
    journal.append(call_to_alter(ALTERED))
    await journal[0].make(running.client())


async def check_altered(running: ServiceProcess, journal: Journal) -> None:
    client = running.client()
    new = [(row_id, version, "it's", size) for row_id, version, size in OLD]
    await check_old_or_new(client, journal[0], "note, Size", new)
    [row_id] = await insert(client, "t", ["Size"], [40])
    assert row_id > 3


async def rebuild(running: ServiceProcess, journal: Journal) -> None:
    journal.append(call_to_alter(REBUILT))
    await journal[0].make(running.client())


async def check_rebuilt(running: ServiceProcess, journal: Journal) -> None:
    client = running.client()
    new = [(row_id, version, at, f"{size}") for at, (row_id, version, size) in enumerate(OLD, 1)]
    await check_old_or_new(client, journal[0], "n, size", new)
    [row_id] = await insert(client, "t", ["size"], ["40"])
    assert row_id > 3
    [(number,)] = await client.values("SELECT n FROM t WHERE size = '40'")
    assert number > 3


async def revert(running: ServiceProcess, journal: Journal) -> None:
    request = messages.RevertTableRequest(table="t", schema_version=1)
    journal.append(Call(service="tables", method="RevertTable", request=request))
    await journal[0].make(running.client())


async def check_reverted(running: ServiceProcess, journal: Journal) -> None:
    client, call = running.client(), journal[0]
    await call.make_again(client)
    assert call.acknowledged
    table = await get(client, "t")
    assert (table, table.schema_version) == (call.answer.table, 3)
    rows = await client.values("SELECT _row_id, _version, size FROM t ORDER BY _row_id")
    assert rows == OLD


async def prepare_deleted(client: Client) -> None:
    await prepare(client)
    await client.call(client.tables.DeleteTable, messages.DeleteTableRequest(table="t"))


async def purge(running: ServiceProcess, journal: Journal) -> None:
    admin = running.client(role="admin")
    request = messages.ListTablesRequest(state=table_pb2.Table.STATE_DELETED)
    [table] = (await admin.call(admin.tables.ListTables, request)).tables
    to_purge = messages.PurgeTableRequest(table_id=table.id)
    journal.append(Call(service="tables", method="PurgeTable", request=to_purge))
    await journal[0].make(admin)


async def check_purged(running: ServiceProcess, journal: Journal) -> None:
    admin, call = running.client(role="admin"), journal[0]
    await call.make_again(admin)
    assert call.acknowledged
    request = messages.ListTablesRequest(state=table_pb2.Table.STATE_DELETED)
    assert not (await admin.call(admin.tables.ListTables, request)).tables
    await prepare(admin)


async def test_altered_table_is_old_or_new(tmp_path: Path) -> None:
    steps = await kill_at_every_step(
        tmp_path, prepare=prepare, act=alter_in_place, check=check_altered
    )
    for statement in ("RENAME COLUMN", "ADD COLUMN", "DROP COLUMN", "RENAME TO", "CHECKPOINT"):
        assert any(statement in step for step in steps), statement


async def test_rebuilt_table_is_old_or_new(tmp_path: Path) -> None:
    steps = await kill_at_every_step(tmp_path, prepare=prepare, act=rebuild, check=check_rebuilt)
    for statement in ("CREATE TABLE", "INSERT INTO flux.main", "DROP TABLE flux", "CHECKPOINT"):
        assert any(statement in step for step in steps), statement


async def test_reverted_table_is_old_or_new(tmp_path: Path) -> None:
    await kill_at_every_step(tmp_path, prepare=prepare_altered, act=revert, check=check_reverted)


async def test_purged_table_is_there_or_gone(tmp_path: Path) -> None:
    await kill_at_every_step(tmp_path, prepare=prepare_deleted, act=purge, check=check_purged)
