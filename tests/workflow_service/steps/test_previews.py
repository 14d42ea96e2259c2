from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from chassis.scalars import Json, Span
from workflow_service.payloads import decode, encode
from workflow_service.steps.previews import BYTES_MAX, ROWS_MAX, expression_value, preview

ID = UUID("4be0643f-1d98-473b-97cd-ca98a65347dd")


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        (None, None),
        (2**100, 2**100),
        (Decimal("12.50"), 12.5),
        (date(2013, 1, 31), datetime(2013, 1, 31, tzinfo=UTC)),
        (
            datetime(2013, 1, 31, 5, tzinfo=UTC).replace(tzinfo=None),
            datetime(2013, 1, 31, 5, tzinfo=UTC),
        ),
        (time(5, 15), "05:15:00"),
        (ID, str(ID)),
        (Json('{"a": [1]}'), {"a": [1]}),
        (Json("broken"), "broken"),
        (Span(months=0, days=1, microseconds=5), timedelta(days=1, microseconds=5)),
        (Span(months=2, days=1, microseconds=500_000), "P2M1DT0.500000S"),
        ([Decimal(1), {"x": ID}], [1.0, {"x": str(ID)}]),
    ],
)
def test_a_stored_value_is_seen_as_the_nearest_that_compares(stored: object, seen: object) -> None:
    assert expression_value(stored) == seen
    # What is seen while the run lives is what is seen after a replay.
    assert decode(encode(expression_value(stored))) == seen


def test_a_preview_keeps_to_its_rows() -> None:
    shown = preview(("a", "b"), ((n, str(n)) for n in range(ROWS_MAX + 1)))
    assert len(shown) == ROWS_MAX
    assert shown[7] == {"a": 7, "b": "7"}


def test_a_preview_keeps_to_its_bytes() -> None:
    assert len(preview(("a",), [("x" * (BYTES_MAX // 2),)] * 3)) == 1
    assert preview(("a",), [("x" * BYTES_MAX,)]) == ()
