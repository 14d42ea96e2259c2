"""What a fault, or an expression without a value, means for the attempt that met it."""

from __future__ import annotations

from chassis.faults import (
    Aborted,
    DeadlineExceeded,
    Fault,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from workflow_service.events import Failure, FailureKind
from workflow_service.expressions import ExpressionFailed

# A sentence longer than this says nothing more.
MESSAGE_CHARS_MAX = 2_000


def is_outage(fault: Fault) -> bool:
    """Return whether a neighbour is away, starting or overrun: nothing that the step did wrong.

    Such a fault is waited out inside an attempt and uses none up.
    """
    if isinstance(fault, ResourceExhausted):
        return fault.reason == "QUEUE_FULL"
    # A token that was good when it was had: the keys changed, or the service that checks it restarted.
    return isinstance(fault, Unavailable | Unauthenticated)


def failure_from_fault(fault: Fault) -> Failure:
    """Return the failure that a fault is to the step that met it."""
    if is_outage(fault) or isinstance(fault, Aborted):
        kind = FailureKind.TRANSIENT
    elif isinstance(fault, DeadlineExceeded):
        kind = FailureKind.TIMEOUT
    else:
        kind = FailureKind.PERMANENT
    details = "; ".join(f"{one.field}: {one.description}" for one in fault.violations[:10])
    message = f"{fault.message}: {details}" if details else fault.message
    return Failure(kind=kind, reason=fault.reason, message=_sentence(message))


def failure_from_expression(error: ExpressionFailed, where: str) -> Failure:
    """Return the failure that an expression without a value is; `where` names the expression."""
    message = f"{where}: {error}"
    return permanent("EXPRESSION_FAILED", message)


def permanent(reason: str, message: str) -> Failure:
    """Return a failure that no other attempt can mend."""
    return Failure(kind=FailureKind.PERMANENT, reason=reason, message=_sentence(message))


def transient(reason: str, message: str) -> Failure:
    """Return a failure that may pass."""
    return Failure(kind=FailureKind.TRANSIENT, reason=reason, message=_sentence(message))


def timeout(seconds: float) -> Failure:
    """Return the failure of an attempt that took longer than it may."""
    return Failure(
        kind=FailureKind.TIMEOUT,
        reason="DEADLINE_PASSED",
        message=f"the attempt took longer than {seconds:g} s",
    )


def _sentence(text: str) -> str:
    """Return a message that can be kept: not endless, and without what is no text."""
    return text[:MESSAGE_CHARS_MAX].encode(errors="replace").decode()
