"""The writer's queue: its bounds, its groups, and what a bug in one write does to the others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest

from chassis.faults import NotFound, ResourceExhausted, Unavailable
from table_service.store import Store
from table_service.store.transaction import Transaction
from table_service.store.waiting import GATHERED_MIN, Gathering, Waiting
from table_service.store.write_queue import (
    GROUP_BYTES_MAX,
    QUEUE_BYTES_MAX,
    QUEUE_WRITES_MAX,
    Change,
    Write,
    WriteQueue,
)
from tests.support.clock import ManualClock
from tests.table_service.stores import EVENTS, ITEMS, create, insert, opened, receipt, stored


def nothing(_: Transaction) -> bytes:
    return b""


def queued(queue: WriteQueue, write: Write) -> None:
    future: Future[bytes] = Future()
    queue.put(Waiting(write, future, None))


def group_sizes(queue: WriteQueue) -> list[int]:
    queue.close()
    sizes = []
    while group := queue.next_group():
        sizes.append(len(group))
    return sizes


def test_the_queue_is_bounded_by_number() -> None:
    queue, write = WriteQueue(), Change(apply=nothing)
    for _ in range(QUEUE_WRITES_MAX):
        queued(queue, write)
    with pytest.raises(ResourceExhausted) as raised:
        queued(queue, write)
    assert (raised.value.reason, raised.value.retry_after is None) == ("QUEUE_FULL", False)
    assert sum(group_sizes(queue)) == QUEUE_WRITES_MAX
    with pytest.raises(Unavailable):
        queued(queue, write)


def test_the_queue_is_bounded_by_bytes() -> None:
    queue, half = WriteQueue(), Change(apply=nothing, byte_count=QUEUE_BYTES_MAX // 2)
    queued(queue, half)
    queued(queue, half)
    with pytest.raises(ResourceExhausted) as raised:
        queued(queue, Change(apply=nothing, byte_count=1))
    assert raised.value.reason == "QUEUE_FULL"
    assert raised.value.metadata["limit"] == str(QUEUE_BYTES_MAX)
    assert len(queue.next_group()) == 1
    queued(queue, Change(apply=nothing, byte_count=1))


def test_one_write_may_be_larger_than_the_bound() -> None:
    queue = WriteQueue()
    queued(queue, Change(apply=nothing, byte_count=QUEUE_BYTES_MAX + 1))
    assert group_sizes(queue) == [1]


def test_a_group_is_bounded_by_bytes_and_broken_where_a_write_is_alone() -> None:
    queue = WriteQueue()
    third = Change(apply=nothing, byte_count=GROUP_BYTES_MAX // 3)
    for write in (third, third, third, third, Change(apply=nothing, alone=True), third):
        queued(queue, write)
    assert group_sizes(queue) == [3, 1, 1, 1]


def test_two_writes_of_one_id_are_not_in_one_group() -> None:
    queue = WriteQueue()
    for id_ in ("r1", "r2", "r1"):
        queued(queue, Change(apply=nothing, receipt=receipt(id_)))
    assert group_sizes(queue) == [2, 1]


def test_after_a_group_of_many_the_next_is_waited_for_a_moment() -> None:
    gathering, taken = Gathering(), []

    def take() -> None:
        for _ in range(2):
            with gathering.lock:
                gathering.wait()
                taken.append(gathering.count)
                gathering.taken(gathering.count)

    with gathering.lock:
        for _ in range(GATHERED_MIN):
            gathering.added()
    thread = threading.Thread(target=take)
    thread.start()
    while len(taken) < 1:
        time.sleep(0)
    with gathering.lock:
        for _ in range(GATHERED_MIN):
            gathering.added()
    thread.join(20)
    assert taken == [GATHERED_MIN, GATHERED_MIN]
    # Fewer come, and are taken when the moment is over.
    with gathering.lock:
        gathering.added()
        gathering.wait()
        assert gathering.count == 1


class BrokenClock(ManualClock):
    """A clock with a bug."""

    broken = False

    def now(self) -> datetime:
        """Return the time, or fail as a bug does."""
        if self.broken:
            raise ZeroDivisionError
        return super().now()


@asynccontextmanager
async def held(store: Store) -> AsyncIterator[None]:
    """Keep the writer busy, so that what is submitted meanwhile is one group."""
    began, release = threading.Event(), threading.Event()

    def wait(_: Transaction) -> bytes:
        began.set()
        assert release.wait(20)
        return b""

    waiting = asyncio.create_task(store.writer.submit(Change(apply=wait, alone=True)))
    assert await asyncio.to_thread(began.wait, 20)
    try:
        yield
        await asyncio.sleep(0)
    finally:
        release.set()
        await waiting


async def test_a_bug_before_a_write_is_told_and_the_writer_goes_on(tmp_path: Path) -> None:
    clock = BrokenClock()
    with opened(tmp_path, clock) as store:
        create(store, ITEMS)
        clock.broken = True
        with pytest.raises(ZeroDivisionError):
            await store.writer.submit(insert(("a", 1), key=receipt("r1")))
        clock.broken = False
        assert await store.writer.submit(insert(("a", 1), key=receipt("r1")))
        assert len(stored(store)) == 1


async def test_a_bug_after_a_commit_does_not_write_again(tmp_path: Path) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    def apply(transaction: Transaction) -> bytes:
        transaction.after_commit.append(bug)
        return b""

    with opened(tmp_path) as store:
        create(store, ITEMS, EVENTS)
        async with held(store):
            write = insert(("a", 1), key=receipt("r1"))
            writes = [
                asyncio.create_task(store.writer.submit(one))
                for one in (write, Change(apply=apply))
            ]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError, ZeroDivisionError]
        assert await store.writer.submit(write) == b"[1]"
        assert len(stored(store)) == 1


async def test_inserts_into_several_tables_share_a_commit(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        create(store, ITEMS)
        gone = insert(("x", 1))
        gone = type(gone)(table=EVENTS, rows=gone.rows, answer=gone.answer)
        async with held(store):
            writes = [
                asyncio.create_task(store.writer.submit(one))
                for at in range(4)
                for one in (insert((f"k{at}", at), key=receipt(f"r{at}")), gone)
            ]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [bytes, NotFound] * 4
        assert sorted(key for key, _, _ in stored(store).values()) == ["k0", "k1", "k2", "k3"]


async def test_counters_of_any_key_begin_at_one_and_never_repeat(tmp_path: Path) -> None:
    def take(count: int, *, fails: bool = False) -> Change:
        def apply(transaction: Transaction) -> bytes:
            first = transaction.take_ids("tbl_items/7", count)
            if fails:
                raise ZeroDivisionError
            return str(first).encode()

        return Change(apply=apply)

    with opened(tmp_path) as store:
        create(store, ITEMS)
        with pytest.raises(ZeroDivisionError):
            await store.writer.submit(take(3, fails=True))
        # What fails has shown its numbers to nobody.
        assert await store.writer.submit(take(3)) == b"1"
        assert await store.writer.submit(take(1)) == b"4"
        assert await store.writer.submit(take(5_000)) == b"5"
        assert store.writer.take_ids("tbl_items/8", 2) == 1
    with opened(tmp_path) as store:
        assert await store.writer.submit(take(1)) == b"5005"
        # As after a kill: nothing is given back.
        store.writer.broken = True
    with opened(tmp_path) as store:
        assert int(await store.writer.submit(take(1))) > 5005
        assert store.writer.take_ids("tbl_items/8", 1) == 3
        assert await store.writer.submit(insert(("a", 1))) == b"[1]"
