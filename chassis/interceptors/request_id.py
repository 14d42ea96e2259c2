"""A name for every request, and the trace it belongs to, handed on to every neighbour."""

from __future__ import annotations

import random
import re

from chassis import calls
from chassis.calls import Call, Proceed

REQUEST_ID_KEY = "x-request-id"
TRACEPARENT_KEY = "traceparent"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# version-trace id-parent id-flags. Source: W3C Trace Context, section 3.2.
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class RequestId:
    """Takes the caller's request id and trace if they are well formed, else makes new ones."""

    def __init__(self) -> None:
        # Names need not be secret, and asking the system for each would cost every call.
        self._names = random.Random()

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Bind the request id and the trace to everything that happens inside."""
        given = call.metadata.get(REQUEST_ID_KEY, "")
        names = f"{self._names.getrandbits(256):064x}"
        call.request_id = given if _REQUEST_ID.fullmatch(given) else names[:16]
        trace = _TRACEPARENT.fullmatch(call.metadata.get(TRACEPARENT_KEY, ""))
        trace_id = trace[1] if trace else names[16:48]
        flags = trace[3] if trace else "01"
        calls.request_id.set(call.request_id)
        calls.traceparent.set(f"00-{trace_id}-{names[48:]}-{flags}")
        await proceed()
