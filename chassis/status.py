"""Faults and google.rpc.Status: the one place that knows both."""

from __future__ import annotations

from datetime import timedelta

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from chassis import faults
from chassis.faults import Fault, FieldViolation

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "flux"
RETRY_AFTER_DEFAULT = timedelta(seconds=1)
# gRPC answers with another error, and at random, where metadata exceeds 8 KiB. The message travels twice,
# alone and in the details, and what else gRPC writes there needs some room.
_STATUS_BYTES_MAX = 7 * 1024
_MESSAGE_BYTES_MAX = 1024
_METADATA_BYTES_MAX = 256
_VIOLATION_BYTES_MAX = 512

_CODES = {code.name: code for code in grpc.StatusCode}
_FAULTS: dict[str, type[Fault]] = {
    kind.code: kind
    for kind in vars(faults).values()
    if isinstance(kind, type) and issubclass(kind, Fault) and kind is not Fault
}


def code_of(fault: Fault) -> grpc.StatusCode:
    """Return the gRPC status code of a fault."""
    return _CODES[fault.code]


def to_status(fault: Fault) -> status_pb2.Status:
    """Return a fault as google.rpc.Status with ErrorInfo, BadRequest and RetryInfo as they apply."""
    metadata = {name: _cut(value, _METADATA_BYTES_MAX) for name, value in fault.metadata.items()}
    details: list[message.Message] = [
        error_details_pb2.ErrorInfo(reason=fault.reason, domain=DOMAIN, metadata=metadata)
    ]
    retry_after = fault.retry_after
    if retry_after is None and isinstance(fault, faults.Unavailable):
        retry_after = RETRY_AFTER_DEFAULT
    if retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(retry_after)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(
        code=code_pb2.Code.Value(fault.code),
        message=_cut(fault.message, _MESSAGE_BYTES_MAX),
        details=[_packed(detail) for detail in details],
    )
    if fault.violations:
        left = _STATUS_BYTES_MAX - status.ByteSize() - _percent_encoded_bytes(status.message)
        status.details.append(_packed(_bad_request(fault.violations, left)))
    return status


def _cut(text: str, bytes_max: int) -> str:
    """Return as much of `text` as fits, with an ellipsis where something was left out."""
    encoded = text.encode()
    if len(encoded) <= bytes_max:
        return text
    return encoded[: bytes_max - 3].decode(errors="ignore") + "…"


def _percent_encoded_bytes(text: str) -> int:
    """Return how long `text` is as grpc-message, which has three bytes for all but printable ASCII."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in text.encode())


def _packed(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _bad_request(
    violations: tuple[FieldViolation, ...], bytes_max: int
) -> error_details_pb2.BadRequest:
    """Return as many violations as `bytes_max` can hold; the last entry counts those left out."""
    bad = error_details_pb2.BadRequest()
    # What the type's name and that last entry need.
    size = 128
    for index, violation in enumerate(violations):
        entry = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, _VIOLATION_BYTES_MAX),
            description=_cut(violation.description, _VIOLATION_BYTES_MAX),
            reason=violation.reason,
        )
        size += entry.ByteSize() + 4
        if size > bytes_max:
            bad.field_violations.add(
                field="", description=f"and {len(violations) - index} more violations"
            )
            break
        bad.field_violations.append(entry)
    return bad


def fault_from_rpc(error: grpc.aio.AioRpcError, neighbour: str) -> Fault:
    """Return what a failed call to `neighbour` means to our own caller.

    A fault of ours comes back as it was raised there. Anything else becomes UNAVAILABLE (the neighbour is
    down or restarting), DEADLINE_EXCEEDED, or, for what only a bug explains, the error itself again.
    """
    status = status_of(error)
    if status is not None:
        fault = from_status(status)
        if fault is not None:
            return fault
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return faults.DeadlineExceeded(
            "DEADLINE_PASSED", f"{neighbour} did not answer in time", neighbour=neighbour
        )
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return faults.Unavailable(
            "NEIGHBOUR_UNAVAILABLE", f"{neighbour} cannot be reached", neighbour=neighbour
        )
    raise error


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """Return the google.rpc.Status that a failed call carried, or None if it carried none."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return None


def from_status(status: status_pb2.Status) -> Fault | None:
    """Return the fault that `to_status` made `status` from, or None if it is not one of ours."""
    kind = _FAULTS.get(code_pb2.Code.Name(status.code))
    info = error_details_pb2.ErrorInfo()
    if kind is None or not any(
        detail.Unpack(info) for detail in status.details if detail.Is(info.DESCRIPTOR)
    ):
        return None
    violations: tuple[FieldViolation, ...] = ()
    retry_after: timedelta | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations = tuple(
                FieldViolation(field=v.field, description=v.description, reason=v.reason)
                for v in bad.field_violations
            )
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToTimedelta()
    fault = kind(info.reason, status.message, violations=violations, retry_after=retry_after)
    fault.metadata = dict(info.metadata)
    return fault
