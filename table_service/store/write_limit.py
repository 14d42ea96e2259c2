"""How long the writer works for one group of small writes: a check that somebody wrote can take any time.

What knows that it takes long brings a watch and a limit of its own, and is alone in its group.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from chassis.clock import Clock
from chassis.faults import ResourceExhausted

# Nobody else writes meanwhile.
WRITE_TIME_S = 30.0
_LOOK_EVERY_S = 0.25


class WriteLimit:
    """Interrupts what one cursor does once it takes too long.

    Looking now and then costs the many short writes nothing, as waking somebody for each would.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection, clock: Clock) -> None:
        self._cursor = cursor
        self._clock = clock
        self._lock = threading.Lock()
        self._end: float | None = None
        self._passed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look, name="table-write-limit", daemon=True)
        self._thread.start()

    @contextmanager
    def over(self) -> Iterator[None]:
        """Interrupt what the block runs on the cursor after `WRITE_TIME_S`.

        Raises:
            ResourceExhausted: QUERY_LIMIT.
        """
        with self._lock:
            self._end = self._clock.monotonic() + WRITE_TIME_S
            self._passed = False
        try:
            yield
        except duckdb.Error as error:
            if self._passed:
                raise ResourceExhausted(
                    "QUERY_LIMIT",
                    f"this took longer than {WRITE_TIME_S:g} s",
                    seconds=f"{WRITE_TIME_S:g}",
                ) from error
            raise
        finally:
            # Under the lock, so that nobody interrupts what the cursor does next.
            with self._lock:
                self._end = None

    def close(self) -> None:
        """Stop looking."""
        self._closing.set()
        self._thread.join()

    def _look(self) -> None:
        # Ends when closed.
        while not self._closing.wait(_LOOK_EVERY_S):
            with self._lock:
                if self._end is not None and self._clock.monotonic() >= self._end:
                    # Again with each look: one that comes between two statements is lost.
                    self._passed = True
                    self._cursor.interrupt()
