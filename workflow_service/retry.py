"""When a failed attempt is followed by another."""

from __future__ import annotations

from datetime import timedelta

from workflow_service.definition import RetryPolicy

# A wait is cut by up to this part of it, so that runs that failed together do not come back together.
JITTER_RATIO_MAX = 0.1


def backoff(policy: RetryPolicy, attempt: int, jitter: float) -> timedelta:
    """Return the wait before `attempt`, counted from 1; attempt 1 waits nothing.

    Grows by `policy.multiplier` from `policy.initial_interval`, capped at `policy.max_interval`, then cut
    by up to a tenth as `jitter`, from 0 to 1, says. Jitter is the caller's, so that a replay sees the same.

    Source: AWS Builders' Library, "Timeouts, retries and backoff with jitter".

    Raises:
        ValueError: If `attempt` is less than 1.
    """
    if attempt < 1:
        raise ValueError(f"attempts are counted from 1, not {attempt}")
    if attempt == 1:
        return timedelta()
    try:
        growth = policy.multiplier ** (attempt - 2)
        wait = min(policy.initial_interval * growth, policy.max_interval)
    except OverflowError:
        # Past what a float or a timedelta can hold, which is past any cap.
        wait = policy.max_interval
    return wait * (1 - JITTER_RATIO_MAX * jitter)


def is_followed(policy: RetryPolicy, attempt: int, *, may_pass: bool) -> bool:
    """Return whether another attempt follows the failed `attempt`; one that cannot pass is the last."""
    return may_pass and attempt < policy.max_attempts
