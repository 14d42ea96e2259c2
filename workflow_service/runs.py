"""Runs as people see them: what a run is given, how it stands, and how its steps went."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from chassis.faults import FailedPrecondition, FieldViolation
from workflow_service.definition import InputSpec, InputType
from workflow_service.events import (
    AttemptFailed,
    AttemptStarted,
    CancelRequested,
    Failure,
    RunCancelled,
    RunEvent,
    RunFailed,
    RunStarted,
    RunSucceeded,
    StepFailed,
    StepResult,
    StepSucceeded,
)
from workflow_service.run_state import RunState, RunStatus

_INTEGER_TEXT = re.compile(r"-?[0-9]{1,19}\Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run as it stands; `end_time`, `output` and `failure` are None until there is one."""

    id: str
    workflow: str
    version: int
    owner: str
    status: RunStatus
    create_time: datetime
    end_time: datetime | None
    input: Mapping[str, object]
    output: Mapping[str, object] | None
    failure: Failure | None


class StepStatus(StrEnum):
    """The states of a step of a run."""

    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """How one step of a run went; `failure` is the last attempt's, if that failed."""

    step: str
    status: StepStatus
    attempt_count: int
    start_time: datetime
    end_time: datetime | None
    result: StepResult | None
    failure: Failure | None


def run_of(run_id: str, state: RunState, last: RunEvent) -> Run:
    """Return the run that stands at `state` after `last`."""
    started = state.started
    return Run(
        id=run_id,
        workflow=started.workflow,
        version=started.version,
        owner=started.owner,
        status=state.status,
        create_time=started.time,
        end_time=last.time if state.status.is_final else None,
        input=started.input,
        output=last.output if isinstance(last, RunSucceeded) else None,
        failure=state.failure if state.status is RunStatus.FAILED else None,
    )


def run_ended(run_id: str, status: RunStatus) -> FailedPrecondition:
    """Return the fault that a run is over."""
    return FailedPrecondition(
        "RUN_ENDED", f"run {run_id!r} is {status}", run=run_id, state=status.value
    )


def step_runs(events: Iterable[RunEvent]) -> list[StepRun]:
    """Return how the steps of a run went, in the order they began."""
    steps: dict[str, StepRun] = {}
    for event in events:
        match event:
            case AttemptStarted():
                steps[event.step] = _attempted(steps.get(event.step), event)
            case AttemptFailed():
                steps[event.step] = replace(
                    steps[event.step], status=StepStatus.RETRYING, failure=event.failure
                )
            case StepSucceeded() | StepFailed():
                steps[event.step] = _ended(steps.get(event.step), event)
            case RunCancelled():
                steps = {id_: _cancelled(step, event.time) for id_, step in steps.items()}
            case RunStarted() | CancelRequested() | RunSucceeded() | RunFailed():
                pass
            case _:
                assert_never(event)
    return list(steps.values())


def _attempted(before: StepRun | None, event: AttemptStarted) -> StepRun:
    return StepRun(
        step=event.step,
        status=StepStatus.RUNNING,
        attempt_count=event.attempt,
        start_time=before.start_time if before else event.time,
        end_time=None,
        result=None,
        failure=before.failure if before else None,
    )


def _ended(before: StepRun | None, event: StepSucceeded | StepFailed) -> StepRun:
    succeeded = isinstance(event, StepSucceeded)
    return StepRun(
        step=event.step,
        status=StepStatus.SUCCEEDED if succeeded else StepStatus.FAILED,
        attempt_count=event.attempt,
        start_time=before.start_time if before else event.time,
        end_time=event.time,
        result=event.result if isinstance(event, StepSucceeded) else None,
        failure=event.failure if isinstance(event, StepFailed) else None,
    )


def _cancelled(step: StepRun, time: datetime) -> StepRun:
    if step.end_time is not None:
        return step
    return replace(step, status=StepStatus.CANCELLED, end_time=time)


def check_input(
    specs: Sequence[InputSpec], given: Mapping[str, object], path: str
) -> tuple[dict[str, object], list[FieldViolation]]:
    """Return `given` with defaults filled in, and everything wrong with it; `path` leads to it.

    A number is always a float, whatever its text was: an expression must not depend on that.
    """
    filled: dict[str, object] = {}
    violations: list[FieldViolation] = []
    for spec in specs:
        if spec.name not in given:
            if spec.required:
                violations.append(_violation(path, spec.name, "is required"))
            else:
                filled[spec.name] = _fitted(spec.type, spec.default)[0]
            continue
        filled[spec.name], fits = _fitted(spec.type, given[spec.name])
        if not fits:
            violations.append(_violation(path, spec.name, f"must be {_NOUNS[spec.type]}"))
    if len(filled) < len(given):
        known = {spec.name for spec in specs}
        violations.extend(
            _violation(path, name, "is no input of this workflow")
            for name in given
            if name not in known
        )
    return filled, violations


_NOUNS = {
    InputType.STRING: "text",
    InputType.INTEGER: "an integer of 64 bits",
    InputType.NUMBER: "a finite number",
    InputType.BOOL: "true or false",
    InputType.ANY: "any JSON value",
}


def _fitted(kind: InputType, value: object) -> tuple[object, bool]:
    """Return the value as its type has it, and whether it fits."""
    match kind:
        case InputType.ANY:
            return value, True
        case InputType.STRING:
            return value, isinstance(value, str)
        case InputType.BOOL:
            return value, isinstance(value, bool)
        case InputType.INTEGER:
            return _fitted_integer(value)
        case InputType.NUMBER:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value), math.isfinite(value)
            return value, False


def _fitted_integer(value: object) -> tuple[object, bool]:
    # JSON numbers are doubles: an integer past 2^53 can only be given as text.
    if isinstance(value, str) and _INTEGER_TEXT.match(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return value, False
    return value, -(2**63) <= value < 2**63


def _violation(path: str, name: str, what: str) -> FieldViolation:
    return FieldViolation(
        field=f"{path}.{name}", description=f"input {name!r} {what}", reason="INPUT_INVALID"
    )
