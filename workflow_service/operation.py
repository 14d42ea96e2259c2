"""The engine's life: take the epoch, take up the runs, write the journal, and stop when fenced."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import structlog

from chassis.clock import Clock
from chassis.faults import Fault, Unavailable
from chassis.server import RunningServer
from chassis.tables import RowVersion
from workflow_service.engine import Engine
from workflow_service.journal import EngineFenced, Journal
from workflow_service.recovery import restore_requests, unfinished_runs
from workflow_service.requests import StartRequests
from workflow_service.run_reader import RunReader
from workflow_service.run_store import RunStore
from workflow_service.workflows import Workflows

log = structlog.get_logger()

Answer = TypeVar("Answer")

# How often an engine looks whether another has taken over.
GUARD_S = 2.0
_RETRY_FIRST_S = 0.1
_RETRY_MOST_S = 2.0


class Operation:
    """Runs one engine from start to end."""

    def __init__(
        self,
        *,
        store: RunStore,
        workflows: Workflows,
        journal: Journal,
        engine: Engine,
        reader: RunReader,
        requests: StartRequests,
        clock: Clock,
    ) -> None:
        self._store = store
        self._workflows = workflows
        self._journal = journal
        self._engine = engine
        self._reader = reader
        self._requests = requests
        self._clock = clock

    async def run(
        self,
        holder: str,
        *,
        ready: asyncio.Event,
        others: asyncio.Event,
        running: RunningServer,
    ) -> None:
        """Operate until cancelled; `ready` is set and health says so once `others` are there too.

        Raises:
            EngineFenced: If another engine has taken over.
        """
        await self._workflows.prepare()
        await self._store.prepare()
        epoch = await _patiently(lambda: self._store.take_epoch(holder))
        # Whatever an earlier engine had under way is in the journal now, or never will be.
        runs = await _patiently(lambda: unfinished_runs(self._store, self._workflows))
        await _patiently(lambda: restore_requests(self._store, self._requests, self._clock))
        self._engine.recover(runs)
        log.info("engine.started", version=epoch.version, recovered=len(runs))
        opening = asyncio.create_task(_open(ready, others, running))
        try:
            await self._until_fenced(epoch)
        except EngineFenced:
            ready.clear()
            self._engine.stop(Unavailable("ENGINE_FENCED", "a newer engine has taken over"))
            self._reader.close()
            await running.set_serving(False)
            raise
        finally:
            opening.cancel()

    async def _until_fenced(self, epoch: RowVersion) -> None:
        """Write the journal until cancelled, and look whether the epoch still stands when nothing is written.

        Raises:
            EngineFenced: If it does not.
        """
        work = [
            asyncio.create_task(self._journal.run(epoch)),
            asyncio.create_task(self._guard(epoch)),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _guard(self, epoch: RowVersion) -> None:
        # Ends when another engine has taken over, or by cancellation when this service stops. An engine with
        # nothing to append would go on answering from what it remembers.
        while True:
            await asyncio.sleep(GUARD_S)
            try:
                if not await self._store.holds(epoch):
                    raise EngineFenced("a newer engine has taken over")
            except (Fault, grpc.aio.AioRpcError) as error:
                log.info("engine.waiting", error=str(error))


async def _open(ready: asyncio.Event, others: asyncio.Event, running: RunningServer) -> None:
    await others.wait()
    ready.set()
    await running.set_serving(True)


async def _patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return the answer of a neighbour that may not be there yet."""
    wait_s = _RETRY_FIRST_S
    # Ends with the answer, or by cancellation when this service stops.
    while True:
        try:
            return await ask()
        except (Fault, grpc.aio.AioRpcError) as error:
            log.info("engine.waiting", error=str(error))
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, _RETRY_MOST_S)
