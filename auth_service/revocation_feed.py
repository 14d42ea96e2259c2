"""Telling every service which sessions have ended early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from auth_service.sessions import Revocation, SessionId
from chassis.faults import ResourceExhausted, Unavailable
from chassis.revocations import Revocations

HEARTBEAT_S = 5.0
_QUEUED_MAX = 1000
_WATCHERS_MAX = 100


class _Watcher:
    """One listener's queue; `behind` once it has missed something."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Revocation] = asyncio.Queue(_QUEUED_MAX)
        self.behind = False


class RevocationFeed:
    """Enters revocations where auth_service itself looks, and hands them to whoever watches.

    A watcher that falls behind is sent away; when it comes back it gets everything that still counts.
    """

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._watchers: set[_Watcher] = set()
        self._closed = asyncio.Event()

    def publish(self, revocation: Revocation) -> None:
        """Refuse the session's tokens here at once, and tell every watcher."""
        self._revocations.add(revocation.session_id, revocation.expire_time)
        for watcher in self._watchers:
            try:
                watcher.queue.put_nowait(revocation)
            except asyncio.QueueFull:
                watcher.behind = True

    async def watch(self) -> AsyncIterator[list[Revocation]]:
        """Yield what is revoked now, then what comes, and an empty list after each silence.

        Raises:
            ResourceExhausted: QUEUE_FULL for one watcher too many, or one that does not keep up.
            Unavailable: NOT_SERVING when the service stops.
        """
        if len(self._watchers) >= _WATCHERS_MAX:
            raise ResourceExhausted("QUEUE_FULL", f"{_WATCHERS_MAX} services watch already")
        watcher = _Watcher()
        self._watchers.add(watcher)
        closed = asyncio.create_task(self._closed.wait())
        try:
            # Taken after the queue is in place: nothing falls between snapshot and stream.
            yield [
                Revocation(session_id=SessionId(session), expire_time=until)
                for session, until in self._revocations.snapshot().items()
            ]
            while not self._closed.is_set():
                if watcher.behind:
                    raise ResourceExhausted("QUEUE_FULL", "the watcher does not keep up")
                yield await _next_batch(watcher.queue, closed)
            raise Unavailable("NOT_SERVING", "the service is shutting down")
        finally:
            closed.cancel()
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End every watch, so that a stop need not wait for them."""
        self._closed.set()


async def _next_batch(
    queue: asyncio.Queue[Revocation], closed: asyncio.Task[bool]
) -> list[Revocation]:
    """Return what is queued, or nothing after a heartbeat's silence or when it is all over."""
    getting = asyncio.create_task(queue.get())
    try:
        await asyncio.wait(
            {getting, closed}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not getting.done():
            return []
        batch = [getting.result()]
        while not queue.empty():
            batch.append(queue.get_nowait())
        return batch
    finally:
        getting.cancel()
