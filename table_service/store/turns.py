"""Turns: each caller has so much heavy work under way at once, and waits in a line of their own for more."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from chassis.faults import ResourceExhausted

RETRY_AFTER = timedelta(seconds=1)


@dataclass(slots=True, eq=False)
class _Line:
    """One caller's work: how much is under way, and those who wait, in order."""

    at_work: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Turns:
    """Gives turns in the order in which they were asked for, to each caller apart; one event loop's.

    Whoever asks for more than their share waits for their own work and for nobody else's. A turn lasts until
    the work has ended, and not only until its caller has gone: what cannot be stopped at once counts on.
    """

    def __init__(self, *, at_once: int, waiting_max: int) -> None:
        self._at_once = at_once
        self._waiting_max = waiting_max
        self._lines: dict[Hashable, _Line] = {}

    async def take(self, caller: Hashable) -> Callable[[], None]:
        """Wait for a turn; return what ends it, which any thread may call, and more than once.

        Raises:
            ResourceExhausted: QUEUE_FULL if too many of the caller's requests wait already.
        """
        line = self._lines.setdefault(caller, _Line())
        if line.at_work >= self._at_once:
            await self._wait(caller, line)
        else:
            line.at_work += 1
        loop, thread, ended = asyncio.get_running_loop(), threading.get_ident(), False

        def end_here() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self._hand_on(caller, line)

        def end() -> None:
            if threading.get_ident() == thread:
                end_here()
                return
            # A loop that is closed has no turns any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(end_here)

        return end

    async def _wait(self, caller: Hashable, line: _Line) -> None:
        if len(line.waiting) >= self._waiting_max:
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{self._waiting_max} of your requests wait already, and {self._at_once} are under way",
                retry_after=RETRY_AFTER,
                limit=self._waiting_max,
            )
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(admitted)
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                # It was given the turn at the very moment when it gave up.
                self._hand_on(caller, line)
            else:
                line.waiting.remove(admitted)
            raise

    def _hand_on(self, caller: Hashable, line: _Line) -> None:
        """Give a turn that has ended to the first who waits; forget a line without work."""
        while line.waiting:
            first = line.waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        line.at_work -= 1
        if not line.at_work:
            del self._lines[caller]
