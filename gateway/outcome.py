"""How a backend's failure reaches the caller: as the backend put it, or explained if it put nothing."""

from __future__ import annotations

from typing import NoReturn, TypeAlias

import grpc
from google.rpc import status_pb2

from chassis.calls import Call, Proceed
from chassis.faults import Fault, ResourceExhausted, Unimplemented
from chassis.status import DETAILS_KEY, fault_from_rpc, from_status
from gateway.metadata import back

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

# What the gateway's side of the connection says of itself, in words not meant for callers.
_OF_THE_CONNECTION = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)


async def hand_on_failure(context: Context, error: grpc.aio.AioRpcError, backend: str) -> NoReturn:
    """End the caller's call as the backend ended its own.

    A status that came from the backend goes on word for word with its trailing metadata. One that
    gRPC made because there was no answer names addresses and sockets: it is replaced by ours.

    Raises:
        grpc.aio.AbortError: When the status is on its way.
        Fault: If gRPC made the status.
    """
    trailing = back(error.trailing_metadata())
    if not trailing:
        fault = _explained(error, backend)
        if fault is not None:
            raise fault from error
    await context.abort(error.code(), error.details() or "", trailing)


def _explained(error: grpc.aio.AioRpcError, backend: str) -> Fault | None:
    """Return what a bare status means, or None if only the backend can have meant it."""
    code, details = error.code(), error.details() or ""
    if code in _OF_THE_CONNECTION:
        return fault_from_rpc(error, backend)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return ResourceExhausted(
            "MESSAGE_TOO_LARGE", f"a message from or to {backend} is too large", neighbour=backend
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Unimplemented(
            "METHOD_UNKNOWN", f"{backend} does not know the method", neighbour=backend
        )
    return None


class Outcomes:
    """Notes for the log and the metrics how a forwarded call ended, which no fault tells here."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Read the status that was handed on."""
        try:
            await proceed()
        except grpc.aio.AbortError:
            call.code = call.context.code().name
            for key, value in call.context.trailing_metadata() or ():
                if key == DETAILS_KEY and isinstance(value, bytes):
                    fault = from_status(status_pb2.Status.FromString(value))
                    call.reason = fault.reason if fault is not None else ""
            raise
