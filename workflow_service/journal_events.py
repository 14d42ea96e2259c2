"""Events as rows of the journal: a few columns to look for, and a payload with the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

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
    StepResult,
    StepSucceeded,
    ValueMade,
)
from workflow_service.payloads import decode, encode


class JournalDamaged(Exception):
    """A row of the journal that no event was ever written as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One event as the table has it; `kind` is the contract's name without its prefix."""

    run_id: str
    sequence: int
    time: datetime
    kind: str
    step: str
    attempt: int
    payload: str


_KINDS: dict[type, str] = {
    RunStarted: "RUN_STARTED",
    AttemptStarted: "ATTEMPT_STARTED",
    AttemptFailed: "ATTEMPT_FAILED",
    StepSucceeded: "STEP_SUCCEEDED",
    StepFailed: "STEP_FAILED",
    CancelRequested: "CANCEL_REQUESTED",
    RunSucceeded: "RUN_SUCCEEDED",
    RunFailed: "RUN_FAILED",
    RunCancelled: "RUN_CANCELLED",
}


def kind_of(event: RunEvent) -> str:
    """Return the contract's name of the event's kind without its prefix."""
    return _KINDS[type(event)]


def payload_of(event: RunEvent) -> str:
    """Return what the columns of the journal do not say of an event; empty if that is nothing."""
    match event:
        case StepSucceeded():
            return encode(_result_fields(event.result))
        case AttemptStarted() | RunCancelled():
            return ""
        case RunStarted():
            return encode(_start_fields(event))
        case RunSucceeded():
            return encode({"output": event.output})
        case AttemptFailed():
            retry_time = event.retry_time.isoformat()
            return encode({"failure": failure_fields(event.failure), "retry_time": retry_time})
        case StepFailed() | RunFailed():
            return encode({"failure": failure_fields(event.failure)})
        case CancelRequested():
            return encode({"by": event.by})


def _start_fields(event: RunStarted) -> dict[str, object]:
    fields: dict[str, object] = {
        "workflow": event.workflow,
        "version": event.version,
        "owner": event.owner,
        "input": event.input,
    }
    if event.request is not None:
        request = event.request
        fields["request"] = {"id": request.id, "digest": request.digest, "index": request.index}
    return fields


def _result_fields(result: StepResult) -> dict[str, object]:
    match result:
        case ValueMade():
            return {"value": result.value}
        case CaseChosen():
            return {"chosen": result.name}
        case RowsWritten():
            return {"row_count": result.row_count}
        case DatasetMade():
            return {
                "dataset_id": result.dataset_id,
                "row_count": result.row_count,
                "rows": result.rows,
            }


def failure_fields(failure: Failure) -> dict[str, object]:
    """Return a failure as it stands in a payload."""
    return {
        "kind": failure.kind.value,
        "reason": failure.reason,
        "message": failure.message,
        "step": failure.step,
    }


def event_of(row: EventRow) -> RunEvent:
    """Return the event that a row of the journal is.

    Raises:
        JournalDamaged: If it is none.
    """
    try:
        return _READERS[row.kind](row, _Fields(row.payload))
    except (KeyError, ValueError, TypeError) as error:
        raise JournalDamaged(f"event {row.sequence} of run {row.run_id!r}: {error}") from error


class _Fields:
    """The fields of a payload, each read as the type it must have."""

    def __init__(self, payload: str) -> None:
        self._fields = _mapping(decode(payload)) if payload else {}

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def any(self, name: str) -> object:
        return self._fields[name]

    def text(self, name: str) -> str:
        return _text(self._fields[name])

    def number(self, name: str) -> int:
        value = self._fields[name]
        if not isinstance(value, int):
            raise TypeError(f"{name} is no number")
        return value

    def mapping(self, name: str) -> Mapping[str, object]:
        return _mapping(self._fields[name])

    def failure(self) -> Failure:
        return failure_of(self.mapping("failure"))

    def request(self) -> StartRequest | None:
        if "request" not in self._fields:
            return None
        fields = self.mapping("request")
        index = fields["index"]
        assert isinstance(index, int)
        return StartRequest(id=_text(fields["id"]), digest=_text(fields["digest"]), index=index)

    def result(self) -> StepResult:
        if "value" in self._fields:
            return ValueMade(value=self._fields["value"])
        if "chosen" in self._fields:
            return CaseChosen(name=self.text("chosen"))
        if "dataset_id" not in self._fields:
            return RowsWritten(row_count=self.number("row_count"))
        rows = self._fields["rows"]
        if not isinstance(rows, list):
            raise TypeError("rows is no list")
        return DatasetMade(
            dataset_id=self.text("dataset_id"),
            row_count=self.number("row_count"),
            rows=tuple(_mapping(row) for row in rows),
        )


def failure_of(fields: Mapping[str, object]) -> Failure:
    """Return the failure that `failure_fields` made `fields` from."""
    return Failure(
        kind=FailureKind(_text(fields["kind"])),
        reason=_text(fields["reason"]),
        message=_text(fields["message"]),
        step=_text(fields["step"]),
    )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__} is no map")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} is no text")
    return value


def _run_started(row: EventRow, fields: _Fields) -> RunEvent:
    return RunStarted(
        sequence=row.sequence,
        time=row.time,
        workflow=fields.text("workflow"),
        version=fields.number("version"),
        owner=fields.text("owner"),
        input=fields.mapping("input"),
        request=fields.request(),
    )


def _attempt_started(row: EventRow, _fields: _Fields) -> RunEvent:
    return AttemptStarted(sequence=row.sequence, time=row.time, step=row.step, attempt=row.attempt)


def _attempt_failed(row: EventRow, fields: _Fields) -> RunEvent:
    return AttemptFailed(
        sequence=row.sequence,
        time=row.time,
        step=row.step,
        attempt=row.attempt,
        failure=fields.failure(),
        retry_time=datetime.fromisoformat(fields.text("retry_time")),
    )


def _step_succeeded(row: EventRow, fields: _Fields) -> RunEvent:
    return StepSucceeded(
        sequence=row.sequence,
        time=row.time,
        step=row.step,
        attempt=row.attempt,
        result=fields.result(),
    )


def _step_failed(row: EventRow, fields: _Fields) -> RunEvent:
    return StepFailed(
        sequence=row.sequence,
        time=row.time,
        step=row.step,
        attempt=row.attempt,
        failure=fields.failure(),
    )


_READERS: dict[str, Callable[[EventRow, _Fields], RunEvent]] = {
    "RUN_STARTED": _run_started,
    "ATTEMPT_STARTED": _attempt_started,
    "ATTEMPT_FAILED": _attempt_failed,
    "STEP_SUCCEEDED": _step_succeeded,
    "STEP_FAILED": _step_failed,
    "CANCEL_REQUESTED": lambda row, fields: CancelRequested(
        sequence=row.sequence, time=row.time, by=fields.text("by")
    ),
    "RUN_SUCCEEDED": lambda row, fields: RunSucceeded(
        sequence=row.sequence, time=row.time, output=fields.mapping("output")
    ),
    "RUN_FAILED": lambda row, fields: RunFailed(
        sequence=row.sequence, time=row.time, failure=fields.failure()
    ),
    "RUN_CANCELLED": lambda row, _fields: RunCancelled(sequence=row.sequence, time=row.time),
}
