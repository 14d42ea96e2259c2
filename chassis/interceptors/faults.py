"""Turns what was raised into a status, once, on the way out."""

from __future__ import annotations

import grpc
import structlog
from google.rpc import code_pb2, error_details_pb2, status_pb2

from chassis.calls import Call, Proceed
from chassis.faults import Fault
from chassis.status import DETAILS_KEY, DOMAIN, code_of, to_status

log = structlog.get_logger()


class Faults:
    """Answers a fault with its status, and a bug with INTERNAL and nothing else."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Abort the call with the status of whatever it raised."""
        try:
            await proceed()
        except Fault as fault:
            call.code, call.reason = fault.code, fault.reason
            await _abort(call, code_of(fault), to_status(fault))
        except grpc.aio.AbortError:
            # The gateway hands on a backend's status by itself and has noted the code.
            raise
        except Exception:
            log.exception("rpc.bug", method=call.method)
            call.code, call.reason = "INTERNAL", "INTERNAL"
            await _abort(call, grpc.StatusCode.INTERNAL, _internal(call.request_id))


async def _abort(call: Call, code: grpc.StatusCode, status: status_pb2.Status) -> None:
    await call.context.abort(
        code, status.message, trailing_metadata=((DETAILS_KEY, status.SerializeToString()),)
    )


def _internal(request_id: str) -> status_pb2.Status:
    """Return a status that tells the caller what to quote, and nothing of what went wrong."""
    info = error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain=DOMAIN, metadata={"request_id": request_id}
    )
    status = status_pb2.Status(
        code=code_pb2.INTERNAL, message=f"internal error; the log has it under {request_id}"
    )
    status.details.add().Pack(info)
    return status
