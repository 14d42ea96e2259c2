"""Calling another service: one channel for life, identity, deadlines, retries, and faults back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc
import structlog
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from chassis import calls
from chassis.clock import Clock
from chassis.config import ServiceSettings
from chassis.faults import DeadlineExceeded, Unauthenticated, Unavailable
from chassis.interceptors.request_id import REQUEST_ID_KEY, TRACEPARENT_KEY
from chassis.status import fault_from_rpc
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc

log = structlog.get_logger()

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

CALL_TIMEOUT_S = 30.0
# A token is replaced when this part of its life is over.
_REFRESH_AT_RATIO = 0.7
# How long the old one does while auth_service does not answer, before it is asked again.
_ASK_AGAIN_S = 2.0
# Methods whose names begin so change nothing, so a call that may have arrived can be made again.
_SAFE_PREFIXES = ("Get", "List", "Describe", "Validate", "IssueServiceToken", "ExchangeToken")
# Our services never make these without a request_id, which makes a repetition safe.
_RECEIPTED = ("Transact", "CreateDataset")
_RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


class TokenSource(Protocol):
    """Whence a caller has its token: from auth_service, or made by itself as auth_service does."""

    async def token(self) -> str:
        """Return a token that is valid for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTls:
    """What a TLS channel is made with; `certificate` and `key` only for mTLS. All PEM."""

    authorities: bytes
    certificate: bytes | None
    key: bytes | None


def peer_tls(settings: ServiceSettings) -> PeerTls | None:
    """Return how to speak TLS to other services, or None if configuration says plain text."""
    if settings.tls_peer_ca_file is None:
        return None
    certificate, key = settings.tls_peer_certificate_file, settings.tls_peer_key_file
    return PeerTls(
        authorities=settings.tls_peer_ca_file.read_bytes(),
        certificate=certificate.read_bytes() if certificate else None,
        key=key.read_bytes() if key else None,
    )


