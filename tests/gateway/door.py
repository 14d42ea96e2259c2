"""The real gateway in front of a small real backend and a small auth_service, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio as reflection_aio

import gateway.__main__
from chassis.clock import SystemClock
from chassis.server import RunningServer
from chassis.status import status_of
from flux.auth.v1 import auth_service_pb2, token_pb2
from gateway.config import Settings
from tests.gateway.echo_contract import SERVICE, echo_file, path, pool_of
from tests.support.ports import free_ports
from tests.support.waiting import eventually

Behaviour = Callable[[Any, "grpc.aio.ServicerContext[bytes, bytes]"], Any]
KEY_ID = "k1"


@dataclass(slots=True)
class EchoBackend(grpc.GenericRpcHandler):
    """Serves the echo contract as raw bytes, each method as the test says in `behaviours`."""

    file: FileDescriptorProto = field(default_factory=echo_file)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return the behaviour of the method in its shape."""
        service, _, name = handler_call_details.method[1:].partition("/")
        method = next((m for m in self.file.service[0].method if m.name == name), None)
        if service != SERVICE or method is None:
            return None
        behaviour = self.behaviours.get(name, _echo)
        if method.client_streaming and method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(behaviour)
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(behaviour)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(behaviour)
        return grpc.unary_unary_rpc_method_handler(behaviour)

    @asynccontextmanager
    async def serving(self, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
        """Listen at `address` and yield the address with its port."""
        server = grpc.aio.server(handlers=[self], options=[("grpc.so_reuseport", 0)])
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection_aio.ReflectionServicer([SERVICE], pool=pool_of(self.file)), server
        )
        port = server.add_insecure_port(address)
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(0)


async def _echo(request: bytes, _context: object) -> bytes:
    return request


