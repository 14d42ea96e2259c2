"""Reading runs, active ones from memory and ended ones from the store, as far as the caller may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from heapq import nlargest

from chassis.faults import FailedPrecondition, NotFound, OutOfRange, Unavailable
from chassis.identity import Principal, Role
from workflow_service.active_run import ActiveRun
from workflow_service.engine import Engine
from workflow_service.events import RunEvent
from workflow_service.payloads import encode, utf8_bytes
from workflow_service.run_state import RunStatus
from workflow_service.run_store import RunStore
from workflow_service.runs import Run, run_ended

# A page of runs with large inputs and outputs, as JSON text, ends early, so that it fits into one message.
PAGE_BYTES_MAX = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a watcher sees: an event, or the run when it has ended, or, with neither, a sign of life.

    `sequence` is the last event seen up to now.
    """

    sequence: int
    event: RunEvent | None = None
    run: Run | None = None


class RunReader:
    """Owners see their own runs, admins all of them; to anybody else a run does not exist."""

    def __init__(self, *, engine: Engine, store: RunStore, heartbeat_s: float) -> None:
        self._engine = engine
        self._store = store
        self._heartbeat_s = heartbeat_s
        self._closing = False

    async def find(self, caller: Principal, run_id: str) -> ActiveRun | Run:
        """Return a run.

        Raises:
            NotFound: RUN_NOT_FOUND if there is none, or none for this caller.
        """
        found = self._engine.find(run_id) or await self._store.ended(run_id)
        # It may have been accepted before, and have ended after, the store was asked.
        found = found or self._engine.find(run_id)
        if found is not None:
            owner = found.owner if isinstance(found, Run) else found.started.owner
            if owner == caller.subject or caller.holds(Role.ADMIN):
                return found
        raise NotFound("RUN_NOT_FOUND", f"no run {run_id!r}", run=run_id)

    async def events(self, run: ActiveRun | Run, after: int = 0) -> AsyncIterator[RunEvent]:
        """Yield what has durably happened in a run past the sequence `after`."""
        if isinstance(run, ActiveRun):
            for event in run.durable_events(after):
                yield event
        else:
            async for event in self._store.events(run.id, after):
                yield event

    async def page(
        self,
        caller: Principal,
        *,
        workflow: str,
        statuses: Sequence[RunStatus],
        before: str,
        limit: int,
    ) -> tuple[list[Run], bool]:
        """Return runs from below the id `before`, latest first, and whether there are more.

        They are `limit` at the most, and fewer where they are large.
        """
        owner = "" if caller.holds(Role.ADMIN) else caller.subject
        # Memory is looked at first: a run that ends meanwhile is in both, never in neither.
        active = [
            run
            for run in self._engine.active()
            if (not before or run.id < before)
            and (not owner or run.started.owner == owner)
            and (not workflow or run.started.workflow == workflow)
            and (not statuses or run.status in statuses)
        ]
        # Only as many as a page can show: there may be a hundred thousand.
        wanted = nlargest(limit + 1, active, key=lambda run: run.id)
        runs = {run.id: run.run() for run in wanted}
        final = [status for status in statuses if status.is_final]
        lowest = ""
        if final or not statuses:
            ended, are_more = await self._store.ended_page(
                owner=owner, workflow=workflow, statuses=final, before=before, limit=limit + 1
            )
            runs.update((run.id, run) for run in ended)
            # What is below the last of them is not known.
            lowest = ended[-1].id if are_more else ""
        latest = [runs[run_id] for run_id in sorted(runs, reverse=True) if run_id >= lowest]
        shown = _fitting(latest[:limit])
        return shown, len(shown) < len(latest) or bool(lowest)

    async def cancel(self, caller: Principal, run_id: str) -> Run:
        """Ask a run to stop and return it once the wish is durable.

        Raises:
            NotFound: RUN_NOT_FOUND.
            FailedPrecondition: RUN_ENDED if it has ended otherwise.
        """
        found = await self.find(caller, run_id)
        if isinstance(found, Run):
            return _cancelled(found)
        try:
            self._engine.cancel(found, caller.subject)
        except FailedPrecondition:
            # What it ended with may not be told before it is durable.
            await found.ended()
            raise
        asked = len(found.events)
        while found.durable < asked and found.dropped is None:
            await found.changed()
        if found.dropped is not None:
            raise found.dropped
        return found.run()

    async def watch(self, caller: Principal, run_id: str, cursor: str) -> AsyncIterator[Sighting]:
        """Yield what happens in a run from just after `cursor` until it has ended.

        Raises:
            NotFound: RUN_NOT_FOUND.
            OutOfRange: CURSOR_INVALID.
        """
        found = await self.find(caller, run_id)
        seen = _sequence(cursor, run_id)
        if isinstance(found, ActiveRun):
            if seen > found.durable:
                raise _invalid_cursor(run_id)
            async for sighting in self._follow(found, seen):
                yield sighting
            return
        async for sighting in self._history(found, seen):
            yield sighting

    async def _history(self, run: Run, seen: int) -> AsyncIterator[Sighting]:
        # Read from the event before: without it there never was such a cursor.
        events = self._store.events(run.id, max(seen - 1, 0))
        if seen and await anext(events, None) is None:
            raise _invalid_cursor(run.id)
        async for event in events:
            seen = event.sequence
            yield Sighting(sequence=seen, event=event)
        yield Sighting(sequence=seen, run=run)

    async def _follow(self, run: ActiveRun, seen: int) -> AsyncIterator[Sighting]:
        # Ends with the run, or when the service closes.
        while True:
            for event in run.durable_events(seen):
                seen = event.sequence
                yield Sighting(sequence=seen, event=event)
            if run.has_ended and seen == run.durable:
                yield Sighting(sequence=seen, run=run.run())
                return
            if run.dropped is not None:
                raise run.dropped
            if self._closing:
                raise Unavailable("NOT_SERVING", "the service is shutting down")
            if seen == run.durable:
                try:
                    async with asyncio.timeout(self._heartbeat_s):
                        await run.changed()
                except TimeoutError:
                    yield Sighting(sequence=seen)

    def close(self) -> None:
        """End every watch: a server that drains would wait for them."""
        self._closing = True
        for run in self._engine.active():
            run.wake()


def _fitting(runs: Sequence[Run]) -> list[Run]:
    """Return as many of the first runs as fit into one answer, at least one of any."""
    size = 0
    for count, run in enumerate(runs):
        size += utf8_bytes(encode(run.input)) + utf8_bytes(encode(run.output))
        if size > PAGE_BYTES_MAX and count:
            return list(runs[:count])
    return list(runs)


def _cancelled(run: Run) -> Run:
    if run.status is not RunStatus.CANCELLED:
        raise run_ended(run.id, run.status)
    return run


def _sequence(cursor: str, run_id: str) -> int:
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise _invalid_cursor(run_id)
    return int(cursor)


def _invalid_cursor(run_id: str) -> OutOfRange:
    return OutOfRange("CURSOR_INVALID", "cursor does not belong to this run", run=run_id)
