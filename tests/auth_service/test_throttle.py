"""The wait between guesses, and the bound on what is remembered."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from auth_service.throttle import Policy, Throttle, delay_after

POLICY = Policy(users_max=3)


def test_the_first_failures_cost_nothing_and_then_the_wait_doubles() -> None:
    waits = [delay_after(POLICY, count).total_seconds() for count in range(1, 9)]
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8]


@given(st.integers(min_value=0, max_value=10**9))
def test_the_wait_never_shrinks_nor_passes_the_cap(count: int) -> None:
    assert delay_after(POLICY, count) <= delay_after(POLICY, count + 1) <= POLICY.most


def test_waiting_long_enough_lets_the_user_try_again() -> None:
    throttle = Throttle(POLICY)
    for _ in range(7):
        throttle.failed("ada", 100.0)
    assert throttle.wait("ada", 101.0) == timedelta(seconds=3)
    assert throttle.wait("ada", 104.0) == timedelta(0)


def test_success_forgets() -> None:
    throttle = Throttle(POLICY)
    for _ in range(9):
        throttle.failed("ada", 0.0)
    throttle.succeeded("ada")
    assert throttle.wait("ada", 0.0) == timedelta(0)
    assert len(throttle) == 0


def test_old_failures_are_forgotten() -> None:
    throttle = Throttle(POLICY)
    for _ in range(9):
        throttle.failed("ada", 0.0)
    later = POLICY.memory.total_seconds()
    throttle.failed("ada", later)
    assert throttle.wait("ada", later) == timedelta(0)


def test_users_do_not_wait_for_one_another() -> None:
    throttle = Throttle(POLICY)
    for _ in range(9):
        throttle.failed("ada", 0.0)
    assert throttle.wait("grace", 0.0) == timedelta(0)


class ThrottleMachine(RuleBasedStateMachine):
    """Against a model that remembers everything, as long as few users are involved."""

    def __init__(self) -> None:
        super().__init__()
        self.throttle = Throttle(POLICY)
        self.now_s = 0.0
        self.failures: dict[str, list[float]] = {}

    @rule(seconds=st.floats(min_value=0, max_value=1000))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(user=st.sampled_from("abc"))
    def fail(self, user: str) -> None:
        self.throttle.failed(user, self.now_s)
        times = self.failures.setdefault(user, [])
        if times and self.now_s - times[-1] >= POLICY.memory.total_seconds():
            times.clear()
        times.append(self.now_s)

    @rule(user=st.sampled_from("abc"))
    def succeed(self, user: str) -> None:
        self.throttle.succeeded(user)
        self.failures.pop(user, None)

    @rule(name=st.integers(min_value=0, max_value=50))
    def ask_about_a_stranger(self, name: int) -> None:
        assert self.throttle.wait(f"stranger {name}", self.now_s) == timedelta(0)

    @invariant()
    def waits_are_the_models(self) -> None:
        for user, times in self.failures.items():
            idle = self.now_s - times[-1]
            fresh = idle < POLICY.memory.total_seconds()
            delay = delay_after(POLICY, len(times)) if fresh else timedelta(0)
            expected = max(delay - timedelta(seconds=idle), timedelta(0))
            assert self.throttle.wait(user, self.now_s) == expected

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.throttle) <= POLICY.users_max


TestThrottleMachine = ThrottleMachine.TestCase


def test_too_many_users_push_out_the_one_who_failed_longest_ago() -> None:
    throttle = Throttle(POLICY)
    for _ in range(9):
        throttle.failed("ada", 0.0)
    for name in "xyz":
        throttle.failed(name, 1.0)
    assert len(throttle) == POLICY.users_max
    assert throttle.wait("ada", 1.0) == timedelta(0)
