"""Work beside the server: started once it listens, ended after it has drained."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import structlog

log = structlog.get_logger()


class Background:
    """Tasks that live as long as the service; `when_broken` is called when one of them fails.

    A service without one of them is not to be trusted: one that follows no revocations, for example, takes
    revoked tokens. So it stops, and whoever runs it starts it again.
    """

    def __init__(self, when_broken: Callable[[], None]) -> None:
        self._when_broken = when_broken
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Do `work` beside everything else."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._report)
        self._tasks.append(task)

    async def close(self) -> None:
        """Cancel what still works and wait for its end; raises what the first of them failed of."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background.failed", exc_info=error)
            self._when_broken()
