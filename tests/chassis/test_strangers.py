"""What somebody without a token cannot do to a service: fill its memory, its limits or its way to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import generate_latest

from chassis import access
from chassis.clock import SystemClock
from chassis.config import ServiceSettings
from chassis.interceptors.load import STANDARD_STREAMS_MAX
from chassis.revocations import Revocations
from chassis.server import RunningServer, Servicer, serve
from chassis.tokens import TokenVerifier
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from tests.support.tokens import TestKeys


class Settings(ServiceSettings):
    listen: str = "127.0.0.1:0"
    drain_timeout_s: float = 0.2
    concurrent_calls_max: int = 8


class Registers(auth_service_pb2_grpc.AuthServiceServicer):
    """Answers one method."""

    async def Register(
        self, request: auth_service_pb2.RegisterRequest, context: object
    ) -> auth_service_pb2.RegisterResponse:
        return auth_service_pb2.RegisterResponse()


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    clock = SystemClock()
    verifier = TokenVerifier(
        keys=TestKeys(), issuer="flux", clock=clock, revocations=Revocations(clock)
    )
    servicer = Servicer(
        name="flux.auth.v1.AuthService",
        implementation=Registers(),  # type: ignore[abstract]  # the rest is not called
        register=auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
    )
    async with serve(Settings(), servicers=[servicer], verifier=verifier, clock=clock) as running:
        await running.set_serving(True)
        yield running


@pytest.fixture
async def channel(server: RunningServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


async def _call(channel: grpc.aio.Channel, method: str) -> str:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    try:
        await call(b"", timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


@pytest.mark.parametrize(
    "prefix",
    ["/grpc.health.v1.Made", "/grpc.reflection.v1", "/flux.auth.v1.AuthService/Made", "/made."],
)
async def test_invented_methods_leave_nothing_behind(
    server: RunningServer, channel: grpc.aio.Channel, prefix: str
) -> None:
    before = access.access_of.cache_info().currsize
    for number in range(5):
        assert await _call(channel, f"{prefix}Up{number}/Call") == "UNIMPLEMENTED"
    text = generate_latest(server.registry).decode()
    assert "Up0" not in text
    assert 'flux_rpc_total{code="UNIMPLEMENTED",method="unknown"} 5.0' in text
    assert access.access_of.cache_info().currsize == before


async def test_watches_of_health_take_no_callers_place_and_have_a_limit_of_their_own(
    server: RunningServer, channel: grpc.aio.Channel
) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest()
    async with AsyncExitStack() as stack:
        # Two connections, for one carries no more streams than the server takes calls.
        for _ in range(STANDARD_STREAMS_MAX):
            other = await stack.enter_async_context(
                grpc.aio.insecure_channel(
                    server.address, options=[("grpc.use_local_subchannel_pool", 1)]
                )
            )
            watch = health_pb2_grpc.HealthStub(other).Watch(request)
            stack.callback(watch.cancel)
            await watch.read()
        assert await _call(channel, "/flux.auth.v1.AuthService/Register") == "INVALID_ARGUMENT"
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(request).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# HTTP/2 (RFC 9113): the preface, SETTINGS_INITIAL_WINDOW_SIZE = 0, and Health.Watch with an empty request.
_DEAF = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000006040000000000000400000000")


def _watch_request() -> bytes:
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Watch",
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )
    head = len(block).to_bytes(3, "big") + b"\x01\x04" + (1).to_bytes(4, "big")
    return head + block + bytes.fromhex("0000050001000000010000000000")


async def test_watcher_that_takes_nothing_cannot_keep_the_service_from_stopping() -> None:
    clock = SystemClock()
    verifier = TokenVerifier(
        keys=TestKeys(), issuer="flux", clock=clock, revocations=Revocations(clock)
    )
    async with asyncio.timeout(10):
        async with serve(Settings(), servicers=[], verifier=verifier, clock=clock) as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(_DEAF + _watch_request())
            await writer.drain()
            # Until the answer's headers are here, after which its message waits for a window.
            while b"application/grpc" not in await reader.read(4096):
                pass
        writer.close()
