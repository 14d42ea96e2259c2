"""Results in memory: how many bytes wait for their readers, of all callers and of each."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from chassis.faults import ResourceExhausted

RETRY_AFTER = timedelta(seconds=1)


class Holdings:
    """Counts bytes of results from the first batch until the last is sent. Threads may share it."""

    def __init__(self, *, bytes_max: int, caller_bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._caller_bytes_max = caller_bytes_max
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    @property
    def byte_count(self) -> int:
        """Return how many bytes are held."""
        return self._held.total()

    @contextmanager
    def of(self, caller: str) -> Iterator[Callable[[int], None]]:
        """Yield what counts more bytes of one result; all of them are let go at the end of the block.

        What is yielded raises ResourceExhausted (QUEUE_FULL) for bytes past a limit. Called after the end of
        the block, by a thread that has not been stopped yet, it does nothing.
        """
        taken, ended = 0, False

        def take(byte_count: int) -> None:
            nonlocal taken
            with self._lock:
                if ended:
                    return
                self._check(caller, byte_count)
                self._held[caller] += byte_count
                taken += byte_count

        try:
            yield take
        finally:
            with self._lock:
                ended = True
                self._held[caller] -= taken
                if not self._held[caller]:
                    del self._held[caller]

    def _check(self, caller: str, byte_count: int) -> None:
        for held, limit, whose in (
            (self._held[caller], self._caller_bytes_max, "your results"),
            (self._held.total(), self._bytes_max, "results"),
        ):
            if held + byte_count > limit:
                raise ResourceExhausted(
                    "QUEUE_FULL",
                    f"{limit} bytes of {whose} wait for their readers",
                    retry_after=RETRY_AFTER,
                    limit=limit,
                )
