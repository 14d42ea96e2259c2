"""Writes that take too long for a group: each is tried once with the others and once alone."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path

import pytest

from chassis.faults import ResourceExhausted
from table_service.store.transaction import Transaction
from table_service.store.write_queue import Change
from tests.table_service.stores import opened


async def test_whoever_takes_too_long_is_found_by_trying_each_alone(tmp_path: Path) -> None:
    begun, go_on, tried = threading.Event(), threading.Event(), Counter[int]()

    def wait(_: Transaction) -> bytes:
        begun.set()
        go_on.wait()
        return b""

    def change(number: int) -> Change:
        def apply(_: Transaction) -> bytes:
            tried[number] += 1
            if number == 0:
                raise ResourceExhausted("QUERY_LIMIT", "this took longer than it may")
            return b"%d" % number

        return Change(apply=apply)

    with opened(tmp_path) as store:
        first = asyncio.create_task(store.writer.submit(Change(apply=wait, alone=True)))
        await asyncio.to_thread(begun.wait)
        # They wait together, and so they are one group.
        together = [
            asyncio.create_task(store.writer.submit(change(number))) for number in range(64)
        ]
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(ResourceExhausted):
            await together[0]
        assert await asyncio.gather(*together[1:]) == [b"%d" % number for number in range(1, 64)]
        await first
    assert tried[0] == 2
