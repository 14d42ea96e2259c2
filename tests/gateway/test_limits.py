"""What the gateway refuses because it is too much."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeAlias

import grpc

from tests.gateway.door import Door, failure, open_door, reason, retry_after_s

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

LIMIT = 64 * 1024


class Gate:
    """A behaviour that holds calls until it is opened."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.full = asyncio.Event()
        self.open = asyncio.Event()

    async def hold(self, request: bytes, _context: object) -> bytes:
        """Answer when opened."""
        self._left -= 1
        if self._left == 0:
            self.full.set()
        await self.open.wait()
        return request


async def test_message_too_large_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with open_door(tmp_path, message_bytes_max=LIMIT) as door:
        say = door.unary("Say")
        assert len(await say(b"x" * LIMIT, metadata=door.as_viewer())) == LIMIT
        error = await failure(say(b"x" * (LIMIT + 1), metadata=door.as_viewer()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason(error) == "MESSAGE_TOO_LARGE"


async def test_message_far_too_large_is_refused_by_the_connection(tmp_path: Path) -> None:
    async with open_door(tmp_path, message_bytes_max=LIMIT) as door:
        say = door.unary("Say")
        error = await failure(say(b"x" * (LIMIT * 3), metadata=door.as_viewer()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_message_of_a_stream_too_large_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with open_door(tmp_path, message_bytes_max=LIMIT) as door:

        async def drain(requests: object, context: Context) -> bytes:
            while isinstance(await context.read(), bytes):
                pass
            return b""

        door.echo.behaviours["Collect"] = drain
        call = door.client_stream("Collect")(metadata=door.as_viewer())
        await call.write(b"small")
        await call.write(b"x" * (LIMIT + 1))
        error = await failure(call)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason(error) == "MESSAGE_TOO_LARGE"


async def test_answer_too_large_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with open_door(tmp_path, message_bytes_max=LIMIT) as door:

        async def grow(_request: bytes, _context: object) -> bytes:
            return b"x" * (LIMIT + 1)

        door.echo.behaviours["Say"] = grow
        error = await failure(door.unary("Say")(b"", metadata=door.as_viewer()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason(error) == "MESSAGE_TOO_LARGE"


async def test_calls_past_the_common_limit_are_told_to_wait(tmp_path: Path) -> None:
    async with open_door(tmp_path, concurrent_calls_max=4) as door:
        await _fill_up(door, 4, door.auth.token(sub="usr_else"))


async def test_calls_past_ones_own_share_are_told_to_wait(tmp_path: Path) -> None:
    async with open_door(tmp_path, caller_calls_max=3) as door:
        await _fill_up(door, 3, door.auth.token())


async def test_one_callers_share_is_not_anothers(tmp_path: Path) -> None:
    async with open_door(tmp_path, caller_calls_max=1) as door:
        gate = Gate(1)
        door.echo.behaviours["Say"] = gate.hold
        say, edit = (door.unary(name) for name in ("Say", "Known"))
        held = asyncio.ensure_future(_wait(say(b"1", metadata=door.as_viewer())))
        await gate.full.wait()
        other = (("authorization", f"Bearer {door.auth.token(sub='usr_2')}"),)
        assert await edit(b"2", metadata=other) == b"2"
        gate.open.set()
        assert await held == b"1"


async def _fill_up(door: Door, count: int, token: str) -> None:
    """Have `count` calls held, see the next one of `token` refused, and all answered afterwards."""
    gate = Gate(count)
    door.echo.behaviours["Say"] = gate.hold
    say = door.unary("Say")
    held = [
        asyncio.ensure_future(_wait(say(b"x", metadata=door.as_viewer()))) for _ in range(count)
    ]
    async with asyncio.timeout(10):
        await gate.full.wait()
    error = await failure(say(b"x", metadata=(("authorization", f"Bearer {token}"),)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(error) == "QUEUE_FULL"
    assert retry_after_s(error) > 0
    gate.open.set()
    assert await asyncio.gather(*held) == [b"x"] * count
    assert await say(b"y", metadata=door.as_viewer()) == b"y"


async def _wait(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> bytes:
    return await call
