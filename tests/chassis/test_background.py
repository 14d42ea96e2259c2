"""Work beside the server is never lost in silence, and never outlives it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from chassis.background import Background


async def _forever(ended: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


async def _fails() -> None:
    raise KeyError("a bug")


async def test_work_is_ended_on_closing() -> None:
    background, ended = Background(lambda: None), asyncio.Event()
    background.start(_forever(ended))
    await asyncio.sleep(0)
    await background.close()
    assert ended.is_set()


async def test_failure_is_told_at_once_and_raised_on_closing_when_all_the_rest_has_ended() -> None:
    broken, before, after = asyncio.Event(), asyncio.Event(), asyncio.Event()
    background = Background(broken.set)
    background.start(_forever(before))
    background.start(_fails())
    background.start(_forever(after))
    await asyncio.wait_for(broken.wait(), 5)
    with pytest.raises(KeyError, match="a bug"):
        await background.close()
    assert before.is_set()
    assert after.is_set()


# A service whose one task fails once the service is open.
_BROKEN_SERVICE = """
from contextlib import asynccontextmanager
from chassis.background import Background
from chassis.server import run_until_signalled

async def fail():
    raise KeyError("a bug")

@asynccontextmanager
async def open_service(when_broken):
    background = Background(when_broken)
    background.start(fail())
    yield
    await background.close()

run_until_signalled(open_service)
"""


def test_process_whose_work_failed_ends_and_says_so() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _BROKEN_SERVICE],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("KeyError: 'a bug'")
