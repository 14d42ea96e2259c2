"""One log line a call."""

from __future__ import annotations

import asyncio

import structlog

from chassis.calls import Call, Proceed
from chassis.clock import Clock

log = structlog.get_logger()


class AccessLog:
    """Writes what was called, by whom, how it ended and how long it took."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Log the call when it has ended, however it has."""
        start = self._clock.monotonic()
        try:
            await proceed()
        except asyncio.CancelledError:
            call.code = "CANCELLED"
            raise
        finally:
            principal = call.principal
            write = log.debug if call.method.startswith("/grpc.") else log.info
            write(
                "rpc",
                method=call.method,
                code=call.code,
                reason=call.reason,
                subject=principal.subject if principal else "",
                actor=principal.actor if principal else "",
                peer=call.context.peer(),
                milliseconds=round((self._clock.monotonic() - start) * 1000, 2),
            )
