"""A real server on a real port, with everything the chassis puts around a servicer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from chassis.client import Peer, connect
from chassis.clock import SystemClock
from chassis.config import ServiceSettings
from chassis.faults import Fault, FieldViolation, NotFound, ResourceExhausted
from chassis.identity import current_principal
from chassis.revocations import Revocations
from chassis.server import RunningServer, Servicer, serve
from chassis.status import DETAILS_KEY, status_of
from chassis.tokens import TokenVerifier
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from tests.support.fixed_token import FixedToken
from tests.support.tokens import TestKeys


class Answers(auth_service_pb2_grpc.AuthServiceServicer):
    """Behaves well or badly, as each test needs."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def Register(self, request: Any, context: Any) -> auth_service_pb2.RegisterResponse:
        if request.username == "bug":
            raise KeyError("a secret detail")
        if request.username == "many":
            raise NotFound(
                "USER_NOT_FOUND",
                "many things are wrong",
                violations=tuple(
                    FieldViolation(field=f"f[{n}]", description="x" * 100) for n in range(1000)
                ),
            )
        answer = auth_service_pb2.RegisterResponse()
        answer.user.username = request.username
        return answer

    async def GetCurrentUser(
        self, request: Any, context: Any
    ) -> auth_service_pb2.GetCurrentUserResponse:
        answer = auth_service_pb2.GetCurrentUserResponse()
        answer.user.id = current_principal().subject
        return answer

    async def Logout(self, request: Any, context: Any) -> auth_service_pb2.LogoutResponse:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return auth_service_pb2.LogoutResponse()

    async def WatchRevocations(
        self, request: Any, context: Any
    ) -> AsyncIterator[auth_service_pb2.WatchRevocationsResponse]:
        yield auth_service_pb2.WatchRevocationsResponse()
        raise ResourceExhausted("QUEUE_FULL", "enough", retry_after=timedelta(seconds=3), limit=1)


class Running:
    """The server with its keys and its servicer, and a way to call it."""

    def __init__(self, server: RunningServer, keys: TestKeys, answers: Answers) -> None:
        self.server, self.keys, self.answers = server, keys, answers
        self.channel = connect(server.address, message_bytes_max=1 << 20)
        self.stub = auth_service_pb2_grpc.AuthServiceStub(self.channel)

    def peer(self, token: str = "") -> Peer:
        return Peer(name="auth_service", channel=self.channel, tokens=FixedToken(token))


class Settings(ServiceSettings):
    listen: str = "127.0.0.1:0"


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    clock, keys = SystemClock(), TestKeys()
    answers = Answers()  # type: ignore[abstract]  # it answers what these tests ask
    verifier = TokenVerifier(keys=keys, issuer="flux", clock=clock, revocations=Revocations(clock))
    servicer = Servicer(
        name="flux.auth.v1.AuthService",
        implementation=answers,
        register=auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
    )
    settings = Settings(deadline_default_s=0.3, drain_timeout_s=5, message_bytes_max=1 << 16)
    async with serve(settings, servicers=[servicer], verifier=verifier, clock=clock) as server:
        running = Running(server, keys, answers)
        yield running
        await running.channel.close()


def register_request(username: str = "ada") -> auth_service_pb2.RegisterRequest:
    return auth_service_pb2.RegisterRequest(username=username, password="long enough, surely")


async def test_public_method_needs_no_token(running: Running) -> None:
    answer = await running.stub.Register(register_request())
    assert answer.user.username == "ada"


async def test_caller_is_known_to_the_servicer(running: Running) -> None:
    peer = running.peer(running.keys.sign())
    answer = await peer.call(running.stub.GetCurrentUser, auth_service_pb2.GetCurrentUserRequest())
    assert answer.user.id == "usr_1"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "TOKEN_MISSING"),
        ("", "TOKEN_MISSING"),
        ("Bearer ", "TOKEN_MISSING"),
        ("Basic YTpi", "TOKEN_MISSING"),
        ("Bearer nonsense", "TOKEN_INVALID"),
    ],
)
async def test_call_without_a_good_token_is_unauthenticated(
    running: Running, header: str | None, reason: str
) -> None:
    metadata = (("authorization", header),) if header is not None else ()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.GetCurrentUser(
            auth_service_pb2.GetCurrentUserRequest(), metadata=metadata
        )
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert _info(caught.value).reason == reason


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
async def test_person_may_not_call_what_is_for_services(running: Running, role: str) -> None:
    token = running.keys.sign(running.keys.claims(roles=[role]))
    with pytest.raises(Fault) as caught:
        await running.peer(token).call(
            running.stub.ExchangeToken, auth_service_pb2.ExchangeTokenRequest(user_id="usr_2")
        )
    assert (caught.value.code, caught.value.reason) == ("PERMISSION_DENIED", "ROLE_REQUIRED")


