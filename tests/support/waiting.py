"""Waiting for what happens by itself, without knowing when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")


async def eventually(
    look: Callable[[], Awaitable[Found]], *, within_s: float = 20.0, every_s: float = 0.02
) -> Found:
    """Return the first true answer of `look`.

    Raises:
        AssertionError: If there was none in time; it names the last answer or error.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    # Ends when `look` is satisfied or the time is up.
    while True:
        last: object
        try:
            found = await look()
            if found:
                return found
            last = found
        except (AssertionError, OSError) as error:
            last = error
        if loop.time() >= end:
            raise AssertionError(f"not within {within_s} s; last: {last!r}")
        await asyncio.sleep(every_s)


async def eventually_true(
    holds: Callable[[], bool], *, within_s: float = 20.0, every_s: float = 0.02
) -> None:
    """Return when `holds` does.

    Raises:
        AssertionError: If it does not in time.
    """

    async def look() -> bool:
        return holds()

    await eventually(look, within_s=within_s, every_s=every_s)
