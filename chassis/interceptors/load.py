"""A limit on how much is served at once."""

from __future__ import annotations

from datetime import timedelta

from chassis.calls import Call, Proceed
from chassis.faults import ResourceExhausted


class Load:
    """Refuses calls past a number under way, so that those under way can finish."""

    def __init__(self, concurrent_calls_max: int) -> None:
        self._max = concurrent_calls_max
        self._active = 0

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count the call while it runs; health and reflection are never refused."""
        if self._active >= self._max and not call.method.startswith("/grpc."):
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{self._max} calls are being served already",
                retry_after=timedelta(seconds=1),
                limit=self._max,
            )
        self._active += 1
        try:
            await proceed()
        finally:
            self._active -= 1
