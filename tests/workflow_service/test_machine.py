from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workflow_service.building import build, choice, insert, value
from workflow_service.definition import Condition, Definition, Step, TransformExpression
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
    StepFailed,
    StepSucceeded,
    ValueMade,
)
from workflow_service.journal_events import event_of
from workflow_service.journal_rows import event_row
from workflow_service.machine import (
    RESUMPTIONS_MAX,
    Begin,
    Cancel,
    Conclude,
    Evaluate,
    Fail,
    Interrupt,
    Outcome,
    Perform,
    Rest,
    apply,
    begin,
    decide,
    replay,
    resume,
    settle,
)
from workflow_service.run_state import IllegalEvent, RunState, RunStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEFINITION = build(
    {
        "steps": [
            value("first"),
            insert("write"),
            choice(
                "which",
                {
                    "one": ("true", [insert("inside"), value("after")]),
                    "two": ("true", [choice("again", {"x": ("true", [value("deep")])}, [])]),
                },
                [],
            ),
            insert("last", max_attempts=1),
        ]
    }
)
MAY_PASS = Failure(kind=FailureKind.TRANSIENT, reason="HTTP_503", message="busy")
FINAL = Failure(kind=FailureKind.PERMANENT, reason="SQL_INVALID", message="no")
STARTED = RunStarted(
    sequence=1, time=NOW, workflow="example", version=1, owner="usr_1", input={}, request=None
)

# What a driver does next: settle well, fail and pass, fail for good, ask to cancel, lose the engine.
WAYS = st.lists(st.sampled_from(["well", "may_pass", "final", "cancel", "crash"]), max_size=60)
CHOICES = st.lists(st.sampled_from(["one", "two", "otherwise", "x"]), min_size=8, max_size=8)


def result_of(step: Step, choices: Iterator[str]) -> Outcome:
    if isinstance(step.kind, Condition):
        names = [*(case.name for case in step.kind.cases), "otherwise"]
        wanted = next(choices, "otherwise")
        return CaseChosen(name=wanted if wanted in names else "otherwise")
    if isinstance(step.kind, TransformExpression):
        return ValueMade(value=1)
    return RowsWritten(row_count=1)


def next_event(state: RunState, way: str, choices: Iterator[str]) -> RunEvent | None:
    """Return what an engine would record that things go the `way` for."""
    sequence = state.sequence + 1
    if way == "cancel" and state.status in (RunStatus.PENDING, RunStatus.RUNNING):
        return CancelRequested(sequence=sequence, time=NOW, by="usr_1")
    outcomes = {"may_pass": MAY_PASS, "final": FINAL}
    command = decide(DEFINITION, state)
    match command:
        case Evaluate() | Perform():
            if way == "crash" and state.attempt_open:
                return resume(DEFINITION, state, time=NOW)
            outcome = outcomes.get(way) or result_of(command.step, choices)
            return settle(DEFINITION, state, outcome, time=NOW, jitter=0.5)
        case Interrupt():
            if way in ("may_pass", "final"):
                return settle(DEFINITION, state, outcomes[way], time=NOW, jitter=0)
            if way == "well":
                outcome = result_of(command.step, choices)
                return settle(DEFINITION, state, outcome, time=NOW, jitter=0)
            return RunCancelled(sequence=sequence, time=NOW)
        case Begin():
            return AttemptStarted(
                sequence=sequence, time=NOW, step=command.step.id, attempt=command.attempt
            )
        case Conclude():
            return RunSucceeded(sequence=sequence, time=NOW, output={})
        case Fail():
            return RunFailed(sequence=sequence, time=NOW, failure=command.failure)
        case Cancel():
            return RunCancelled(sequence=sequence, time=NOW)
        case Rest():
            return None


def drive(ways: list[str], choices: list[str]) -> tuple[list[RunEvent], RunState]:
    """Return the events and the state of a run that goes these ways, and well from then on."""
    events: list[RunEvent] = [STARTED]
    state, chosen = begin(STARTED), iter(choices)
    for way in [*ways, *["well"] * 100]:
        event = next_event(state, way, chosen)
        if event is None:
            break
        state = apply(DEFINITION, state, event)
        events.append(event)
    return events, state


@given(ways=WAYS, choices=CHOICES)
def test_every_run_comes_to_an_end(ways: list[str], choices: list[str]) -> None:
    events, state = drive(ways, choices)
    assert state.status.is_final
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert decide(DEFINITION, state) == Rest()


@given(ways=WAYS, choices=CHOICES)
def test_replay_of_the_journal_gives_the_live_state(ways: list[str], choices: list[str]) -> None:
    events, state = drive(ways, choices)
    journalled = [event_of(event_row("run_1", event)) for event in events]
    assert journalled == events
    assert replay(DEFINITION, journalled) == state


@given(ways=WAYS, choices=CHOICES, cut=st.integers(1, 50))
def test_a_cut_journal_goes_on_where_it_was_cut(
    ways: list[str], choices: list[str], cut: int
) -> None:
    events, _ = drive(ways, choices)
    state = replay(DEFINITION, events[:cut])
    for event in events[cut:]:
        state = apply(DEFINITION, state, event)
    assert state == replay(DEFINITION, events)


