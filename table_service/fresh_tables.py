"""Doing again what met a table whose schema changed after the request had looked at it.

A request finds its table, makes statements of its definition, and runs them a moment later. In between a
migration may commit. What then runs notices (ABORTED, TABLE_CHANGED) and has done nothing: so it looks at the
table again, a few times, and its caller meets the schema before or after, never a mixture.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import wraps
from typing import ParamSpec, TypeVar

from chassis.faults import Aborted

# A reader may see a commit a moment before the catalog in memory shows it.
WAITS_S = (0.0, 0.002, 0.02, 0.2)

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


async def with_fresh_table(work: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return what `work` returns. It looks at its tables anew each time, and may run several times.

    Raises:
        Aborted: TABLE_CHANGED if it met a change every time.
        Fault: Whatever else `work` raises.
    """
    for wait_s in WAITS_S:
        try:
            return await work()
        except Aborted as fault:
            if fault.reason != "TABLE_CHANGED":
                raise
        await asyncio.sleep(wait_s)
    return await work()


def looking_again(
    method: Callable[Parameters, Awaitable[Answer]],
) -> Callable[Parameters, Coroutine[None, None, Answer]]:
    """Return a method that reads, made to look at its tables anew as `with_fresh_table` does."""

    @wraps(method)
    async def again(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
        return await with_fresh_table(lambda: method(*args, **kwargs))

    return again


async def stream_with_fresh_table(
    work: Callable[[], AsyncIterator[Answer]],
) -> AsyncIterator[Answer]:
    """Do the same for an answer in parts; once the first has gone out, nothing is done again.

    Raises:
        Aborted: TABLE_CHANGED if it met a change every time.
        Fault: Whatever else `work` raises.
    """
    for wait_s in (*WAITS_S, None):
        sent = False
        try:
            async for part in work():
                sent = True
                yield part
        except Aborted as fault:
            if fault.reason != "TABLE_CHANGED" or sent or wait_s is None:
                raise
        else:
            return
        await asyncio.sleep(wait_s)
