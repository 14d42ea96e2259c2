"""How long to wait between guesses at one user's password."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Before `free_count` failures nothing waits; then the wait doubles from `first` up to `most`.

    A user without a failure for `memory` starts afresh. At most `users_max` users are remembered.
    """

    free_count: int = 5
    first: timedelta = timedelta(seconds=1)
    # A cap, or anybody could lock anybody out for a day.
    most: timedelta = timedelta(minutes=5)
    memory: timedelta = timedelta(minutes=15)
    users_max: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    failure_count: int
    failed_at_s: float


def delay_after(policy: Policy, failure_count: int) -> timedelta:
    """Return the wait after that many failures in a row."""
    paid = failure_count - policy.free_count
    if paid < 0:
        return timedelta(0)
    # Past 2^32 the cap has long been reached; the exponent must not grow with the guesses.
    return min(policy.first * (1 << min(paid, 32)), policy.most)


class Throttle:
    """Counts failures by user, whether or not such a user exists; times are monotonic seconds.

    When it remembers too many users, it forgets who failed longest ago; to push somebody out takes
    `users_max` guesses at other names, each of which costs a password hash.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        # Ordered by the latest failure, oldest first.
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def wait(self, user: str, now_s: float) -> timedelta:
        """Return how long until this user may try again; zero if now."""
        record = self._fresh(user, now_s)
        if record is None:
            return timedelta(0)
        delay = delay_after(self._policy, record.failure_count)
        return max(delay - timedelta(seconds=now_s - record.failed_at_s), timedelta(0))

    def failed(self, user: str, now_s: float) -> None:
        """Count a failure."""
        record = self._fresh(user, now_s)
        count = 1 if record is None else record.failure_count + 1
        self._records[user] = _Record(failure_count=count, failed_at_s=now_s)
        self._records.move_to_end(user)
        if len(self._records) > self._policy.users_max:
            self._records.popitem(last=False)

    def succeeded(self, user: str) -> None:
        """Forget the user's failures."""
        self._records.pop(user, None)

    def _fresh(self, user: str, now_s: float) -> _Record | None:
        record = self._records.get(user)
        if record is None or now_s - record.failed_at_s >= self._policy.memory.total_seconds():
            return None
        return record
