"""Migrations while others read, write and import: each of them meets the schema before or after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from chassis.faults import Aborted, NotFound
from flux.table.v1 import row_service_pb2, rows_pb2
from flux.table.v1 import table_service_pb2 as messages
from table_service.fresh_tables import (
    WAITS_S,
    looking_again,
    stream_with_fresh_table,
    with_fresh_table,
)
from table_service.store.errors import read_fault
from table_service.store.transaction import Transaction, physical
from table_service.store.write_queue import Change
from table_service.tables import MAIN, Table, table_changed
from tests.table_service.schema_calls import (
    Operation,
    a_column,
    add,
    add_check,
    add_key,
    alter,
    create,
    drop,
    drop_check,
    drop_key,
    function,
    get,
    insert,
    rename,
    reorder,
    retype,
    set_default,
    set_not_null,
)
from tests.table_service.serving import Client, Served, reason, refused, serving

# Each leaves the columns `key` and `size` as others use them.
ROUNDS: list[list[Operation]] = [
    [add(a_column("n", default=function("SEQUENCE")))],
    [rename("n", "m"), reorder("size", "m", "key")],
    [add_check("size >= 0", name="ok"), set_not_null("key")],
    [set_default("m", None), retype("m", "STRING")],
    [drop("m"), drop_check("ok")],
    [add_key("key"), set_not_null("key", not_null=False)],
    [drop_key("key")],
]


@dataclass(slots=True)
class Crowd:
    """What callers were answered while the migrations ran."""

    client: Client
    over: bool = False
    keys: set[str] = field(default_factory=set)
    row_ids: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    async def write(self, name: str) -> None:
        at = 0
        while not self.over:
            keys = [f"{name}-{at}-{part}" for part in range(3)]
            rows = [[key, len(key)] for key in keys]
            self.row_ids += await insert(self.client, "t", ["key", "size"], *rows)
            self.keys.update(keys)
            at += 1

    async def bring_files(self) -> None:
        at = 0
        while not self.over:
            keys = [f"file-{at}-{part}" for part in range(500)]
            content = "key,size\n" + "".join(f"{key},7\n" for key in keys)
            await self.client.import_file("t", content.encode())
            self.keys.update(keys)
            at += 1

    async def read(self) -> None:
        while not self.over:
            known = len(self.keys)
            [(count, whole)] = await self.client.values(
                "SELECT count(*), count(*) FILTER (size = length(key) OR key LIKE 'file-%') FROM t"
            )
            assert count == whole >= known
            self.counts.append(count)
            request = row_service_pb2.ListRowsRequest(
                table="t", page_size=20, encoding=rows_pb2.Rows.ENCODING_ARROW_IPC
            )
            listed = (await self.client.call(self.client.rows.ListRows, request)).rows
            with pa.ipc.open_stream(listed.arrow_ipc) as reader:
                found = reader.read_all().select(["key", "size"])
            assert found.schema.types == [pa.string(), pa.int64()]
            row = row_service_pb2.GetRowRequest(table="t", row_id=1)
            await self.client.call(self.client.rows.GetRow, row)

    async def take_files(self) -> None:
        while not self.over:
            content = await self.client.export_file(
                "t", row_service_pb2.FILE_FORMAT_ARROW_IPC, ["size", "key"]
            )
            with pa.ipc.open_stream(content) as reader:
                assert reader.read_all().schema.types == [pa.int64(), pa.string()]


async def test_nothing_acknowledged_is_lost_and_nobody_meets_a_wrong_error(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        client = served.client()
        await create(client, "t", a_column("key", "STRING"), a_column("size"))
        crowd = Crowd(client)
        crowd.row_ids += await insert(client, "t", ["key", "size"], ["x", 1])
        crowd.keys.add("x")
        others = [crowd.write(name) for name in "abcd"]
        others += [crowd.read(), crowd.read(), crowd.bring_files(), crowd.take_files()]
        tasks = [asyncio.create_task(work) for work in others]
        for operations in ROUNDS * 2:
            await alter(client, "t", *operations)
            # What fails is told at once, not at the end.
            assert not any(task.done() for task in tasks), [t for t in tasks if t.done()]
        crowd.over = True
        await asyncio.gather(*tasks)
        assert (await get(client, "t")).schema_version == 1 + 2 * len(ROUNDS)
        found = await client.values("SELECT key, _row_id FROM t")
        assert len(found) == len(crowd.keys)
        assert {key for key, _ in found} == crowd.keys
        assert len({row_id for _, row_id in found}) == len(found)
        assert set(crowd.row_ids) <= {row_id for _, row_id in found}
        assert len(crowd.counts) > 1


@pytest.fixture
async def plain(tmp_path: Path) -> Any:
    async with serving(tmp_path) as plain:
        await create(plain.client(), "t", a_column("a"))
        yield plain


def stored(served: Served) -> Table:
    return served.store.writer.catalog.find(MAIN, "t")


async def test_write_for_an_older_schema_is_refused_in_the_writer(plain: Served) -> None:
    before = stored(plain)
    await alter(plain.client(), "t", rename("a", "b"))

    def apply(transaction: Transaction) -> bytes:
        transaction.current(before)
        return b""

    with pytest.raises(Aborted) as raised:
        await plain.store.writer.submit(Change(apply=apply))
    assert raised.value.reason == "TABLE_CHANGED"
    assert raised.value.retry_after is not None
    request = messages.DeleteTableRequest(table="t")
    await plain.client().call(plain.client().tables.DeleteTable, request)
    with pytest.raises(NotFound):
        await plain.store.writer.submit(Change(apply=apply))


@pytest.mark.parametrize("operation", [rename("a", "b"), retype("a", "STRING"), add(a_column("c"))])
async def test_read_for_an_older_schema_finds_no_rows_to_read_wrongly(
    plain: Served, operation: Operation
) -> None:
    before = stored(plain)
    await insert(plain.client(), "t", ["a"], [1])
    await alter(plain.client(), "t", operation)
    with pytest.raises(Aborted) as raised:
        await plain.store.readers.read(
            lambda cursor: cursor.execute(f"SELECT * FROM {physical(before)}").fetchall()
        )
    assert raised.value.reason == "TABLE_CHANGED"
    assert read_fault(raised.value.__cause__) is not None  # type: ignore[arg-type]  # DuckDB's own


async def test_change_of_the_definition_alone_moves_no_rows(plain: Served) -> None:
    before = stored(plain)
    await alter(plain.client(), "t", add(a_column("b")), reorder("b", "a"))
    between = stored(plain)
    assert between.storage != before.storage
    await alter(plain.client(), "t", reorder("a", "b"))
    assert stored(plain).storage == between.storage
    assert stored(plain).schema_version == between.schema_version + 1


def failing(times: int, table: Table) -> tuple[list[int], Callable[[], Awaitable[int]]]:
    calls: list[int] = []

    async def work() -> int:
        calls.append(len(calls))
        if len(calls) <= times:
            raise table_changed(table)
        return len(calls)

    return calls, work


async def test_work_is_done_again_a_few_times_only(plain: Served) -> None:
    table = stored(plain)
    _, work = failing(2, table)
    assert await with_fresh_table(work) == 3
    _, work = failing(1, table)
    assert await looking_again(work)() == 2
    calls, work = failing(99, table)
    with pytest.raises(Aborted):
        await with_fresh_table(work)
    assert len(calls) == len(WAITS_S) + 1

    async def other() -> int:
        calls.append(0)
        raise Aborted("ETAG_MISMATCH", "no")

    calls.clear()
    with pytest.raises(Aborted):
        await with_fresh_table(other)
    assert calls == [0]


async def test_stream_is_begun_again_until_its_first_part(plain: Served) -> None:
    table, begun = stored(plain), 0

    async def parts(*, sends: bool) -> Any:
        nonlocal begun
        begun += 1
        if sends:
            yield begun
        if begun < 3:
            raise table_changed(table)
        yield begun

    found = [part async for part in stream_with_fresh_table(lambda: parts(sends=False))]
    assert (found, begun) == ([3], 3)
    begun = 0
    with pytest.raises(Aborted):
        _ = [part async for part in stream_with_fresh_table(lambda: parts(sends=True))]
    assert begun == 1


async def test_migration_waits_for_no_import_longer_than_it_must(plain: Served) -> None:
    client, store = plain.client(), plain.store
    leave = await store.gates.enter(stored(plain).id)
    waiting = asyncio.create_task(alter(client, "t", rename("a", "b")))
    told = await alter(client, "t", rename("a", "b"), validate_only=True)
    assert not told.plan.obstacles
    await insert(client, "t", ["a"], [1])
    assert not waiting.done()
    leave()
    assert (await waiting).table.schema_version == 2
    store.gates._alone_wait_s = 0.01  # nobody waits that long in a test
    leave = await store.gates.enter(stored(plain).id)
    error = await refused(alter(client, "t", rename("b", "c")))
    assert reason(error) == "TABLE_BUSY"
    leave()
    await alter(client, "t", rename("b", "c"))
