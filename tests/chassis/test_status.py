"""A fault fits what carries it, whatever it has to say."""

from __future__ import annotations

import pytest

from chassis.faults import FieldViolation, InvalidArgument
from chassis.status import from_status, to_status

# gRPC refuses answers at random from 8 KiB of metadata on; its own headers need some of that.
METADATA_BYTES = 8192 - 512


def _wire_bytes(text: str) -> int:
    """Return the length of grpc-message: all but printable ASCII is three bytes a byte."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in text.encode())


@pytest.mark.parametrize("letter", ["x", "%", "é", "語", "\n"])
@pytest.mark.parametrize("count", [1, 300, 5_000, 100_000])
@pytest.mark.parametrize("violation_count", [0, 1, 500])
def test_status_fits_into_metadata(letter: str, count: int, violation_count: int) -> None:
    text = letter * count
    violations = tuple(
        FieldViolation(field=f"rows[{n}].{text}", description=text, reason="BAD")
        for n in range(violation_count)
    )
    fault = InvalidArgument("FIELDS_INVALID", text, violations=violations, name=text, other=text)
    status = to_status(fault)
    assert _wire_bytes(status.message) + status.ByteSize() <= METADATA_BYTES
    back = from_status(status)
    assert back is not None
    assert back.reason == "FIELDS_INVALID"
    assert bool(back.violations) == bool(violations)


def test_text_that_was_cut_says_so() -> None:
    status = to_status(InvalidArgument("SQL_INVALID", "é" * 5_000))
    assert status.message.startswith("éé")
    assert status.message.endswith("…")
    assert "\N{REPLACEMENT CHARACTER}" not in status.message


def test_text_of_common_length_is_left_as_it_is() -> None:
    fault = InvalidArgument("SQL_INVALID", "x" * 800, table="t" * 60)
    assert to_status(fault).message == fault.message
