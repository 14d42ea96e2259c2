"""Stopping what DuckDB does: when its time is up, when a limit is passed, when nobody waits any more.

An interrupt that comes between two statements is lost, so it is repeated until the work has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from chassis.clock import Clock
from chassis.faults import Fault, ResourceExhausted

TICK_S = 0.02


class Abandoned(Exception):
    """The work was stopped because whoever asked for it has gone."""


class Stop:
    """Set by whoever no longer wants the work; read by the thread that does it."""

    __slots__ = ("asked", "heard")

    def __init__(self) -> None:
        self.asked = False
        self.heard: Callable[[], None] | None = None

    def ask(self) -> None:
        """Give up the work, under way or not yet begun."""
        self.asked = True
        if self.heard is not None:
            self.heard()


@dataclass(slots=True, eq=False, kw_only=True)
class _Watched:
    cursor: duckdb.DuckDBPyConnection
    stop: Stop
    limit_s: float
    end: float
    passed: Callable[[], Fault | None]
    fault: Fault | None = field(default=None)


class Watch:
    """One thread that looks after all work under way; it sleeps while there is none."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watched: set[_Watched] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._look, name="table-watch", daemon=True)
        self._thread.start()

    @contextmanager
    def over(
        self,
        cursor: duckdb.DuckDBPyConnection,
        stop: Stop,
        *,
        limit_s: float,
        passed: Callable[[], Fault | None] = lambda: None,
    ) -> Iterator[None]:
        """Interrupt what the block runs on `cursor` once it must end.

        `passed` is asked many times a second and returns what to raise if some limit is passed.

        Raises:
            ResourceExhausted: QUERY_LIMIT after `limit_s`.
            Abandoned: If `stop` was asked.
            Fault: What `passed` returned.
        """
        stop.heard = self._asked.set
        if stop.asked:
            raise Abandoned
        watched = _Watched(
            cursor=cursor,
            stop=stop,
            limit_s=limit_s,
            end=self._clock.monotonic() + limit_s,
            passed=passed,
        )
        with self._changed:
            self._watched.add(watched)
            self._changed.notify()
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if watched.fault is not None:
                raise watched.fault from error
            if stop.asked:
                raise Abandoned from error
            raise
        finally:
            # Under the lock, so that nobody interrupts what the cursor does next.
            with self._changed:
                self._watched.discard(watched)

    def close(self) -> None:
        """Stop looking. Nothing may be under way any more."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _look(self) -> None:
        # Ends when closed.
        while not self._closing:
            with self._changed:
                # Under the lock, or a close between the two would never be heard.
                self._changed.wait_for(lambda: self._watched or self._closing)
                for watched in self._watched:
                    if self._must_end(watched):
                        watched.cursor.interrupt()
            # Cut short by whoever wants something stopped.
            self._asked.wait(TICK_S)
            self._asked.clear()

    def _must_end(self, watched: _Watched) -> bool:
        if watched.fault is None and not watched.stop.asked:
            if self._clock.monotonic() >= watched.end:
                watched.fault = ResourceExhausted(
                    "QUERY_LIMIT",
                    f"this took longer than {watched.limit_s:g} s",
                    seconds=f"{watched.limit_s:g}",
                )
            else:
                watched.fault = watched.passed()
        return watched.stop.asked or watched.fault is not None
