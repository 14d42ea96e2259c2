"""table_service as a process, for tests that are no coroutines, killed in the middle of calls."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc

from tests.support.crashes import ServiceProcess, Site, crash_site
from tests.support.faults import Plan
from tests.table_service.serving import Client


class KilledService:
    """One service on a folder of its own, and two people who call it: usr_1 and usr_2."""

    def __init__(self) -> None:
        self.started = False
        self._runner = asyncio.Runner()
        self._folder = Path(tempfile.mkdtemp(prefix="flux-killed-"))
        self._site_stack, self._run_stack = AsyncExitStack(), AsyncExitStack()
        self._site: Site
        self._running: ServiceProcess
        self._one: Client
        self._two: Client

    def start(self) -> None:
        """Start it for the first time."""

        async def start() -> None:
            self._site = await self._site_stack.enter_async_context(crash_site(self._folder))
            await self._open()

        self._runner.run(start())
        self.started = True

    def close(self) -> None:
        """Stop it in order, and remove its folder."""

        async def close() -> None:
            await self._run_stack.aclose()
            await self._site_stack.aclose()

        self._runner.run(close())
        self._runner.close()
        shutil.rmtree(self._folder)

    def crash(self) -> None:
        """Kill it, and start it again."""
        self._runner.run(self._reopen())

    def call(self, method: str, request: Any, *, other: bool = False) -> Any:
        """Call a method as usr_1, or as the other."""
        return self._runner.run(self._call(method, request, other=other))

    def values(self, sql: str) -> list[Any]:
        """Return the rows of a query."""
        return self._runner.run(self._one.values(sql))

    def attempt(
        self, method: str, request: Any, kill: int | None
    ) -> tuple[Any, grpc.StatusCode | None]:
        """Return the answer, or the code of the refusal.

        With `kill` the process is killed before the so-manieth statement of the call that changes the file,
        started again, and asked again.
        """
        return self._runner.run(self._attempt(method, request, kill))

    async def _attempt(
        self, method: str, request: Any, kill: int | None
    ) -> tuple[Any, grpc.StatusCode | None]:
        if kill is not None:
            await self._running.follow(Plan(at=kill))
        found = await self._answer(method, request)
        if kill is not None:
            try:
                # It may have had fewer statements, and live.
                await self._running.follow(Plan())
            except (AssertionError, OSError):
                await self._reopen()
                if found[1] is grpc.StatusCode.UNAVAILABLE:
                    found = await self._answer(method, request)
        return found

    async def _answer(self, method: str, request: Any) -> tuple[Any, grpc.StatusCode | None]:
        try:
            return await self._call(method, request), None
        except grpc.aio.AioRpcError as error:
            return None, error.code()

    async def _call(self, method: str, request: Any, *, other: bool = False) -> Any:
        client = self._two if other else self._one
        stub = next(s for s in (client.rows, client.tables, client.queries) if hasattr(s, method))
        return await client.call(getattr(stub, method), request, timeout=60)

    async def _open(self) -> None:
        self._running = await self._run_stack.enter_async_context(
            self._site.service(self._folder / "service")
        )
        self._one, self._two = self._running.client(), self._running.client("usr_2")

    async def _reopen(self) -> None:
        self._running.kill()
        assert await self._running.ended() == -9
        await self._run_stack.aclose()
        self._run_stack = AsyncExitStack()
        await self._open()
