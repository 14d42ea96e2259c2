"""Runs, their steps and events as the contract's messages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.values import to_plain_json, to_struct, to_struct_value
from flux.workflow.v1 import run_pb2, run_service_pb2
from workflow_service.events import (
    AttemptFailed,
    AttemptStarted,
    CaseChosen,
    DatasetMade,
    Failure,
    FailureKind,
    RowsWritten,
    RunEvent,
    RunFailed,
    StepFailed,
    StepResult,
    StepSucceeded,
    ValueMade,
)
from workflow_service.journal_events import kind_of
from workflow_service.payloads import depth, encode
from workflow_service.run_reader import Sighting
from workflow_service.run_state import RunStatus
from workflow_service.runs import Run, StepRun, StepStatus

# The values of all steps of one answer, about; those past it are left out, so that it fits a message.
VALUES_BYTES_MAX = 8 * 1024 * 1024
# Of protobuf's limit of 100 messages in one another, each level takes three.
VALUE_DEPTH_MAX = 24

_STATES = {
    RunStatus.PENDING: run_pb2.Run.STATE_PENDING,
    RunStatus.RUNNING: run_pb2.Run.STATE_RUNNING,
    RunStatus.CANCELLING: run_pb2.Run.STATE_CANCELLING,
    RunStatus.SUCCEEDED: run_pb2.Run.STATE_SUCCEEDED,
    RunStatus.FAILED: run_pb2.Run.STATE_FAILED,
    RunStatus.CANCELLED: run_pb2.Run.STATE_CANCELLED,
}
_STATUSES = {state: status for status, state in _STATES.items()}
_STEP_STATES = {
    StepStatus.RUNNING: run_pb2.StepRun.STATE_RUNNING,
    StepStatus.RETRYING: run_pb2.StepRun.STATE_RETRYING,
    StepStatus.SUCCEEDED: run_pb2.StepRun.STATE_SUCCEEDED,
    StepStatus.FAILED: run_pb2.StepRun.STATE_FAILED,
    StepStatus.CANCELLED: run_pb2.StepRun.STATE_CANCELLED,
}
_FAILURE_KINDS = {
    FailureKind.TRANSIENT: run_pb2.Failure.KIND_TRANSIENT,
    FailureKind.PERMANENT: run_pb2.Failure.KIND_PERMANENT,
    FailureKind.TIMEOUT: run_pb2.Failure.KIND_TIMEOUT,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def start_digest(
    request: run_service_pb2.StartRunRequest | run_service_pb2.BatchStartRunsRequest,
) -> str:
    """Return a digest of what a request asks for, however long it waits and whatever it wants to see."""
    content = type(request).FromString(request.SerializeToString())
    for name in ("request_id", "wait", "view"):
        content.ClearField(name)
    named = request.DESCRIPTOR.name.encode() + content.SerializeToString(deterministic=True)
    return hashlib.sha256(named).hexdigest()


def statuses_of(states: Iterable[run_pb2.Run.State.ValueType]) -> list[RunStatus]:
    """Return states that the contract has let through."""
    return [_STATUSES[state] for state in states]


def run_message(run: Run) -> run_pb2.Run:
    """Return a run in the view BASIC."""
    message = run_pb2.Run(
        id=run.id,
        workflow=run.workflow,
        workflow_version=run.version,
        state=_STATES[run.status],
        owner=run.owner,
        input=to_struct(run.input),
    )
    _fill_time(message.create_time, run.create_time)
    if run.end_time is not None:
        _fill_time(message.end_time, run.end_time)
    if run.output is not None:
        message.output.CopyFrom(to_struct(run.output))
    if run.failure is not None:
        _fill_failure(message.failure, run.failure)
    return message


def add_steps(message: run_pb2.Run, steps: Iterable[StepRun]) -> None:
    """Make the view FULL of the view BASIC."""
    room = VALUES_BYTES_MAX
    for step in steps:
        filled = message.steps.add(
            step=step.step, state=_STEP_STATES[step.status], attempt_count=step.attempt_count
        )
        _fill_time(filled.start_time, step.start_time)
        if step.end_time is not None:
            _fill_time(filled.end_time, step.end_time)
        if step.failure is not None:
            _fill_failure(filled.failure, step.failure)
        if step.result is not None:
            _fill_result(filled.result, step.result)
            room -= filled.result.value.ByteSize()
            if room < 0:
                filled.result.ClearField("value")


def watch_message(sighting: Sighting) -> run_service_pb2.WatchRunResponse:
    """Return what a watcher is sent."""
    message = run_service_pb2.WatchRunResponse(cursor=str(sighting.sequence))
    if sighting.event is not None:
        message.event.CopyFrom(event_message(sighting.event))
    elif sighting.run is not None:
        message.run.CopyFrom(run_message(sighting.run))
    return message


def event_message(event: RunEvent) -> run_pb2.RunEvent:
    """Return an event."""
    message = run_pb2.RunEvent(
        sequence=event.sequence, kind=run_pb2.RunEvent.Kind.Value(f"KIND_{kind_of(event)}")
    )
    _fill_time(message.time, event.time)
    if isinstance(event, StepSucceeded | AttemptStarted | AttemptFailed | StepFailed):
        message.step, message.attempt = event.step, event.attempt
    if isinstance(event, StepSucceeded):
        _fill_result(message.result, event.result)
    if isinstance(event, AttemptFailed | StepFailed | RunFailed):
        _fill_failure(message.failure, event.failure)
    if isinstance(event, AttemptFailed):
        _fill_time(message.retry_time, event.retry_time)
    return message


def _fill_result(message: run_pb2.StepResult, result: StepResult) -> None:
    match result:
        case DatasetMade():
            message.dataset_id, message.row_count = result.dataset_id, result.row_count
        case RowsWritten():
            message.row_count = result.row_count
        case CaseChosen():
            message.chosen = result.name
        case ValueMade():
            message.value.CopyFrom(to_struct_value(_shallow(result.value)))


def _shallow(value: object) -> object:
    """Return `value`, or its JSON as text if it nests deeper than a client's protobuf can parse."""
    return value if depth(value) <= VALUE_DEPTH_MAX else encode(to_plain_json(value))


def _fill_failure(message: run_pb2.Failure, failure: Failure) -> None:
    message.kind = _FAILURE_KINDS[failure.kind]
    message.reason, message.message, message.step = failure.reason, failure.message, failure.step


def _fill_time(message: Timestamp, time: datetime) -> None:
    since = time - _EPOCH
    message.seconds = since.days * 86_400 + since.seconds
    message.nanos = since.microseconds * 1_000
