"""A real HTTP server for steps to call, which answers when and what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class Endpoint:
    """Notes the idempotency key of every call; answers with `statuses` in order, then with 200.

    While `gate` is clear, calls wait.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.statuses: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        self.keys.append(request.headers["Idempotency-Key"])
        self.called.set()
        await self.gate.wait()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, text="ok")


@asynccontextmanager
async def open_endpoint() -> AsyncIterator[Endpoint]:
    """Serve an endpoint on a free port of this machine."""
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", endpoint.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield endpoint
    finally:
        endpoint.gate.set()
        await runner.cleanup()
