"""What a caller may act on: one class a status code, carrying a reason and its metadata.

Pure: `chassis.status` alone knows how a fault looks on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One thing wrong with one field of the request.

    `field` is the path from the request, as in `rows.typed.rows[3].values[1]`; `reason` is a short
    identifier for programs, `description` a sentence for people.
    """

    field: str
    description: str
    reason: str = ""


class Fault(Exception):
    """An error the caller can act on.

    `reason` is the name of a value of flux.errors.v1.ErrorReason without its prefix. `metadata` holds every
    value that the message names, so that a program need not parse the sentence.
    """

    code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        retry_after: timedelta | None = None,
        **metadata: object,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = violations
        self.retry_after = retry_after
        self.metadata = {name: str(value) for name, value in metadata.items()}


class InvalidArgument(Fault):
    """The request can never succeed as it is."""

    code = "INVALID_ARGUMENT"


def field_invalid(field: str, why: str) -> InvalidArgument:
    """Return the fault of a request with one field that cannot be as it is."""
    sentence = f"{field}: {why}"
    violations = (FieldViolation(field=field, description=sentence),)
    return InvalidArgument("FIELDS_INVALID", sentence, violations=violations)


class Unauthenticated(Fault):
    """Nobody has proved who is calling."""

    code = "UNAUTHENTICATED"


class PermissionDenied(Fault):
    """The caller is known and may not do this."""

    code = "PERMISSION_DENIED"


class NotFound(Fault):
    """What the request names does not exist, or not for this caller."""

    code = "NOT_FOUND"


class AlreadyExists(Fault):
    """What the request would make is there already."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(Fault):
    """The state of the system forbids it; the same call may succeed once that state changes."""

    code = "FAILED_PRECONDITION"


class Aborted(Fault):
    """Somebody else changed it first; read again and retry."""

    code = "ABORTED"


class OutOfRange(Fault):
    """A position, such as a cursor or a page, that is not there any more."""

    code = "OUT_OF_RANGE"


class ResourceExhausted(Fault):
    """A limit with a name was reached."""

    code = "RESOURCE_EXHAUSTED"


class Unimplemented(Fault):
    """No such method here."""

    code = "UNIMPLEMENTED"


class Unavailable(Fault):
    """A neighbour, or this service, cannot answer now; waiting helps."""

    code = "UNAVAILABLE"


class DeadlineExceeded(Fault):
    """The time the caller gave, or the most a server allows, ran out."""

    code = "DEADLINE_EXCEEDED"
