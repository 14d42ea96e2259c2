"""What crosses the gateway, in each of the four shapes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
import pytest

from chassis.faults import FieldViolation, InvalidArgument
from chassis.status import DETAILS_KEY, status_of, to_status
from tests.gateway.door import Door, failure, reason
from tests.gateway.echo_contract import word

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
SHAPES = ("Say", "Tell", "Collect", "Chat")


async def _requests(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


def start(door: Door, method: str, metadata: Any, timeout: float | None = None) -> Any:
    """Start a call with one message, in the shape of the method."""
    match method:
        case "Tell":
            return door.server_stream(method)(word("a"), metadata=metadata, timeout=timeout)
        case "Collect":
            return door.client_stream(method)(
                _requests(word("a")), metadata=metadata, timeout=timeout
            )
        case "Chat":
            return door.both_stream(method)(
                _requests(word("a")), metadata=metadata, timeout=timeout
            )
        case _:
            return door.unary(method)(word("a"), metadata=metadata, timeout=timeout)


async def finish(call: Any) -> list[bytes]:
    """Return all that the call answers, whatever its shape."""
    if hasattr(call, "__aiter__"):
        return [message async for message in call]
    return [await call]


def shaped(method: str, behaviour: Any) -> Any:
    """Return a behaviour for the method's shape that runs `behaviour(context)` for its one answer."""

    async def unary(_request: object, context: Context) -> bytes:
        answer: bytes = await behaviour(context)
        return answer

    async def stream(_request: object, context: Context) -> None:
        await context.write(await behaviour(context))

    return stream if method in ("Tell", "Chat") else unary


async def test_unary_call_carries_bytes_both_ways_unread(door: Door) -> None:
    not_a_message = b"\xff\x00 no protobuf at all"
    answer = await door.unary("Say")(not_a_message, metadata=door.as_viewer())
    assert answer == not_a_message


async def test_server_stream_arrives_whole_and_in_order(door: Door) -> None:
    async def count(_request: bytes, context: Context) -> None:
        for number in range(500):
            await context.write(str(number).encode())

    door.echo.behaviours["Tell"] = count
    call = door.server_stream("Tell")(b"", metadata=door.as_viewer())
    assert [int(message) async for message in call] == list(range(500))


async def test_client_stream_arrives_whole_and_in_order(door: Door) -> None:
    async def join(requests: AsyncIterator[bytes], _context: Context) -> bytes:
        return b",".join([message async for message in requests])

    door.echo.behaviours["Collect"] = join
    messages = [str(number).encode() for number in range(500)]
    call = door.client_stream("Collect")(_requests(*messages), metadata=door.as_viewer())
    assert await call == b",".join(messages)


async def test_both_sides_of_a_stream_take_turns(door: Door) -> None:
    async def answer_each(requests: AsyncIterator[bytes], context: Context) -> None:
        async for message in requests:
            await context.write(message + b"!")

    door.echo.behaviours["Chat"] = answer_each
    call = door.both_stream("Chat")(metadata=door.as_viewer())
    for number in range(50):
        await call.write(str(number).encode())
        assert await call.read() == f"{number}!".encode()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_stream_without_messages_is_an_empty_stream(door: Door) -> None:
    async def nothing(_request: object, _context: Context) -> None:
        return None

    door.echo.behaviours["Tell"] = nothing
    call = door.server_stream("Tell")(b"", metadata=door.as_viewer())
    assert [message async for message in call] == []
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("method", SHAPES)
async def test_metadata_crosses_but_for_what_belongs_to_one_hop(door: Door, method: str) -> None:
    seen: list[tuple[str, Any]] = []

    async def look(context: Context) -> bytes:
        seen.extend(context.invocation_metadata() or ())
        return b"ok"

    door.echo.behaviours[method] = shaped(method, look)
    token = door.auth.token()
    sent = (
        ("authorization", f"Bearer {token}"),
        ("x-colour", "red"),
        ("x-colour", "blue"),
        ("x-raw-bin", b"\x00\xff"),
        ("x-request-id", "mine-1"),
        ("x-forwarded-for", "203.0.113.9"),
    )
    await finish(start(door, method, sent))
    got = [(key, value) for key, value in seen if key.startswith(("x-", "auth"))]
    assert sorted(got) == sorted(
        [*sent[:-1], ("x-forwarded-for", "203.0.113.9, 127.0.0.1")],
    )
    assert not [key for key, _ in seen if key.startswith("grpc-") and key != "grpc-accept-encoding"]


async def test_request_id_that_is_malformed_is_replaced(door: Door) -> None:
    seen: dict[str, Any] = {}

    async def look(request: bytes, context: Context) -> bytes:
        seen.update(context.invocation_metadata() or ())
        return request

    door.echo.behaviours["Say"] = look
    bad = ("x-request-id", "no spaces, please")
    await door.unary("Say")(b"", metadata=door.as_viewer(bad))
    assert seen["x-request-id"] != bad[1]
    assert len(seen["x-request-id"]) == 16
    assert seen["traceparent"].startswith("00-")


