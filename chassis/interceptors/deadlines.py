"""Every call has an end: the caller's deadline, the default one, or the longest allowed."""

from __future__ import annotations

import asyncio

from chassis import calls
from chassis.calls import Call, Proceed
from chassis.faults import DeadlineExceeded


class Deadlines:
    """Ends a call whose time is up, and lets calls to neighbours know how much is left."""

    def __init__(self, *, default_s: float, max_s: float, stream_max_s: float) -> None:
        self._default_s = default_s
        self._max_s = max_s
        self._stream_max_s = stream_max_s

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Run the call under its deadline."""
        asked = call.context.time_remaining()
        if call.streams:
            limit = self._stream_max_s if asked is None else min(asked, self._stream_max_s)
        else:
            limit = self._default_s if asked is None else min(asked, self._max_s)
        calls.deadline.set(asyncio.get_running_loop().time() + limit)
        scope = asyncio.timeout(limit)
        try:
            async with scope:
                await proceed()
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise DeadlineExceeded(
                "DEADLINE_PASSED", f"the deadline of {limit:g} s passed", seconds=f"{limit:g}"
            ) from error
