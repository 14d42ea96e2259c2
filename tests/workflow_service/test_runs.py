from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workflow_service.definition import InputSpec, InputType
from workflow_service.events import (
    AttemptFailed,
    AttemptStarted,
    CancelRequested,
    Failure,
    FailureKind,
    RowsWritten,
    RunCancelled,
    StepFailed,
    StepSucceeded,
    ValueMade,
)
from workflow_service.runs import StepStatus, check_input, step_runs

START = datetime(2026, 1, 1, tzinfo=UTC)
FAILURE = Failure(kind=FailureKind.TRANSIENT, reason="HTTP_503", message="busy", step="b")


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def spec(kind: InputType, *, required: bool = True, default: object = None) -> InputSpec:
    return InputSpec(name="x", type=kind, required=required, default=default)


@pytest.mark.parametrize(
    ("kind", "given", "filled"),
    [
        (InputType.STRING, "a", "a"),
        (InputType.INTEGER, 3, 3),
        (InputType.INTEGER, "-9223372036854775808", -(2**63)),
        (InputType.NUMBER, 3, 3.0),
        (InputType.NUMBER, 0.5, 0.5),
        (InputType.BOOL, False, False),
        (InputType.ANY, None, None),
        (InputType.ANY, [{"a": 1}], [{"a": 1}]),
    ],
)
def test_a_fitting_input_is_taken_as_its_type_has_it(
    kind: InputType, given: object, filled: object
) -> None:
    values, violations = check_input([spec(kind)], {"x": given}, "input")
    assert not violations
    assert values == {"x": filled}
    assert type(values["x"]) is type(filled)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (InputType.STRING, 1),
        (InputType.STRING, None),
        (InputType.INTEGER, 0.5),
        (InputType.INTEGER, True),
        (InputType.INTEGER, "9223372036854775808"),
        (InputType.INTEGER, "1_0"),
        (InputType.INTEGER, 1e300),
        (InputType.NUMBER, "1"),
        (InputType.NUMBER, True),
        (InputType.NUMBER, float("nan")),
        (InputType.BOOL, 0),
    ],
)
def test_an_input_of_another_type_is_a_violation(kind: InputType, given: object) -> None:
    _, violations = check_input([spec(kind)], {"x": given}, "inputs[7]")
    assert [violation.field for violation in violations] == ["inputs[7].x"]


def test_what_is_not_given_is_the_default() -> None:
    optional = spec(InputType.NUMBER, required=False, default=3)
    assert check_input([optional], {}, "input") == ({"x": 3.0}, [])


def test_all_mistakes_are_told_at_once() -> None:
    specs = [
        InputSpec(name="a", type=InputType.STRING, required=True),
        InputSpec(name="b", type=InputType.BOOL, required=True),
    ]
    _, violations = check_input(specs, {"b": 1, "c": 2, "d": 3}, "input")
    assert [violation.field for violation in violations] == [
        *("input.a", "input.b", "input.c", "input.d")
    ]


def test_steps_are_told_in_the_order_they_began() -> None:
    steps = step_runs(
        [
            StepSucceeded(sequence=2, time=at(1), step="a", attempt=1, result=ValueMade(value=1)),
            AttemptStarted(sequence=3, time=at(2), step="b", attempt=1),
            AttemptFailed(
                sequence=4, time=at(3), step="b", attempt=1, failure=FAILURE, retry_time=at(4)
            ),
            AttemptStarted(sequence=5, time=at(4), step="b", attempt=2),
            StepSucceeded(
                sequence=6, time=at(5), step="b", attempt=2, result=RowsWritten(row_count=1)
            ),
        ]
    )
    assert [(step.step, step.status, step.attempt_count) for step in steps] == [
        ("a", StepStatus.SUCCEEDED, 1),
        ("b", StepStatus.SUCCEEDED, 2),
    ]
    assert (steps[1].start_time, steps[1].end_time) == (at(2), at(5))
    assert steps[1].failure is None


def test_a_step_that_waits_for_its_next_attempt_says_why() -> None:
    [step] = step_runs(
        [
            AttemptStarted(sequence=2, time=at(2), step="b", attempt=1),
            AttemptFailed(
                sequence=3, time=at(3), step="b", attempt=1, failure=FAILURE, retry_time=at(4)
            ),
        ]
    )
    assert (step.status, step.failure) == (StepStatus.RETRYING, FAILURE)


def test_a_step_in_the_middle_of_a_cancelled_run_is_cancelled() -> None:
    steps = step_runs(
        [
            StepFailed(sequence=2, time=at(1), step="a", attempt=1, failure=FAILURE),
            AttemptStarted(sequence=3, time=at(2), step="b", attempt=1),
            CancelRequested(sequence=4, time=at(3), by="u"),
            RunCancelled(sequence=5, time=at(4)),
        ]
    )
    assert [step.status for step in steps] == [StepStatus.FAILED, StepStatus.CANCELLED]
    assert steps[1].end_time == at(4)
