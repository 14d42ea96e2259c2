"""A run as a pure state machine: what an event makes of it, and what is to be done next.

Replaying the events of a run gives the state it had: that is all there is to recovery. Nothing here knows
a clock, does I/O or draws a random number; whoever calls brings times and jitter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from workflow_service import retry
from workflow_service.definition import Condition, Definition, Place, Step
from workflow_service.events import (
    AttemptFailed,
    AttemptStarted,
    CancelRequested,
    CaseChosen,
    DatasetMade,
    Failure,
    FailureKind,
    RunCancelled,
    RunEvent,
    RunFailed,
    RunStarted,
    RunSucceeded,
    StepFailed,
    StepResult,
    StepSucceeded,
)
from workflow_service.run_state import IllegalEvent, RunState, RunStatus, seen

# How often one attempt is begun again after the engine stopped in its middle: an attempt that brings
# the engine down every time must not do so for ever.
RESUMPTIONS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Settle a pure step, now."""

    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Record that an attempt begins, when `not_before` has come; None means now."""

    step: Step
    attempt: int
    not_before: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Perform:
    """Make the attempt that was recorded, and settle it."""

    step: Step
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """Stop the attempt under way if it can be stopped; without one, end the run as cancelled."""

    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclude:
    """Evaluate the output: the last step is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """End the run as failed."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """End the run as cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Do nothing ever again."""


Command: TypeAlias = Evaluate | Begin | Perform | Interrupt | Conclude | Fail | Cancel | Rest
# What became of a step that was tried.
Outcome: TypeAlias = StepResult | Failure

_CONCLUDE, _CANCEL, _REST = Conclude(), Cancel(), Rest()


def decide(definition: Definition, state: RunState) -> Command:
    """Return what is to be done next."""
    if state.status.is_final:
        return _REST
    if state.status is RunStatus.CANCELLING:
        return Interrupt(step=_place(definition, state).step) if state.attempt_open else _CANCEL
    if state.failure is not None:
        return Fail(failure=state.failure)
    if state.place == len(definition.places):
        return _CONCLUDE
    step = definition.places[state.place].step
    if step.is_pure:
        return Evaluate(step=step)
    if state.attempt_open:
        return Perform(step=step, attempt=state.attempt)
    return Begin(step=step, attempt=state.attempt + 1, not_before=state.retry_time)


def settle(
    definition: Definition, state: RunState, outcome: Outcome, *, time: datetime, jitter: float
) -> RunEvent:
    """Return the event that the outcome of the step at hand is; `jitter` is from 0 to 1.

    A failure in a run that is being cancelled is not worth a retry: it ends the run as cancelled.
    """
    step = _place(definition, state).step
    sequence = state.sequence + 1
    attempt = max(state.attempt, 1)
    if not isinstance(outcome, Failure):
        return StepSucceeded(
            sequence=sequence, time=time, step=step.id, attempt=attempt, result=outcome
        )
    if state.status is RunStatus.CANCELLING:
        return RunCancelled(sequence=sequence, time=time)
    failure = replace(outcome, step=step.id)
    if step.is_pure or not retry.is_followed(step.retry, attempt, may_pass=failure.may_pass):
        return StepFailed(
            sequence=sequence, time=time, step=step.id, attempt=attempt, failure=failure
        )
    return AttemptFailed(
        sequence=sequence,
        time=time,
        step=step.id,
        attempt=attempt,
        failure=failure,
        retry_time=time + retry.backoff(step.retry, attempt + 1, jitter),
    )


def resume(definition: Definition, state: RunState, *, time: datetime) -> RunEvent:
    """Return the event that takes up an attempt in whose middle the engine stopped.

    The attempt keeps its number: what it does is done under the same key, so doing it again is safe.
    """
    step = _place(definition, state).step
    if state.resumptions < RESUMPTIONS_MAX:
        return AttemptStarted(
            sequence=state.sequence + 1, time=time, step=step.id, attempt=state.attempt
        )
    failure = Failure(
        kind=FailureKind.PERMANENT,
        reason="INTERNAL",
        message=f"the engine stopped {RESUMPTIONS_MAX + 1} times in the middle of this attempt",
        step=step.id,
    )
    return StepFailed(
        sequence=state.sequence + 1,
        time=time,
        step=step.id,
        attempt=state.attempt,
        failure=failure,
    )


def begin(event: RunEvent) -> RunState:
    """Return the state of a run whose first event is `event`.

    Raises:
        IllegalEvent: If no run begins so.
    """
    if not isinstance(event, RunStarted) or event.sequence != 1:
        raise IllegalEvent(f"a run cannot begin with {event}")
    return RunState(
        started=event,
        status=RunStatus.PENDING,
        sequence=1,
        place=0,
        attempt=0,
        attempt_open=False,
        resumptions=0,
        retry_time=None,
        failure=None,
        steps={},
        datasets={},
    )


def replay(definition: Definition, events: Iterable[RunEvent]) -> RunState:
    """Return the state that `events`, one or more, lead to.

    Raises:
        IllegalEvent: If they are not the events of a run of `definition`.
    """
    remaining = iter(events)
    state = begin(next(remaining))
    for event in remaining:
        state = apply(definition, state, event)
    return state


def apply(definition: Definition, state: RunState, event: RunEvent) -> RunState:
    """Return the state after `event`.

    Raises:
        IllegalEvent: If it cannot happen in `state`.
    """
    if event.sequence != state.sequence + 1 or state.status.is_final:
        raise _illegal(state, event)
    match event:
        case StepSucceeded():
            return _step_succeeded(definition, state, event)
        case AttemptStarted():
            return _attempt_started(definition, state, event)
        case AttemptFailed() | StepFailed():
            return _failed(definition, state, event)
        case CancelRequested() if state.status is not RunStatus.CANCELLING:
            return replace(state, status=RunStatus.CANCELLING, sequence=event.sequence)
        case RunSucceeded() if _is_at_end(definition, state):
            return replace(state, status=RunStatus.SUCCEEDED, sequence=event.sequence)
        case RunFailed() if state.failure == event.failure or _is_at_end(definition, state):
            return replace(
                state, status=RunStatus.FAILED, sequence=event.sequence, failure=event.failure
            )
        case RunCancelled() if state.status is RunStatus.CANCELLING:
            return replace(
                state,
                status=RunStatus.CANCELLED,
                sequence=event.sequence,
                attempt_open=False,
                retry_time=None,
            )
        case _:
            raise _illegal(state, event)


def _step_succeeded(definition: Definition, state: RunState, event: StepSucceeded) -> RunState:
    place = _expected_place(definition, state, event, event.step)
    if not _is_of_attempt(state, event, place):
        raise _illegal(state, event)
    result = event.result
    if isinstance(place.step.kind, Condition) != isinstance(result, CaseChosen):
        raise _illegal(state, event)
    following = place.after
    if isinstance(result, CaseChosen):
        if result.name not in place.entries:
            raise _illegal(state, event)
        following = place.entries[result.name]
    cancelling = state.status is RunStatus.CANCELLING
    return RunState(
        started=state.started,
        status=RunStatus.CANCELLING if cancelling else RunStatus.RUNNING,
        sequence=event.sequence,
        place=following,
        attempt=0,
        attempt_open=False,
        resumptions=0,
        retry_time=None,
        failure=None,
        steps={**state.steps, event.step: seen(result)},
        datasets=(
            {**state.datasets, event.step: result.dataset_id}
            if isinstance(result, DatasetMade)
            else state.datasets
        ),
    )


def _attempt_started(definition: Definition, state: RunState, event: AttemptStarted) -> RunState:
    place = _expected_place(definition, state, event, event.step)
    expected = state.attempt if state.attempt_open else state.attempt + 1
    if place.step.is_pure or state.status is RunStatus.CANCELLING or event.attempt != expected:
        raise _illegal(state, event)
    return replace(
        state,
        status=RunStatus.RUNNING,
        sequence=event.sequence,
        attempt=event.attempt,
        attempt_open=True,
        resumptions=state.resumptions + 1 if state.attempt_open else 0,
        retry_time=None,
    )


def _failed(definition: Definition, state: RunState, event: AttemptFailed | StepFailed) -> RunState:
    place = _expected_place(definition, state, event, event.step)
    if state.status is RunStatus.CANCELLING or not _is_of_attempt(state, event, place):
        raise _illegal(state, event)
    is_last = isinstance(event, StepFailed)
    if place.step.is_pure and not is_last:
        raise _illegal(state, event)
    return replace(
        state,
        status=RunStatus.RUNNING,
        sequence=event.sequence,
        attempt_open=False,
        retry_time=None if isinstance(event, StepFailed) else event.retry_time,
        failure=event.failure if is_last else None,
    )


def _is_of_attempt(
    state: RunState, event: StepSucceeded | AttemptFailed | StepFailed, place: Place
) -> bool:
    """Return whether `event` settles what is under way: an open attempt, or a pure step at once."""
    if place.step.is_pure:
        return event.attempt == 1 and state.status is not RunStatus.CANCELLING
    return state.attempt_open and event.attempt == state.attempt


def _is_at_end(definition: Definition, state: RunState) -> bool:
    return (
        state.place == len(definition.places)
        and state.status is RunStatus.RUNNING
        and state.failure is None
    )


def _expected_place(definition: Definition, state: RunState, event: RunEvent, step: str) -> Place:
    if state.place == len(definition.places) or state.failure is not None:
        raise _illegal(state, event)
    place = definition.places[state.place]
    if place.step.id != step:
        raise _illegal(state, event)
    return place


def _place(definition: Definition, state: RunState) -> Place:
    return definition.places[state.place]


def _illegal(state: RunState, event: RunEvent) -> IllegalEvent:
    return IllegalEvent(
        f"{type(event).__name__} {event.sequence} cannot follow event {state.sequence}"
        f" of a run that is {state.status} at place {state.place}"
    )
