"""kill -9 at every step of a commit that several writes share, one of which fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chassis.tables import one_row
from flux.table.v1 import row_service_pb2 as messages
from tests.support.crash_calls import Call, make_together
from tests.support.crashes import Journal, ServiceProcess, kill_at_every_step
from tests.support.faults import Plan
from tests.table_service.row_calls import create, insert, insert_of, json_rows, table_rows
from tests.table_service.serving import Client, Kind, column

Mutation = messages.Mutation
TOGETHER = ("insert", "update", "culprit", "upsert", "transact")


async def prepare(client: Client) -> None:
    for name in ("items", "others"):
        await create(
            client,
            name,
            column("key", Kind.KIND_STRING, not_null=True),
            column("size", Kind.KIND_INT64),
            keys={"key": ["key"]},
        )
    rows = [{"key": key, "size": 0} for key in ("taken", "old", "mover")]
    await insert(client, "items", *rows)


def group() -> dict[str, Call]:
    """Return writes that come together; the culprit in their middle finds its key taken."""
    inserted = json_rows({"key": "a", "size": 1}, {"key": "b", "size": 2})
    upserted = json_rows({"key": "old", "size": 5}, {"key": "d", "size": 4})
    requests = {
        "insert": messages.InsertRowsRequest(table="items", rows=inserted),
        "update": messages.UpdateRowRequest(table="items", row_id=1, values=one_row({"size": 10})),
        "culprit": messages.InsertRowsRequest(
            table="items", rows=json_rows({"key": "c"}, {"key": "taken"})
        ),
        "upsert": messages.UpsertRowsRequest(table="items", key="key", rows=upserted),
    }
    methods = {"update": "UpdateRow", "upsert": "UpsertRows"}
    calls = {
        name: Call(service="rows", method=methods.get(name, "InsertRows"), request=request)
        for name, request in requests.items()
    }
    update = Mutation.Update(table="items", row_id=3, values=one_row({"key": "moved"}))
    transact = messages.TransactRequest(
        mutations=[insert_of("others", key="e", size=6), Mutation(update=update)]
    )
    first = messages.InsertRowsRequest(table="others", rows=json_rows({"key": "first"}))
    return {
        **calls,
        "transact": Call(service="rows", method="Transact", request=transact),
        "first": Call(service="rows", method="InsertRows", request=first),
    }


async def act(running: ServiceProcess, journal: Journal) -> None:
    client, calls = running.client(), group()
    journal.append(calls)
    await running.follow(Plan(at=0, hold=True, matching="COMMIT"))
    first = asyncio.create_task(calls["first"].make(client))
    # While the writer waits before this commit, what comes next gathers.
    await running.hears("held")
    tasks = await make_together(client, [calls[name] for name in TOGETHER])
    await running.follow(running.planned)
    await asyncio.gather(first, *tasks)


async def pairs(client: Client, table: str) -> list[tuple[object, object]]:
    return [(key, size) for key, size in await table_rows(client, table)]


async def check(running: ServiceProcess, journal: Journal) -> None:
    [calls] = journal
    client = running.client()
    assert calls["culprit"].refused in ("", "DUPLICATE_KEY")
    assert not any(call.refused for name, call in calls.items() if name != "culprit")
    assert "first" in dict(await pairs(client, "others")) or not calls["first"].acknowledged
    items = dict(await pairs(client, "items"))
    others = dict(await pairs(client, "others"))
    assert "c" not in items
    # Each write is there as a whole or not at all, and what was acknowledged is.
    assert ("a" in items) == ("b" in items) >= calls["insert"].acknowledged
    assert ("d" in items) == (items["old"] == 5) >= calls["upsert"].acknowledged
    assert ("moved" in items) == ("e" in others) >= calls["transact"].acknowledged
    assert (items["taken"] == 10) >= calls["update"].acknowledged
    for name in ("first", "insert", "update", "upsert", "transact"):
        await calls[name].make_again(client)
        assert calls[name].acknowledged, (name, calls[name].refused)
    sizes = {"taken": 10, "moved": 0, "old": 5, "a": 1, "b": 2, "d": 4}
    assert dict(await pairs(client, "items")) == sizes
    assert [key for key, _ in await table_rows(client, "others")] == ["first", "e"]
    new = await insert(client, "items", {"key": "new"})
    given = [*calls["insert"].answer.row_ids, *calls["upsert"].answer.row_ids, *new.row_ids]
    assert len(set(given)) == len(given) == 5


async def test_group_with_a_culprit_is_whole_whenever_it_is_killed(tmp_path: Path) -> None:
    steps = await kill_at_every_step(tmp_path, prepare=prepare, act=act, check=check)
    commits = [step for step in steps if "COMMIT" in step]
    # Five writes together: the group failed with its culprit, and what is left of it was committed in parts.
    assert any("ROLLBACK" in step for step in steps)
    assert len(commits) < 5, steps
