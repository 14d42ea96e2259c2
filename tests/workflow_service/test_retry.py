from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_service.definition import RetryPolicy
from workflow_service.retry import JITTER_RATIO_MAX, backoff, is_followed

POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    initial_interval=st.timedeltas(timedelta(milliseconds=1), timedelta(days=1)),
    multiplier=st.floats(0, 100),
    max_interval=st.timedeltas(timedelta(milliseconds=1), timedelta(days=1)),
)


def test_first_attempt_waits_nothing() -> None:
    assert backoff(RetryPolicy(), 1, 0.5) == timedelta()


def test_waits_double_from_a_second_up_to_a_minute_by_default() -> None:
    waits = [backoff(RetryPolicy(), attempt, 0).total_seconds() for attempt in range(2, 10)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_jitter_cuts_a_tenth_at_the_most() -> None:
    assert backoff(RetryPolicy(), 2, 1.0) == timedelta(seconds=0.9)


def test_growth_past_all_numbers_is_the_cap() -> None:
    policy = RetryPolicy(multiplier=1e300, max_interval=timedelta(seconds=7))
    assert backoff(policy, 100, 0) == timedelta(seconds=7)
    huge = RetryPolicy(initial_interval=timedelta(days=1), multiplier=100.0)
    assert backoff(huge, 9, 0) == huge.max_interval


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        backoff(RetryPolicy(), 0, 0)


@given(policy=POLICIES, attempt=st.integers(2, 100), jitter=st.floats(0, 1))
def test_a_wait_is_never_longer_than_the_cap(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    assert timedelta() <= backoff(policy, attempt, jitter) <= policy.max_interval


@given(policy=POLICIES, attempt=st.integers(2, 100))
def test_jitter_stays_near_the_full_wait(policy: RetryPolicy, attempt: int) -> None:
    full = backoff(policy, attempt, 0)
    least = full * (1 - JITTER_RATIO_MAX) - timedelta(microseconds=1)
    assert backoff(policy, attempt, 1) >= least


@pytest.mark.parametrize(
    ("attempt", "may_pass", "followed"),
    [(1, True, True), (2, True, True), (3, True, False), (1, False, False)],
)
def test_only_what_may_pass_is_tried_again(attempt: int, may_pass: bool, followed: bool) -> None:
    assert is_followed(RetryPolicy(), attempt, may_pass=may_pass) is followed