@pytest.mark.parametrize("method", SHAPES)
async def test_initial_and_trailing_metadata_come_back(door: Door, method: str) -> None:
    async def tell(context: Context) -> bytes:
        await context.send_initial_metadata((("x-first", "1"), ("x-first-bin", b"\x01")))
        context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", b"\x02")))
        return b"ok"

    door.echo.behaviours[method] = shaped(method, tell)
    call = start(door, method, door.as_viewer())
    assert await finish(call) == [b"ok"]
    first, last = dict(await call.initial_metadata()), dict(await call.trailing_metadata())
    # A client stream's end may have to be proved before the backend's first metadata is there.
    assert {**last, **first}.items() >= {("x-first", "1"), ("x-first-bin", b"\x01")}
    assert last.items() >= {("x-last", "2"), ("x-last-bin", b"\x02")}
    if method in ("Say", "Tell"):
        assert "x-first" in first


async def test_initial_metadata_that_meets_the_answer_is_sent_once(door: Door) -> None:
    async def tell(context: Context) -> bytes:
        await context.send_initial_metadata((("x-first", "1"),))
        return b"ok"

    door.echo.behaviours["Collect"] = shaped("Collect", tell)
    # The backend answers while the end of the stream is still being handed on; one call in some hundreds
    # met it at the wrong moment, and had no end.
    for _ in range(60):
        calls = [start(door, "Collect", door.as_viewer(), timeout=30) for _ in range(20)]
        assert await asyncio.gather(*map(finish, calls)) == [[b"ok"]] * 20


async def test_initial_metadata_arrives_before_the_first_message(door: Door) -> None:
    go_on = asyncio.Event()

    async def wait(_request: bytes, context: Context) -> None:
        await context.send_initial_metadata((("x-first", "1"),))
        await go_on.wait()
        await context.write(b"ok")

    door.echo.behaviours["Tell"] = wait
    call = door.server_stream("Tell")(b"", metadata=door.as_viewer())
    async with asyncio.timeout(10):
        assert dict(await call.initial_metadata())["x-first"] == "1"
    go_on.set()
    assert await call.read() == b"ok"


@pytest.mark.parametrize("method", SHAPES)
async def test_status_comes_back_word_for_word_with_its_details(door: Door, method: str) -> None:
    fault = InvalidArgument(
        "FIELDS_INVALID",
        "name: too long — ä",
        violations=(FieldViolation(field="name", description="too long"),),
    )
    status = to_status(fault)

    async def refuse(context: Context) -> bytes:
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT,
            status.message,
            ((DETAILS_KEY, status.SerializeToString()), ("x-hint", "shorter")),
        )

    door.echo.behaviours[method] = shaped(method, refuse)
    error = await failure(finish(start(door, method, door.as_viewer())))
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, status.message)
    assert status_of(error) == status
    assert dict(error.trailing_metadata())["x-hint"] == "shorter"


async def test_failure_after_messages_comes_after_them(door: Door) -> None:
    async def break_off(_request: bytes, context: Context) -> None:
        await context.write(b"1")
        await context.write(b"2")
        await context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    door.echo.behaviours["Tell"] = break_off
    call = door.server_stream("Tell")(b"", metadata=door.as_viewer())
    assert [await call.read(), await call.read()] == [b"1", b"2"]
    error = await failure(call.read())
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "gone")


async def test_bug_of_a_backend_stays_the_backends_words(door: Door) -> None:
    async def fail(_request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.INTERNAL, "internal error; the log has it")

    door.echo.behaviours["Say"] = fail
    error = await failure(door.unary("Say")(b"", metadata=door.as_viewer()))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.INTERNAL,
        "internal error; the log has it",
    )
    assert reason(error) == ""


async def test_slow_reader_slows_the_backend_down(door: Door) -> None:
    piece, written, full = b"x" * 64 * 1024, 0, asyncio.Event()

    async def pour(_request: bytes, context: Context) -> None:
        nonlocal written
        for _ in range(1000):
            writing = asyncio.ensure_future(context.write(piece))
            done, _pending = await asyncio.wait({writing}, timeout=1.0)
            if not done:
                full.set()
            await writing
            written += 1

    door.echo.behaviours["Tell"] = pour
    call = door.server_stream("Tell")(b"", metadata=door.as_viewer())
    assert await call.read() == piece
    async with asyncio.timeout(20):
        await full.wait()
    # What lies in between is windows and buffers of sockets, not the stream's 64 MiB.
    assert written < 500
    call.cancel()
