"""Gates: who is at work on a table beside the writer, and who must have it to themselves.

Bulk work passes a table's gate with others; a migration, whose rows may not grow behind its back, alone.
Whoever asked first goes first, so that a migration is not put off for ever. Waiting holds no thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from chassis.faults import Aborted

ALONE_WAIT_S = 10.0
SHARED_WAIT_S = 60.0
RETRY_AFTER = timedelta(seconds=5)

Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False, kw_only=True)
class _Waiter:
    alone: bool
    admitted: asyncio.Future[None]


@dataclass(slots=True, kw_only=True)
class _Gate:
    """`inside` counts who shares; `taken` is true while one is alone. Never both."""

    inside: int = 0
    taken: bool = False
    waiting: deque[_Waiter] = field(default_factory=deque)


class Gates:
    """The gate of each table, by its id. The event loop's alone."""

    def __init__(
        self, *, alone_wait_s: float = ALONE_WAIT_S, shared_wait_s: float = SHARED_WAIT_S
    ) -> None:
        self._alone_wait_s = alone_wait_s
        self._shared_wait_s = shared_wait_s
        self._gates: dict[str, _Gate] = {}
        self._running: set[asyncio.Task[Any]] = set()

    async def enter(self, table_id: str) -> Callable[[], None]:
        """Pass the gate with others; return what to call, on the event loop, when the work has ended.

        Raises:
            Aborted: TABLE_BUSY if a migration takes longer than anybody waits.
        """
        await self._pass(table_id, alone=False, wait_s=self._shared_wait_s)

        def leave() -> None:
            self._gates[table_id].inside -= 1
            self._admit(table_id)

        return leave

    async def run_alone(self, table_id: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what `work` returns, which has the table without bulk work.

        It goes on if the caller is cancelled, and the table is its until it has ended.

        Raises:
            Aborted: TABLE_BUSY if bulk work takes longer than anybody waits.
            Fault: Whatever `work` raises.
        """
        task = asyncio.create_task(self._run_alone(table_id, work))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _run_alone(self, table_id: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
        await self._pass(table_id, alone=True, wait_s=self._alone_wait_s)
        try:
            return await work()
        finally:
            self._gates[table_id].taken = False
            self._admit(table_id)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Whoever waited has been told, or has gone.
            task.exception()

    async def _pass(self, table_id: str, *, alone: bool, wait_s: float) -> None:
        gate = self._gates.setdefault(table_id, _Gate())
        admitted = asyncio.get_running_loop().create_future()
        waiter = _Waiter(alone=alone, admitted=admitted)
        gate.waiting.append(waiter)
        self._admit(table_id)
        try:
            async with asyncio.timeout(wait_s):
                await admitted
        except BaseException as error:
            if admitted.done() and not admitted.cancelled():
                # Let in at the very moment when it gave up.
                gate.inside -= 0 if alone else 1
                gate.taken = gate.taken and not alone
            else:
                with suppress(ValueError):
                    gate.waiting.remove(waiter)
            self._admit(table_id)
            if isinstance(error, TimeoutError):
                raise _busy(alone=alone) from error
            raise

    def _admit(self, table_id: str) -> None:
        """Let in who waits and may, in order; forget a gate that nobody needs."""
        gate = self._gates.get(table_id)
        if gate is None:
            return
        while gate.waiting and not gate.taken:
            first = gate.waiting[0]
            if first.alone and gate.inside and not first.admitted.done():
                break
            gate.waiting.popleft()
            if first.admitted.done():
                # It was cancelled, and has not heard of it yet.
                continue
            gate.taken = first.alone
            gate.inside += 0 if first.alone else 1
            first.admitted.set_result(None)
        if not gate.inside and not gate.taken:
            del self._gates[table_id]


def _busy(*, alone: bool) -> Aborted:
    other = "an import" if alone else "a migration"
    return Aborted("TABLE_BUSY", f"{other} of the table is under way", retry_after=RETRY_AFTER)
