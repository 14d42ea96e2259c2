from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workflow_service.events import (
    AttemptFailed,
    AttemptStarted,
    CancelRequested,
    CaseChosen,
    DatasetMade,
    Failure,
    FailureKind,
    RowsWritten,
    RunCancelled,
    RunEvent,
    RunFailed,
    RunStarted,
    RunSucceeded,
    StartRequest,
    StepFailed,
    StepSucceeded,
    ValueMade,
)
from workflow_service.journal_events import EventRow, JournalDamaged, event_of
from workflow_service.journal_rows import event_row

NOW = datetime(2026, 1, 1, 12, 30, 1, 5, tzinfo=UTC)
FAILURE = Failure(kind=FailureKind.TIMEOUT, reason="DEADLINE_PASSED", message="slow", step="a")
REQUEST = StartRequest(id="8e7a9f34-7c0b-4a4e-9a55-0d6f6c1d9a11", digest="ab", index=3)
ROWS = ({"at": NOW, "x": 1.5, "none": None},)
EVENTS: list[RunEvent] = [
    RunStarted(
        sequence=1, time=NOW, workflow="w", version=2, owner="u", input={"n": 1}, request=REQUEST
    ),
    RunStarted(sequence=1, time=NOW, workflow="w", version=2, owner="u", input={}, request=None),
    AttemptStarted(sequence=2, time=NOW, step="a", attempt=1),
    AttemptFailed(
        sequence=3,
        time=NOW,
        step="a",
        attempt=1,
        failure=FAILURE,
        retry_time=NOW + timedelta(microseconds=1),
    ),
    StepSucceeded(sequence=4, time=NOW, step="a", attempt=2, result=RowsWritten(row_count=7)),
    StepSucceeded(sequence=4, time=NOW, step="a", attempt=1, result=ValueMade(value=None)),
    StepSucceeded(sequence=4, time=NOW, step="a", attempt=1, result=CaseChosen(name="big")),
    StepSucceeded(
        sequence=4,
        time=NOW,
        step="a",
        attempt=1,
        result=DatasetMade(dataset_id="ds_1", row_count=9, rows=ROWS),
    ),
    StepFailed(sequence=5, time=NOW, step="a", attempt=2, failure=FAILURE),
    CancelRequested(sequence=6, time=NOW, by="u"),
    RunSucceeded(sequence=7, time=NOW, output={"total": [1, {"$t": "x"}]}),
    RunFailed(sequence=7, time=NOW, failure=FAILURE),
    RunCancelled(sequence=7, time=NOW),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_comes_back_from_its_row(event: RunEvent) -> None:
    row = event_row("run_1", event)
    assert event_of(row) == event
    assert row.step == getattr(event, "step", "")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("NOPE", ""),
        ("RUN_STARTED", ""),
        ("RUN_STARTED", "not json"),
        ("RUN_STARTED", "[]"),
        ("RUN_SUCCEEDED", '{"output":1}'),
        ("STEP_FAILED", '{"failure":{"kind":"ODD","reason":"","message":"","step":""}}'),
        ("STEP_SUCCEEDED", '{"dataset_id":"ds_1","row_count":1,"rows":3}'),
        ("STEP_SUCCEEDED", '{"row_count":"many"}'),
        ("ATTEMPT_FAILED", '{"failure":{}}'),
    ],
)
def test_a_row_that_no_event_was_written_as_is_damage(kind: str, payload: str) -> None:
    row = EventRow(
        run_id="run_1", sequence=1, time=NOW, kind=kind, step="", attempt=0, payload=payload
    )
    with pytest.raises(JournalDamaged, match="run_1"):
        event_of(row)
