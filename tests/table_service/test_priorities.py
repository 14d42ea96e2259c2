"""Long work gives way to small calls; nothing else does."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from table_service.store.jobs import Jobs
from table_service.store.transaction import Transaction
from table_service.store.write_queue import Change
from tests.table_service.stores import opened

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has a priority for one thread"
)


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def priorities() -> dict[int, int]:
    """Return the priority of each thread of this process."""
    threads = (int(entry.name) for entry in Path("/proc/self/task").iterdir())
    return {thread: os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}


async def test_long_work_gives_way(tmp_path: Path) -> None:
    usual, before = priority(), priorities()

    def shown(_: Transaction) -> bytes:
        return b"%d" % priority()

    with opened(tmp_path) as store:
        jobs = Jobs(store.database, threads=1, waiting_max=1, name="test")
        assert await jobs.run(lambda *_: priority()) > usual
        assert int(await store.bulk.run(shown)) > usual
        # The writer, and whoever reads a little.
        assert int(await store.writer.submit(Change(apply=shown))) == usual
        assert await store.readers.read(lambda _: priority()) == usual
        assert priority() == usual
        # DuckDB's own threads, which nobody else has made.
        named = {thread.native_id for thread in threading.enumerate()}
        own = {
            thread: found
            for thread, found in priorities().items()
            if thread not in before and thread not in named
        }
        assert own
        assert min(own.values()) > usual
        jobs.close()