def any_event(sequence: int) -> st.SearchStrategy[RunEvent]:
    """Return events that could come from anywhere, most of them nonsense in most states."""
    step = st.sampled_from(["first", "write", "which", "inside", "deep", "last", "nowhere"])
    at = {"sequence": st.just(sequence), "time": st.just(NOW)}
    attempt = st.integers(0, 3)
    results = st.sampled_from(
        [
            ValueMade(value=1),
            CaseChosen(name="one"),
            CaseChosen(name="none"),
            RowsWritten(row_count=1),
            DatasetMade(dataset_id="ds_1", row_count=0, rows=()),
        ]
    )
    failure = st.sampled_from([MAY_PASS, FINAL])
    return st.one_of(
        st.just(replace(STARTED, sequence=sequence)),
        st.builds(AttemptStarted, **at, step=step, attempt=attempt),
        st.builds(
            AttemptFailed,
            **at,
            step=step,
            attempt=attempt,
            failure=failure,
            retry_time=st.just(NOW),
        ),
        st.builds(StepSucceeded, **at, step=step, attempt=attempt, result=results),
        st.builds(StepFailed, **at, step=step, attempt=attempt, failure=failure),
        st.builds(CancelRequested, **at, by=st.just("x")),
        st.builds(RunSucceeded, **at, output=st.just({})),
        st.builds(RunFailed, **at, failure=failure),
        st.builds(RunCancelled, **at),
    )


@given(ways=WAYS, choices=CHOICES, cut=st.integers(1, 50), content=st.data())
def test_whatever_comes_is_legal_or_refused(
    ways: list[str], choices: list[str], cut: int, content: st.DataObject
) -> None:
    events, _ = drive(ways, choices)
    before = replay(DEFINITION, events[:cut])
    event = content.draw(any_event(before.sequence + 1))
    try:
        after = apply(DEFINITION, before, event)
    except IllegalEvent:
        return
    assert not before.status.is_final
    assert after.sequence == before.sequence + 1
    assert 0 <= after.place <= len(DEFINITION.places)
    assert not (after.attempt_open and after.retry_time)
    # Whatever was legal leaves something to decide.
    assert isinstance(decide(DEFINITION, after), Rest) is after.status.is_final


@given(ways=WAYS, choices=CHOICES, content=st.data())
def test_a_final_state_is_final(
    ways: list[str], choices: list[str], content: st.DataObject
) -> None:
    _, state = drive(ways, choices)
    with pytest.raises(IllegalEvent):
        apply(DEFINITION, state, content.draw(any_event(state.sequence + 1)))


@given(ways=WAYS, choices=CHOICES, gap=st.sampled_from([-1, 0, 2]))
def test_a_gap_in_the_journal_is_noticed(ways: list[str], choices: list[str], gap: int) -> None:
    events, _ = drive(ways, choices)
    state = replay(DEFINITION, events[:-1])
    with pytest.raises(IllegalEvent):
        apply(DEFINITION, state, replace(events[-1], sequence=state.sequence + gap))


def after(*ways: str, definition: Definition = DEFINITION) -> RunState:
    assert definition is DEFINITION
    state, choices = begin(STARTED), iter(["two", "x"])
    for way in ways:
        event = next_event(state, way, choices)
        assert event is not None
        state = apply(DEFINITION, state, event)
    return state


def test_a_run_begins_with_its_start_alone() -> None:
    with pytest.raises(IllegalEvent):
        begin(RunCancelled(sequence=1, time=NOW))
    with pytest.raises(IllegalEvent):
        begin(replace(STARTED, sequence=2))


def test_an_attempt_that_may_pass_is_followed_by_another_after_its_wait() -> None:
    state = after("well", "well", "may_pass")
    command = decide(DEFINITION, state)
    assert isinstance(command, Begin)
    assert command.attempt == 2
    assert command.not_before == NOW + timedelta(seconds=0.95)


def test_the_last_attempt_that_fails_fails_the_run() -> None:
    state = after("well", *["well", "may_pass"] * 3)
    assert isinstance(decide(DEFINITION, state), Fail)
    assert state.failure == replace(MAY_PASS, step="write")


def test_a_permanent_failure_is_not_tried_again() -> None:
    assert isinstance(decide(DEFINITION, after("well", "well", "final")), Fail)


def test_an_attempt_that_succeeds_while_the_run_is_cancelled_is_kept() -> None:
    state = after("well", "well", "cancel", "well")
    assert state.steps["write"] == {"row_count": 1}
    assert decide(DEFINITION, state) == Cancel()


def test_a_cancelled_run_begins_nothing() -> None:
    assert decide(DEFINITION, after("well", "cancel")) == Cancel()
    interrupted = decide(DEFINITION, after("well", "well", "cancel"))
    assert isinstance(interrupted, Interrupt)


def test_an_attempt_that_brings_the_engine_down_every_time_is_given_up() -> None:
    state = after("well", "well", *["crash"] * RESUMPTIONS_MAX)
    assert state.attempt == 1
    given_up = resume(DEFINITION, state, time=NOW)
    assert isinstance(given_up, StepFailed)
    assert isinstance(decide(DEFINITION, apply(DEFINITION, state, given_up)), Fail)


def test_expressions_see_what_each_kind_of_step_made() -> None:
    definition = build({"steps": [insert("a"), insert("b")]})
    state = begin(STARTED)
    made = DatasetMade(dataset_id="ds_1", row_count=7, rows=({"x": 1},))
    for event in (
        AttemptStarted(sequence=2, time=NOW, step="a", attempt=1),
        StepSucceeded(sequence=3, time=NOW, step="a", attempt=1, result=made),
    ):
        state = apply(definition, state, event)
    assert state.steps == {"a": {"row_count": 7, "rows": ({"x": 1},)}}
    assert state.datasets == {"a": "ds_1"}