async def test_every_violation_is_named_at_once(running: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Register(
            auth_service_pb2.RegisterRequest(username="x", password="short", email="nowhere")
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert _info(caught.value).reason == "FIELDS_INVALID"
    assert {v.field for v in _bad_request(caught.value).field_violations} == {
        "username",
        "password",
        "email",
    }


async def test_bug_is_answered_without_a_detail(
    running: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Register(
            register_request("bug"), metadata=(("x-request-id", "find-me"),)
        )
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "internal error; the log has it under find-me"
    assert _info(caught.value).metadata["request_id"] == "find-me"


async def test_violations_past_what_metadata_holds_are_counted(running: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Register(register_request("many"))
    violations = _bad_request(caught.value).field_violations
    assert len(violations) < 100
    assert violations[-1].description == f"and {1000 - len(violations) + 1} more violations"


async def test_oversized_message_is_refused(running: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Register(register_request("x" * (1 << 17)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_unknown_method_says_so(running: Running) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = running.channel.unary_unary(
        "/flux.auth.v1.AuthService/Nope"
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert _info(caught.value).reason == "METHOD_UNKNOWN"


async def test_call_without_a_deadline_gets_the_default_one(running: Running) -> None:
    metadata = (("authorization", f"Bearer {running.keys.sign()}"),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Logout(auth_service_pb2.LogoutRequest(), metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert _info(caught.value).metadata["seconds"] == "0.3"


async def test_servicer_is_cancelled_with_its_call(running: Running) -> None:
    metadata = (("authorization", f"Bearer {running.keys.sign()}"),)
    call = running.stub.Logout(auth_service_pb2.LogoutRequest(), metadata=metadata, timeout=30)
    await running.answers.waiting.wait()
    call.cancel()
    await asyncio.wait_for(running.answers.cancelled.wait(), 5)


async def test_fault_in_a_stream_comes_back_as_it_was_raised(running: Running) -> None:
    token = running.keys.sign(running.keys.claims(kind="service", sub="table", roles=[]))
    answers = running.peer(token).stream(
        running.stub.WatchRevocations, auth_service_pb2.WatchRevocationsRequest()
    )
    assert await anext(answers) == auth_service_pb2.WatchRevocationsResponse()
    with pytest.raises(ResourceExhausted) as caught:
        await anext(answers)
    assert caught.value.retry_after == timedelta(seconds=3)
    assert caught.value.metadata == {"limit": "1"}


async def test_health_follows_the_service(running: Running) -> None:
    stub = health_pb2_grpc.HealthStub(running.channel)
    request = health_pb2.HealthCheckRequest(service="flux.auth.v1.AuthService")
    before = (await stub.Check(request)).status
    await running.server.set_serving(True)
    after = (await stub.Check(request)).status
    assert (before, after) == (
        health_pb2.HealthCheckResponse.NOT_SERVING,
        health_pb2.HealthCheckResponse.SERVING,
    )


async def test_reflection_lists_the_services(running: Running) -> None:
    def services() -> list[str]:
        with grpc.insecure_channel(running.server.address) as channel:
            return list(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert set(await asyncio.to_thread(services)) == {
        "flux.auth.v1.AuthService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_neighbour_that_is_down_is_unavailable() -> None:
    channel = connect("127.0.0.1:1", message_bytes_max=1 << 16)
    peer = Peer(name="auth_service", channel=channel, tokens=None)
    stub = auth_service_pb2_grpc.AuthServiceStub(channel)
    with pytest.raises(Fault) as caught:
        await peer.call(stub.Logout, auth_service_pb2.LogoutRequest())
    await channel.close()
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "NEIGHBOUR_UNAVAILABLE")


def test_read_methods_are_retried_and_writes_are_not() -> None:
    from chassis.client import _retries  # noqa: PLC0415  # what the channel is configured with

    names = json.loads(json.dumps(_retries()))["name"]
    methods = {(name["service"], name["method"]) for name in names}
    assert ("flux.auth.v1.AuthService", "GetJwks") in methods
    assert ("flux.auth.v1.AuthService", "Login") not in methods


def _info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    return _detail(error, error_details_pb2.ErrorInfo())


def _bad_request(error: grpc.aio.AioRpcError) -> error_details_pb2.BadRequest:
    return _detail(error, error_details_pb2.BadRequest())


def _detail(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    status = status_of(error)
    assert status is not None, f"no {DETAILS_KEY}"
    found = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    assert len(found) == 1
    found[0].Unpack(kind)
    return kind
