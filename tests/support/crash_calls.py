"""Calls whose outcome is noted, so that they can be made again after a crash: same request, one effect."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from tests.table_service.serving import Client, new_request_id, reason


@dataclass(slots=True, kw_only=True)
class Call:
    """One unary call with a request_id of its own; `answer` or `refused` once either is known.

    `service` is the attribute of the client, such as "rows".
    """

    service: str
    method: str
    request: Any
    answer: Any = None
    refused: str = ""

    def __post_init__(self) -> None:
        self.request.request_id = self.request.request_id or new_request_id()

    @property
    def acknowledged(self) -> bool:
        """Return whether the caller knows that it was done."""
        return self.answer is not None

    async def make(self, client: Client) -> None:
        """Make the call and note its outcome; that nobody answered, or writes, is none."""
        method = getattr(getattr(client, self.service), self.method)
        try:
            self.answer = await client.call(method, self.request, timeout=60)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                self.refused = reason(error)
        except asyncio.CancelledError:
            # The call's, whose channel was closed after a kill; not that of whoever makes it.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise

    async def make_again(self, client: Client) -> None:
        """Retry after a crash.

        Raises:
            AssertionError: If it is answered otherwise than before.
        """
        first, refused = self.answer, self.refused
        self.answer, self.refused = None, ""
        await self.make(client)
        assert self.acknowledged or self.refused, f"{self.method} was not answered"
        assert first is None or self.answer == first, (first, self.answer, self.refused)
        assert not refused or self.refused == refused, (refused, self.answer, self.refused)


async def make_together(client: Client, calls: Sequence[Call]) -> list[asyncio.Task[None]]:
    """Send calls one after another and return when the service has them, though none may be answered yet."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.create_task(call.make(client)))
        # What came later over one connection is answered, so that what came before is in the queue.
        for _ in range(4):
            await client.values("SELECT 1")
    return tasks
