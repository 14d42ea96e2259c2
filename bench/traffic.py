"""Many calls at once from one process, as a busy client makes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def calls_per_second(
    call: Callable[[], Awaitable[int]], *, in_flight: int, seconds: float
) -> float:
    """Return how many units per second `call` achieves with so many calls under way.

    `call` returns how many units it did. Calls that end after the time is up are not counted, and neither
    is the time before the first answer of each caller, which pays for connections and caches.
    """
    for _ in range(2):
        await asyncio.gather(*(call() for _ in range(in_flight)))
    done = 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            units = await call()
            if time.perf_counter() < end:
                done += units

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return done / (end - start)


async def latencies_s(call: Callable[[], Awaitable[object]], *, count: int) -> list[float]:
    """Return the seconds of each of `count` calls, one after the other, after a few to warm up."""
    for _ in range(20):
        await call()
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - start)
    return taken
