"""Taking the runs up where the last engine left them: read the journal, replay it, go on."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from chassis.clock import Clock
from chassis.faults import FailedPrecondition, NotFound
from workflow_service.active_run import ActiveRun
from workflow_service.events import RunStarted
from workflow_service.journal_events import EventRow, JournalDamaged, event_of
from workflow_service.requests import LIFETIME, StartRequests
from workflow_service.run_state import IllegalEvent
from workflow_service.run_store import RunStore
from workflow_service.workflows import Workflows

log = structlog.get_logger()


async def unfinished_runs(store: RunStore, workflows: Workflows) -> list[ActiveRun]:
    """Return the runs that have not ended, each in the state that its events lead to.

    A run that cannot be replayed is logged and left as it is: it must not keep the others from going on.

    Raises:
        Fault: If table_service cannot answer; calling again is safe.
    """
    runs: list[ActiveRun] = []
    rows: list[EventRow] = []
    async for row in store.unfinished():
        if rows and row.run_id != rows[0].run_id:
            runs.extend(await _replayed(rows, workflows))
            rows = []
        rows.append(row)
    if rows:
        runs.extend(await _replayed(rows, workflows))
    return runs


async def _replayed(rows: Sequence[EventRow], workflows: Workflows) -> list[ActiveRun]:
    """Return the run that `rows` are the events of, or nothing if there can be no such run."""
    run_id = rows[0].run_id
    try:
        started = event_of(rows[0])
        if not isinstance(started, RunStarted):
            raise JournalDamaged(f"run {run_id!r} begins with {rows[0].kind}")
        version = await workflows.get(started.workflow, started.version)
        run = ActiveRun(run_id, version.definition, started)
        for row in rows[1:]:
            run.record(event_of(row))
    except (JournalDamaged, IllegalEvent, NotFound, FailedPrecondition) as error:
        log.error("run.unrecoverable", run=run_id, error=str(error))  # noqa: TRY400  # no bug here
        return []
    return [run]


async def restore_requests(store: RunStore, requests: StartRequests, clock: Clock) -> None:
    """Remember again what was started under request ids in the last day.

    Raises:
        Fault: If table_service cannot answer; calling again is safe.
    """
    async for run_id, started in store.started_by_request(clock.now() - LIFETIME):
        request = started.request
        if request is not None:
            requests.restore(
                started.owner, request.id, request.digest, started.time, request.index, run_id
            )
