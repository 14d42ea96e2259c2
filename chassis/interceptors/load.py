"""A limit on how much is served at once."""

from __future__ import annotations

from datetime import timedelta

from chassis.calls import Call, Proceed
from chassis.faults import ResourceExhausted

# Watching health and reflecting need no token and last as long as the caller likes.
STANDARD_STREAMS_MAX = 100


class Load:
    """Refuses calls past a number under way, so that those under way can finish.

    Streams of health and reflection are counted apart, under a limit of their own: strangers hold them, and
    must not hold the places of everybody else. Asking for health once is never refused.
    """

    def __init__(self, concurrent_calls_max: int) -> None:
        self._calls = _Places(concurrent_calls_max)
        self._standard_streams = _Places(STANDARD_STREAMS_MAX)

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count the call while it runs.

        Raises:
            ResourceExhausted: QUEUE_FULL.
        """
        if not call.method.startswith("/grpc."):
            places = self._calls
        elif call.streams:
            places = self._standard_streams
        else:
            await proceed()
            return
        places.take()
        try:
            await proceed()
        finally:
            places.taken -= 1


class _Places:
    """So many calls at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self) -> None:
        """Take one place.

        Raises:
            ResourceExhausted: QUEUE_FULL if there is none left.
        """
        if self.taken >= self._limit:
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{self._limit} calls are being served already",
                retry_after=timedelta(seconds=1),
                limit=self._limit,
            )
        self.taken += 1