@dataclass(slots=True)
class SmallAuth:
    """Publishes one key, signs what a test asks for, and revokes the sessions put into `revoked`."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    revoked: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def _get_jwks(
        self, _request: object, _context: object
    ) -> auth_service_pb2.GetJwksResponse:
        """Return the one key."""
        raw = self.key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        answer = auth_service_pb2.GetJwksResponse(
            keys=[token_pb2.Jwk(kid=KEY_ID, kty="OKP", crv="Ed25519", x=x)]
        )
        answer.max_age.FromTimedelta(timedelta(minutes=5))
        return answer

    async def _issue_service_token(
        self, request: auth_service_pb2.IssueServiceTokenRequest, _context: object
    ) -> auth_service_pb2.IssueServiceTokenResponse:
        """Return a token of the service that asks."""
        answer = auth_service_pb2.IssueServiceTokenResponse(
            access_token=self.token(sub=request.client_id, kind="service", roles=[])
        )
        answer.expires_in.FromTimedelta(timedelta(minutes=5))
        return answer

    async def _watch_revocations(
        self, _request: object, _context: object
    ) -> AsyncIterator[auth_service_pb2.WatchRevocationsResponse]:
        """Stream what is put into `revoked`, after a first sign of life."""
        yield auth_service_pb2.WatchRevocationsResponse()
        # Ends when the watcher is gone.
        while True:
            revocation = token_pb2.Revocation(session_id=await self.revoked.get())
            revocation.expire_time.FromDatetime(datetime.now(UTC) + timedelta(minutes=5))
            yield auth_service_pb2.WatchRevocationsResponse(revocations=[revocation])

    def token(
        self,
        *,
        key: Ed25519PrivateKey | None = None,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a token of a viewer for five minutes, but for what `claims` and `headers` say."""
        now = datetime.now(UTC)
        all_claims = {
            "iss": "flux",
            "aud": "flux",
            "sub": "usr_1",
            "kind": "person",
            "roles": ["viewer"],
            "sid": "ses_1",
            "jti": secrets.token_hex(4),
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(minutes=5)).timestamp()),
            **claims,
        }
        return jwt.encode(
            all_claims,
            key or self.key,
            algorithm="EdDSA",
            headers={"typ": "at+jwt", "kid": KEY_ID, **(headers or {})},
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen and yield the address."""
        server = grpc.aio.server()
        names = [auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"].full_name]
        handlers = {
            "GetJwks": grpc.unary_unary_rpc_method_handler(
                self._get_jwks,
                response_serializer=auth_service_pb2.GetJwksResponse.SerializeToString,
            ),
            "IssueServiceToken": grpc.unary_unary_rpc_method_handler(
                self._issue_service_token,
                request_deserializer=auth_service_pb2.IssueServiceTokenRequest.FromString,
                response_serializer=auth_service_pb2.IssueServiceTokenResponse.SerializeToString,
            ),
            "WatchRevocations": grpc.unary_stream_rpc_method_handler(
                self._watch_revocations,
                response_serializer=auth_service_pb2.WatchRevocationsResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(names[0], handlers),))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection_aio.ReflectionServicer(names), server
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A gateway that runs, a channel to it, and what stands behind it."""

    running: RunningServer
    channel: grpc.aio.Channel
    auth: SmallAuth
    echo: EchoBackend

    def unary(self, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        """Return the method of the echo service, or at a whole path, to be called as unary."""
        return unary(self.channel, method)

    def server_stream(self, method: str) -> grpc.aio.UnaryStreamMultiCallable[bytes, bytes]:
        """Return the method to be called with one message for many."""
        return self.channel.unary_stream(_whole(method))

    def client_stream(self, method: str) -> grpc.aio.StreamUnaryMultiCallable[bytes, bytes]:
        """Return the method to be called with many messages for one."""
        return self.channel.stream_unary(_whole(method))

    def both_stream(self, method: str) -> grpc.aio.StreamStreamMultiCallable[bytes, bytes]:
        """Return the method to be called with many messages for many."""
        return self.channel.stream_stream(_whole(method))

    def as_viewer(self, *more: tuple[str, str | bytes]) -> tuple[tuple[str, str | bytes], ...]:
        """Return the metadata of a viewer's call, and `more`."""
        return (("authorization", f"Bearer {self.auth.token()}"), *more)


def unary(channel: grpc.aio.Channel, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return the method of the echo service, or at a whole path, to be called as unary."""
    return channel.unary_unary(_whole(method))


def _whole(method: str) -> str:
    return method if method.startswith("/") else path(method)


@asynccontextmanager
async def open_gateway(
    folder: Path, *, auth: str, table: str, workflow: str = "", **settings: Any
) -> AsyncIterator[RunningServer]:
    """Run the gateway; without `workflow`, its workflow_service is the table's and serves nothing."""
    secret = folder / "gateway_secret"
    secret.write_text("not-a-secret-at-all")
    all_settings = {
        "listen": "127.0.0.1:0",
        "auth_address": auth,
        "table_address": table,
        "workflow_address": workflow or table,
        "client_secret_file": secret,
        "drain_timeout_s": 0.2,
        **settings,
    }
    async with gateway.__main__.open_service(Settings(**all_settings), SystemClock()) as running:
        yield running


@asynccontextmanager
async def open_door(folder: Path, **settings: Any) -> AsyncIterator[Door]:
    """Run auth, echo and the gateway, and wait until it serves both."""
    auth, echo = SmallAuth(), EchoBackend()
    async with (
        auth.serving() as auth_address,
        echo.serving() as echo_address,
        open_gateway(folder, auth=auth_address, table=echo_address, **settings) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        await wait_serving(channel)
        yield Door(running=running, channel=channel, auth=auth, echo=echo)


async def wait_serving(channel: grpc.aio.Channel, service: str = "") -> None:
    """Return when the gateway says that `service` is being served."""
    check = health_pb2_grpc.HealthStub(channel).Check

    async def serving() -> bool:
        try:
            answer = await check(health_pb2.HealthCheckRequest(service=service))
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    await eventually(serving)


async def failure(answer: Awaitable[object]) -> grpc.aio.AioRpcError:
    """Return the error that `answer` ends with."""
    try:
        got = await answer
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"the call succeeded with {got!r}")


def reason(error: grpc.aio.AioRpcError) -> str:
    """Return the reason in the error's ErrorInfo, or nothing if it has none."""
    info = error_details_pb2.ErrorInfo()
    status = status_of(error) or status_pb2.Status()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason)
    return ""


def retry_after_s(error: grpc.aio.AioRpcError) -> float:
    """Return the seconds in the error's RetryInfo, or 0 if it has none."""
    retry = error_details_pb2.RetryInfo()
    status = status_of(error) or status_pb2.Status()
    for detail in status.details:
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return 0.0


def unused_address() -> str:
    """Return an address that nobody listens at."""
    return f"127.0.0.1:{free_ports(1)[0]}"
