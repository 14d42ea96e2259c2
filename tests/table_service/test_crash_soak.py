"""Several clients write for a while, and the process is killed at random: the table equals a model of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from chassis.tables import one_row, typed_rows
from chassis.values import from_value
from flux.table.v1 import row_service_pb2 as messages
from flux.table.v1.rows_pb2 import Rows
from tests.support.crash_calls import Call
from tests.support.crashes import ServiceProcess, Site, crash_site
from tests.support.table_files import problems
from tests.table_service.row_calls import TYPED, create
from tests.table_service.serving import Client, Kind, column

Mutation = messages.Mutation
CLIENTS, KILLS, KEYS = 5, 6, 12
CALLS_PER_KILL = 60


@dataclass(slots=True, kw_only=True)
class Row:
    """What the model knows of a row."""

    id: int
    size: int
    version: int = 1


@dataclass(slots=True, kw_only=True)
class Progress:
    """What the clients share: where the service is, and how many calls were answered."""

    running: ServiceProcess | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    answered: int = 0
    ending: bool = False
    ended: int = 0
    row_ids: set[int] = field(default_factory=set)

    async def serve(self, running: ServiceProcess | None) -> None:
        async with self.changed:
            self.running = running
            self.changed.notify_all()

    async def count_answer(self) -> None:
        async with self.changed:
            self.answered += 1
            self.changed.notify_all()

    async def count_end(self) -> None:
        async with self.changed:
            self.ended += 1
            self.changed.notify_all()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with self.changed:
            await self.changed.wait_for(holds)


class Writer:
    """One client, with keys that nobody else writes, and the rows that it must have."""

    def __init__(self, name: str, seed: int, progress: Progress) -> None:
        self.rows: dict[str, Row] = {}
        self._name = name
        self._random = random.Random(seed)
        self._progress = progress
        self._client: Client
        self._served_by: ServiceProcess | None = None

    async def work(self) -> None:
        """Write until told to end, and then until the last call is answered."""
        # Ends when told so.
        while not self._progress.ending:
            kind = self._random.choice(
                [self._insert, self._upsert, self._update, self._delete, self._transact]
            )
            await kind()
        await self._progress.count_end()

    def _key(self) -> str:
        return f"{self._name}-{self._random.randrange(KEYS)}"

    async def _insert(self) -> None:
        keys = sorted({self._key() for _ in range(self._random.randint(1, 3))})
        sizes = {key: self._random.randrange(1000) for key in keys}
        request = messages.InsertRowsRequest(table="items", rows=_rows(sizes))
        taken = not self.rows.keys().isdisjoint(keys)
        call = await self._done("InsertRows", request, "DUPLICATE_KEY" if taken else "")
        if not taken:
            self._add(sizes, call.answer.row_ids)

    async def _upsert(self) -> None:
        sizes = {self._key(): self._random.randrange(1000) for _ in range(3)}
        request = messages.UpsertRowsRequest(table="items", key="key", rows=_rows(sizes))
        call = await self._done("UpsertRows", request)
        new = dict(zip(sizes, call.answer.created, strict=True))
        assert new == {key: key not in self.rows for key in sizes}
        ids = dict(zip(sizes, call.answer.row_ids, strict=True))
        for key in sizes.keys() & self.rows.keys():
            assert self.rows[key].id == ids[key]
            self._change(key, sizes[key])
        created = {key: size for key, size in sizes.items() if new[key]}
        self._add(created, [ids[key] for key in created])

    async def _update(self) -> None:
        key, row = self._one()
        if row is None:
            return
        stale = self._random.random() < 0.2
        request = messages.UpdateRowRequest(
            table="items",
            row_id=row.id,
            values=one_row({"size": row.size + 1}),
            expected_version=row.version + stale,
        )
        call = await self._done("UpdateRow", request, "ETAG_MISMATCH" if stale else "")
        if not stale:
            self._change(key, row.size + 1)
            assert call.answer.version == row.version

    async def _delete(self) -> None:
        key, row = self._one()
        if row is None:
            return
        request = messages.DeleteRowRequest(table="items", row_id=row.id)
        await self._done("DeleteRow", request)
        del self.rows[key]

    async def _transact(self) -> None:
        """Move size from one row to another that is made for it, or to nowhere if that is there."""
        key, row = self._one()
        target = self._key()
        if row is None:
            return
        update = Mutation.Update(table="items", row_id=row.id, values=one_row({"size": 0}))
        new = Mutation.Insert(table="items", rows=_rows({target: row.size}))
        request = messages.TransactRequest(
            mutations=[Mutation(update=update), Mutation(insert=new)]
        )
        taken = target in self.rows
        call = await self._done("Transact", request, "DUPLICATE_KEY" if taken else "")
        if not taken:
            self._add({target: row.size}, call.answer.results[1].row_ids)
            self._change(key, 0)

    def _one(self) -> tuple[str, Row | None]:
        if not self.rows:
            return "", None
        key = self._random.choice(sorted(self.rows))
        return key, self.rows[key]

    def _add(self, sizes: Mapping[str, int], ids: Sequence[int]) -> None:
        for (key, size), id_ in zip(sizes.items(), ids, strict=True):
            assert id_ not in self._progress.row_ids, "a row id was given twice"
            self._progress.row_ids.add(id_)
            self.rows[key] = Row(id=id_, size=size)

    def _change(self, key: str, size: int) -> None:
        self.rows[key].size = size
        self.rows[key].version += 1

    async def _done(self, method: str, request: object, refused: str = "") -> Call:
        """Call until it is answered, however often the service dies of it."""
        call = Call(service="rows", method=method, request=request)
        progress = self._progress
        # Ends with an answer; the service is always started again.
        while not (call.acknowledged or call.refused):
            await progress.until(lambda: progress.running is not None)
            running = progress.running
            assert running is not None
            if self._served_by is not running:
                self._served_by, self._client = running, running.client()
            await call.make(self._client)
            if not (call.acknowledged or call.refused):
                await progress.until(partial(_is_replaced, progress, running))
        assert call.refused == refused, (method, request)
        await progress.count_answer()
        return call


def _rows(sizes: Mapping[str, int]) -> Rows:
    return typed_rows(("key", "size"), list(sizes.items()))


def _is_replaced(progress: Progress, dead: ServiceProcess) -> bool:
    return progress.running is not dead


def _has_answered(progress: Progress, goal: int) -> bool:
    return progress.answered >= goal


async def kill_again_and_again(site: Site, folder: Path, progress: Progress, seed: int) -> None:
    """Start the service and kill it, so often; the last time only when the work has ended."""
    chance = random.Random(seed)
    for turn in range(KILLS + 1):
        async with site.service(folder, observed=False) as running:
            await progress.serve(running)
            goal = progress.answered + chance.randint(CALLS_PER_KILL // 2, CALLS_PER_KILL)
            await progress.until(partial(_has_answered, progress, goal))
            if turn == KILLS:
                progress.ending = True
                await progress.until(lambda: progress.ended == CLIENTS)
            # Not always at the same place between two answers.
            await asyncio.sleep(chance.random() * 0.02)
            running.kill()
            await running.ended()
            await progress.serve(None)


async def stored(client: Client) -> dict[str, Row]:
    request = messages.ListRowsRequest(table="items", encoding=TYPED, page_size=1000)
    answer = await client.call(client.rows.ListRows, request)
    found = {}
    for row in answer.rows.typed.rows:
        id_, version, key, size = map(from_value, row.values)
        assert isinstance(id_, int)
        assert isinstance(version, int)
        assert isinstance(size, int)
        found[str(key)] = Row(id=id_, version=version, size=size)
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_table_equals_the_model_after_kills_at_random(tmp_path: Path, seed: int) -> None:
    progress, folder = Progress(), tmp_path / "a"
    writers = [Writer(f"w{at}", seed * 100 + at, progress) for at in range(CLIENTS)]
    async with crash_site(tmp_path) as site:
        async with site.service(folder) as running:
            await create(
                running.client(),
                "items",
                column("key", Kind.KIND_STRING, not_null=True),
                column("size", Kind.KIND_INT64),
                keys={"key": ["key"]},
            )
        async with asyncio.TaskGroup() as tasks:
            for writer in writers:
                tasks.create_task(writer.work())
            tasks.create_task(kill_again_and_again(site, folder, progress, seed))
        async with site.service(folder, observed=False) as running:
            found = await stored(running.client())
        assert found == {key: row for writer in writers for key, row in writer.rows.items()}
        assert problems(folder / "data") == []
