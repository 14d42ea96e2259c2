"""Holds every message that comes in against the limits its contract states."""

from __future__ import annotations

from typing import Any

import protovalidate
from google.protobuf.message import Message

from chassis.calls import Call, Proceed
from chassis.faults import FieldViolation, InvalidArgument


class Validation:
    """Refuses a message with all its violations at once."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Have every message of the call checked as it comes in."""
        if not call.method.startswith("/grpc."):
            call.checks.append(self.check)
        await proceed()

    def check(self, message: Message) -> None:
        """Return if `message` keeps every limit.

        Raises:
            InvalidArgument: FIELDS_INVALID with a violation for each limit it breaks.
        """
        found = self._validator.collect_violations(message)
        if found:
            violations = tuple(_violation(violation) for violation in found)
            first = violations[0]
            raise InvalidArgument(
                "FIELDS_INVALID",
                f"{first.field}: {first.description}",
                violations=violations,
                field=first.field,
            )


def _violation(violation: Any) -> FieldViolation:
    proto = violation.proto
    return FieldViolation(
        field=_path(proto.field.elements), description=proto.message, reason=proto.rule_id
    )


def _path(elements: Any) -> str:
    """Return a path such as `rows.typed.rows[3].values[1]` or `parameters["x"]`."""
    parts: list[str] = []
    for element in elements:
        subscript = ""
        if element.subscript is not None:
            value = element.subscript.value
            subscript = f'["{value}"]' if isinstance(value, str) else f"[{value}]"
        parts.append(f"{element.field_name}{subscript}")
    return ".".join(parts)