def connect(
    address: str, *, message_bytes_max: int, tls: PeerTls | None = None
) -> grpc.aio.Channel:
    """Return a channel to `address`; it connects by itself, again and again, and is made once."""
    options = [
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.service_config", json.dumps({"methodConfig": [_retries()]})),
        # A neighbour that restarts is found again soon, not after gRPC's default of up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # In containers it may come back at another address; gRPC would ask for that every 30 s at most.
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # Two channels of one process to one address must not share a connection that a test cuts.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    credentials = grpc.ssl_channel_credentials(tls.authorities, tls.key, tls.certificate)
    return grpc.aio.secure_channel(address, credentials, options=options)


def _retries() -> dict[str, object]:
    """Return a retry policy for every method of the contracts that is safe to call twice."""
    names = [
        {"service": service.full_name, "method": method.name}
        for service in _known_services()
        for method in service.methods
        if method.name.startswith(_SAFE_PREFIXES) or method.name in _RECEIPTED
    ]
    return {"name": names, "retryPolicy": _RETRY_POLICY}


def _known_services() -> Iterable[ServiceDescriptor]:
    pool = descriptor_pool.Default()
    for name in (
        "flux.auth.v1.AuthService",
        "flux.table.v1.TableService",
        "flux.table.v1.RowService",
        "flux.table.v1.QueryService",
        "flux.workflow.v1.WorkflowService",
        "flux.workflow.v1.RunService",
    ):
        try:
            yield pool.FindServiceByName(name)
        except KeyError:
            # This process never imported that contract, so it never calls it.
            continue


class Peer:
    """A neighbour to call: each call carries identity, request id, trace and the deadline that is left."""

    def __init__(self, *, name: str, channel: grpc.aio.Channel, tokens: TokenSource | None) -> None:
        self.name = name
        self.channel = channel
        self._tokens = tokens

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        token: str = "",
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Response:
        """Return the neighbour's answer; `token` replaces our own, to act for somebody.

        Raises:
            Fault: What the neighbour raised, or UNAVAILABLE if it cannot be reached.
        """
        metadata = await self._metadata(token)
        try:
            return await method(request, metadata=metadata, timeout=_timeout(timeout_s))
        except grpc.aio.AioRpcError as error:
            raise fault_from_rpc(error, self.name) from error

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        token: str = "",
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> AsyncGenerator[Response, None]:
        """Yield the neighbour's answers; the call is cancelled when the iteration is given up.

        A `timeout_s` of None sets no deadline of its own.

        Raises:
            Fault: As `call`.
        """
        metadata = await self._metadata(token)
        call = method(request, metadata=metadata, timeout=_timeout(timeout_s))
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise fault_from_rpc(error, self.name) from error
        finally:
            call.cancel()

    async def upload(
        self,
        method: grpc.aio.StreamUnaryMultiCallable[Request, Response],
        requests: AsyncIterator[Request],
        *,
        token: str = "",
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> Response:
        """Send a stream and return the neighbour's one answer.

        Raises:
            Fault: As `call`.
        """
        metadata = await self._metadata(token)
        try:
            return await method(requests, metadata=metadata, timeout=_timeout(timeout_s))
        except grpc.aio.AioRpcError as error:
            raise fault_from_rpc(error, self.name) from error

    async def _metadata(self, token: str) -> grpc.aio.Metadata:
        metadata = grpc.aio.Metadata()
        if not token and self._tokens is not None:
            token = await self._own_token(self._tokens)
        if token:
            metadata.add("authorization", f"Bearer {token}")
        request_id = calls.request_id.get()
        if request_id:
            metadata.add(REQUEST_ID_KEY, request_id)
            metadata.add(TRACEPARENT_KEY, calls.traceparent.get())
        return metadata

    async def _own_token(self, tokens: TokenSource) -> str:
        """Return our own token; that we have none is no fault of whoever called us."""
        try:
            return await tokens.token()
        except Unauthenticated as fault:
            log.warning("token.refused", neighbour=self.name, error=fault.message)
            raise Unavailable(
                "NEIGHBOUR_UNAVAILABLE",
                "auth_service refuses this service's credentials",
                neighbour="auth_service",
            ) from fault


def _timeout(timeout_s: float | None) -> float | None:
    """Return the shorter of `timeout_s` and what is left of the call being served.

    Raises:
        DeadlineExceeded: If nothing is left.
    """
    deadline = calls.deadline.get()
    if deadline is None:
        return timeout_s
    left = deadline - asyncio.get_running_loop().time()
    if left <= 0:
        raise DeadlineExceeded("DEADLINE_PASSED", "the deadline of the call has passed")
    return left if timeout_s is None else min(timeout_s, left)


class ServiceTokens:
    """A service's own token, had for its client credentials and replaced before it expires."""

    def __init__(
        self, *, channel: grpc.aio.Channel, client_id: str, client_secret: str, clock: Clock
    ) -> None:
        self._peer = Peer(name="auth_service", channel=channel, tokens=None)
        self._issue = auth_service_pb2_grpc.AuthServiceStub(channel).IssueServiceToken
        self._request = auth_service_pb2.IssueServiceTokenRequest(
            client_id=client_id, client_secret=client_secret
        )
        self._clock = clock
        self._token = ""
        self._refresh_at = self._expire_at = 0.0
        self._refreshing = asyncio.Lock()

    async def token(self) -> str:
        """Return the service's token.

        Raises:
            Unavailable: If auth_service cannot be reached and the last token is too old.
            Unauthenticated: If the credentials are wrong.
        """
        if self._clock.monotonic() >= self._refresh_at:
            async with self._refreshing:
                if self._clock.monotonic() >= self._refresh_at:
                    await self._refresh()
        return self._token

    async def _refresh(self) -> None:
        asked_at = self._clock.monotonic()
        try:
            answer = await self._peer.call(self._issue, self._request, timeout_s=5.0)
        except (Unavailable, DeadlineExceeded) as fault:
            now = self._clock.monotonic()
            if now >= self._expire_at:
                raise
            log.warning("token.kept", error=fault.message)
            self._refresh_at = now + _ASK_AGAIN_S
            return
        life_s = answer.expires_in.ToTimedelta().total_seconds()
        self._token = answer.access_token
        self._refresh_at = asked_at + life_s * _REFRESH_AT_RATIO
        self._expire_at = asked_at + life_s
