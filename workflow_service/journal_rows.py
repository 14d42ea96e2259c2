"""What of a run goes into the journal's two tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from workflow_service.events import (
    AttemptFailed,
    AttemptStarted,
    RunEvent,
    RunFailed,
    RunSucceeded,
    StepFailed,
    StepSucceeded,
)
from workflow_service.journal_events import EventRow, failure_fields, kind_of, payload_of
from workflow_service.payloads import encode
from workflow_service.run_state import RunState

_OF_STEP = StepSucceeded | AttemptStarted | AttemptFailed | StepFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRow:
    """One ended run as the table has it; `output` and `failure` are empty where there is none."""

    run_id: str
    workflow: str
    version: int
    owner: str
    state: str
    create_time: datetime
    end_time: datetime
    input: str
    output: str
    failure: str


def event_row(run_id: str, event: RunEvent) -> EventRow:
    """Return an event as a row."""
    step, attempt = "", 0
    if isinstance(event, _OF_STEP):
        step, attempt = event.step, event.attempt
    return EventRow(
        run_id=run_id,
        sequence=event.sequence,
        time=event.time,
        kind=kind_of(event),
        step=step,
        attempt=attempt,
        payload=payload_of(event),
    )


def ended_row(run_id: str, state: RunState, last: RunEvent) -> EndedRow:
    """Return a run that ended with the event `last` as a row."""
    started = state.started
    return EndedRow(
        run_id=run_id,
        workflow=started.workflow,
        version=started.version,
        owner=started.owner,
        state=state.status.value,
        create_time=started.time,
        end_time=last.time,
        input=encode(started.input),
        output=encode(last.output) if isinstance(last, RunSucceeded) else "",
        failure=encode(failure_fields(last.failure)) if isinstance(last, RunFailed) else "",
    )
