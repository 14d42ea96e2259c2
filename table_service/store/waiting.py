"""Callers who wait for a thread to do what they asked: when it looks, and how they get what came of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

# From this many at once on, the next are waited for: as long as these took, within bounds.
GATHERED_MIN = 8
GATHER_S_MIN = 0.004
GATHER_S_MAX = 0.02

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Waiting(Generic[Asked, Answer]):
    """What was asked and where its outcome goes: `answer`, or `error` if that is set."""

    __slots__ = ("answer", "asked", "error", "future", "loop")

    def __init__(
        self,
        asked: Asked,
        future: asyncio.Future[Answer] | Future[Answer],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.asked = asked
        self.future = future
        self.loop = loop
        self.answer: Answer | None = None
        self.error: Exception | None = None


class Gathering:
    """Counts what waits for one thread, and wakes it when there is enough to do at once.

    Callers who have their answers ask again while others are being answered. Doing at once what few have
    asked by then would cost as much as doing it for all. So after a group of many the thread waits a moment
    for as many again, about as long as the group took: that halves what each costs, and hardly doubles what
    each waits. Where few come, it never waits. All of it is called holding `lock`; `wait` lets go of it while
    it waits.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.closing = False
        self.count = 0
        self._latest = 0
        self._began = 0.0
        self._wanted = 1

    def added(self) -> None:
        """One more waits."""
        self.count += 1
        if self.count >= self._wanted:
            self.lock.notify()

    def taken(self, count: int) -> None:
        """So many are being done."""
        self.count -= count
        self._latest = count
        self._began = time.monotonic()

    def wait(self) -> None:
        """Return when there is something to do, or nothing ever again because it is closing."""
        self._wanted = 1
        answered = time.monotonic()
        while not self.count and not self.closing:
            self.lock.wait()
        if self._latest < GATHERED_MIN:
            return
        self._wanted = self._latest
        end = answered + min(max(answered - self._began, GATHER_S_MIN), GATHER_S_MAX)
        # Ends when enough have come, or the moment is over.
        while self.count < self._wanted and not self.closing:
            if not self.lock.wait(end - time.monotonic()):
                return

    def close(self) -> None:
        """Let the thread do what waits, and no more."""
        self.closing = True
        self.lock.notify()


def fail(group: Iterable[Waiting[Asked, Answer]], error: Exception) -> None:
    """Give everybody the same error."""
    for waiting in group:
        waiting.error = error


def deliver(group: Sequence[Waiting[Asked, Answer]]) -> None:
    """Hand out the outcomes, waking each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Waiting[Asked, Answer]]] = {}
    for waiting in group:
        if waiting.loop is None:
            _settle([waiting])
        else:
            by_loop.setdefault(waiting.loop, []).append(waiting)
    for loop, members in by_loop.items():
        # A loop that has stopped has nobody left who waits.
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, members)


def _settle(members: Iterable[Waiting[Asked, Answer]]) -> None:
    for waiting in members:
        if waiting.future.done():
            continue
        if waiting.error is not None:
            waiting.future.set_exception(waiting.error)
        else:
            assert waiting.answer is not None
            waiting.future.set_result(waiting.answer)
