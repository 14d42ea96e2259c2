"""Limits of the door itself: how much one caller may have under way, and what connections may do."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from chassis.calls import Call, Proceed
from chassis.config import ServiceSettings
from chassis.faults import ResourceExhausted
from chassis.server import server_options


class FairShare:
    """Holds each caller to a number of calls under way, so that one cannot take what all share."""

    def __init__(self, caller_calls_max: int) -> None:
        self._max = caller_calls_max
        self._active: Counter[str] = Counter()

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count the call to its caller while it runs; who is unknown is under the common limit only.

        Raises:
            ResourceExhausted: QUEUE_FULL.
        """
        if call.principal is None:
            await proceed()
            return
        subject = call.principal.subject
        if self._active[subject] >= self._max:
            raise ResourceExhausted(
                "QUEUE_FULL",
                f"{self._max} of your calls are being served already",
                retry_after=timedelta(seconds=1),
                limit=self._max,
            )
        self._active[subject] += 1
        try:
            await proceed()
        finally:
            self._active[subject] -= 1
            if not self._active[subject]:
                del self._active[subject]


# gRPC refuses a message past its limit without a reason for programs. Its limit is therefore set this
# many times higher than ours, and a message in between is refused with one.
_TOLD_APART_RATIO = 2


class MessageSize:
    """The largest message that the gateway hands on."""

    def __init__(self, bytes_max: int) -> None:
        self._max = bytes_max

    def check(self, message: bytes) -> None:
        """Return if the message is small enough.

        Raises:
            ResourceExhausted: MESSAGE_TOO_LARGE.
        """
        if len(message) > self._max:
            raise ResourceExhausted(
                "MESSAGE_TOO_LARGE",
                f"the message is larger than {self._max} bytes",
                limit=self._max,
            )


def connection_options(
    settings: ServiceSettings, connection_streams_max: int
) -> list[tuple[str, int]]:
    """Return the options of the gateway's server: the common ones, and what strangers may not do."""
    own = {
        "grpc.max_receive_message_length": settings.message_bytes_max * _TOLD_APART_RATIO,
        "grpc.max_concurrent_streams": connection_streams_max,
        # A client that pings more often than this, or without a call for its own sake, is cut off.
        "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
        "grpc.http2.max_ping_strikes": 3,
        # A connection that nobody uses is closed; the client opens another when it needs one.
        "grpc.max_connection_idle_ms": 15 * 60 * 1000,
    }
    common = [(name, value) for name, value in server_options(settings) if name not in own]
    return [*common, *own.items()]
