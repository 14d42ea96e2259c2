"""A run in memory: its events, how far they are durable, and who waits for more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from chassis.faults import Fault
from workflow_service.definition import Definition
from workflow_service.events import RunEvent, RunStarted
from workflow_service.journal_events import EventRow
from workflow_service.journal_rows import event_row
from workflow_service.machine import apply, begin
from workflow_service.payloads import utf8_bytes
from workflow_service.run_state import RunState, RunStatus
from workflow_service.runs import Run, run_of


class ActiveRun:
    """Two readings of one run: `state` is where it will stand, `run()` where it durably stands.

    `events` holds them all; the first `submitted` were handed to the journal, the first `durable` are
    durable, and only those are anybody else's to see. `size_bytes` is about what those handed over are.
    """

    __slots__ = (
        "_durable_state",
        "_facts",
        "_rows",
        "_rows_bytes",
        "_waiters",
        "definition",
        "dropped",
        "durable",
        "events",
        "id",
        "size_bytes",
        "state",
        "submitted",
        "task",
        "timer",
    )

    def __init__(self, run_id: str, definition: Definition, started: RunStarted) -> None:
        self.id = run_id
        self.definition = definition
        self.state = begin(started)
        self.events: list[RunEvent] = [started]
        self.submitted = 0
        self.durable = 0
        self.size_bytes = 0
        self._rows: list[EventRow] = []
        self._rows_bytes = 0
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.dropped: Fault | None = None
        self._durable_state: RunState | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._facts = {
            "id": run_id,
            "workflow": started.workflow,
            "version": started.version,
            "start_time": started.time,
        }

    def record(self, event: RunEvent) -> None:
        """Take in the next event.

        Raises:
            IllegalEvent: If it cannot happen now.
        """
        self.state = apply(self.definition, self.state, event)
        self.events.append(event)

    def waiting_bytes(self) -> int:
        """Return about how many bytes the events are that the journal has not got yet.

        Raises:
            ValueError: If one of them is nothing that can be kept.
        """
        for event in self.events[self.submitted + len(self._rows) :]:
            row = event_row(self.id, event)
            self._rows_bytes += utf8_bytes(row.payload)
            self._rows.append(row)
        return self._rows_bytes

    def take_rows(self) -> list[EventRow]:
        """Return what the journal has not got yet, which it is now given.

        Raises:
            ValueError: As `waiting_bytes`.
        """
        self.size_bytes += self.waiting_bytes()
        rows, self._rows, self._rows_bytes = self._rows, [], 0
        self.submitted = len(self.events)
        return rows

    def context(self) -> Mapping[str, object]:
        """Return what expressions see now."""
        state = self.state
        return {"input": state.started.input, "steps": state.steps, "run": self._facts}

    def made_durable(self, count: int, state: RunState) -> None:
        """Note that the first `count` events, which lead to `state`, are durable."""
        self.durable = min(count, self.submitted)
        self._durable_state = state
        self.wake()

    def drop(self, fault: Fault) -> None:
        """Note that the run goes no further here: `fault` is what whoever waits is told."""
        self.dropped = fault
        self.wake()

    @property
    def started(self) -> RunStarted:
        """Return the run's first event."""
        return self.state.started

    @property
    def status(self) -> RunStatus:
        """Return the state that the run is durably in; only when `is_durable`."""
        assert self._durable_state is not None
        return self._durable_state.status

    @property
    def is_durable(self) -> bool:
        """Return whether the run is accepted: its first event is durable."""
        return self._durable_state is not None

    @property
    def has_ended(self) -> bool:
        """Return whether the run has durably ended."""
        return self._durable_state is not None and self._durable_state.status.is_final

    def run(self) -> Run:
        """Return the run as it durably stands; only when `is_durable`."""
        assert self._durable_state is not None
        return run_of(self.id, self._durable_state, self.events[self.durable - 1])

    def durable_events(self, after: int = 0) -> list[RunEvent]:
        """Return the durable events past the sequence `after`."""
        return self.events[after : self.durable]

    async def changed(self) -> None:
        """Return when something more is durable, or the run was dropped."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def accepted(self) -> None:
        """Return when the run is durable.

        Raises:
            Fault: If it never will be.
        """
        while not self.is_durable:
            await self._more()

    async def ended(self) -> None:
        """Return when the run has durably ended.

        Raises:
            Fault: If it goes no further here.
        """
        while not self.has_ended:
            await self._more()

    async def _more(self) -> None:
        if self.dropped is None:
            await self.changed()
        if self.dropped is not None:
            raise self.dropped

    def wake(self) -> None:
        """Have everybody who waits look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
