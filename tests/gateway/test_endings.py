"""How calls end before their time: deadlines and cancellation, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest

from tests.gateway.door import Door, failure, open_door, reason
from tests.gateway.echo_contract import path
from tests.support.waiting import eventually

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Ends:
    """A behaviour that waits for ever and notes that it began and that it was cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.time_left_s: float | None = None

    async def wait(self, _request: object, context: Context) -> bytes:
        """Never answer."""
        self.time_left_s = context.time_remaining()
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""


async def within(event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await event.wait()


async def test_callers_deadline_is_the_backends(door: Door) -> None:
    ends = Ends()
    door.echo.behaviours["Say"] = ends.wait
    call = door.unary("Say")(b"", metadata=door.as_viewer(), timeout=7.0)
    await within(ends.began)
    assert ends.time_left_s is not None
    # gRPC writes timeouts with three digits, rounded up.
    assert 5.0 < ends.time_left_s <= 7.1
    call.cancel()


async def test_call_without_deadline_gets_the_default_one(tmp_path: Path) -> None:
    async with open_door(tmp_path, deadline_default_s=0.3) as door:
        ends = Ends()
        door.echo.behaviours["Say"] = ends.wait
        error = await failure(door.unary("Say")(b"", metadata=door.as_viewer()))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason(error) == "DEADLINE_PASSED"
        await within(ends.cancelled)


async def test_deadline_that_is_too_long_is_cut(tmp_path: Path) -> None:
    async with open_door(tmp_path, deadline_max_s=20.0) as door:
        ends = Ends()
        door.echo.behaviours["Say"] = ends.wait
        call = door.unary("Say")(b"", metadata=door.as_viewer(), timeout=9e3)
        await within(ends.began)
        assert ends.time_left_s is not None
        # gRPC writes timeouts with three digits, rounded up.
        assert ends.time_left_s <= 21.0
        call.cancel()


async def test_deadline_that_passes_ends_the_backends_call(door: Door) -> None:
    ends = Ends()
    door.echo.behaviours["Say"] = ends.wait
    error = await failure(door.unary("Say")(b"", metadata=door.as_viewer(), timeout=0.3))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await within(ends.cancelled)


@pytest.mark.parametrize("method", ["Say", "Tell", "Collect", "Chat"])
async def test_caller_who_cancels_cancels_the_backends_call(door: Door, method: str) -> None:
    ends = Ends()
    door.echo.behaviours[method] = ends.wait
    metadata = door.as_viewer()
    call: grpc.aio.Call
    match method:
        case "Say":
            call = door.unary(method)(b"", metadata=metadata)
        case "Tell":
            call = door.server_stream(method)(b"", metadata=metadata)
        case "Collect":
            call = door.client_stream(method)(metadata=metadata)
        case _:
            call = door.both_stream(method)(metadata=metadata)
    await within(ends.began)
    call.cancel()
    await within(ends.cancelled)


async def test_caller_whose_connection_breaks_cancels_the_backends_call(door: Door) -> None:
    ends = Ends()
    door.echo.behaviours["Tell"] = ends.wait
    other = grpc.aio.insecure_channel(
        door.running.address, options=[("grpc.use_local_subchannel_pool", 1)]
    )
    tell: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = other.unary_stream(path("Tell"))
    call = tell(b"", metadata=door.as_viewer())
    await within(ends.began)
    await other.close()
    await within(ends.cancelled)
    assert call.done()


@pytest.mark.parametrize("method", ["Collect", "Chat"])
async def test_broken_upload_never_looks_like_a_whole_one(door: Door, method: str) -> None:
    arrived = 0
    taken_for_whole: list[int] = []

    async def collect(requests: AsyncIterator[bytes], context: Context) -> bytes:
        nonlocal arrived
        count = 0
        async for _message in requests:
            count += 1
            arrived += 1
        # Succeeds on a call that is alone; the backend's own end of stream tells as little as ours.
        await context.send_initial_metadata(())
        taken_for_whole.append(count)
        return b"done"

    async def chat(requests: AsyncIterator[bytes], context: Context) -> None:
        await collect(requests, context)

    door.echo.behaviours[method] = collect if method == "Collect" else chat
    shape = door.client_stream if method == "Collect" else door.both_stream
    for turn in range(1, 31):
        call = shape(method)(metadata=door.as_viewer())
        await call.write(b"half")

        async def here(turn: int = turn) -> bool:
            return arrived == turn

        await eventually(here, every_s=0.002)
        call.cancel()
    # A whole one, so that everything before it has been dealt with.
    call = shape(method)(metadata=door.as_viewer())
    await call.write(b"all")
    await call.write(b"of it")
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK
    assert taken_for_whole == [2]


async def test_backend_that_ends_early_ends_the_callers_upload(door: Door) -> None:
    async def enough(requests: AsyncIterator[bytes], context: Context) -> bytes:
        await anext(aiter(requests))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first is bad already")

    door.echo.behaviours["Collect"] = enough
    call = door.client_stream("Collect")(metadata=door.as_viewer())
    await call.write(b"1")
    async with asyncio.timeout(10):
        error = await failure(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_backend_that_answers_early_ends_the_call_well(door: Door) -> None:
    async def first_only(requests: AsyncIterator[bytes], context: Context) -> None:
        await context.write(await anext(aiter(requests)))

    door.echo.behaviours["Chat"] = first_only
    call = door.both_stream("Chat")(metadata=door.as_viewer())
    await call.write(b"1")
    assert await call.read() == b"1"
    async with asyncio.timeout(10):
        assert await call.read() is grpc.aio.EOF


async def test_stream_ends_at_the_longest_time_a_stream_may_take(tmp_path: Path) -> None:
    async with open_door(tmp_path, stream_deadline_max_s=0.3) as door:
        ends = Ends()
        door.echo.behaviours["Tell"] = ends.wait
        call = door.server_stream("Tell")(b"", metadata=door.as_viewer())
        error = await failure(call.read())
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await within(ends.cancelled)
