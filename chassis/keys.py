"""The public keys that auth_service publishes and the revocations it streams, as others have them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
from collections.abc import Mapping
from datetime import UTC

import grpc
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chassis.client import Peer, TokenSource
from chassis.clock import Clock
from chassis.faults import Fault, Unavailable
from chassis.revocations import Revocations
from chassis.tokens import VerificationKey
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc

log = structlog.get_logger()

# Unknown key ids come from outside: they make us ask no more often than this.
_ASK_EVERY_S = 1.0
_RETRY_FIRST_S = 0.1
_RETRY_MOST_S = 2.0
# How a call to auth_service may end: with a fault or, after a bug over there, with what gRPC made of it.
# Neither may end what follows auth_service: revoked tokens would be taken from then on.
_FAILURES = (Fault, grpc.aio.AioRpcError)
# A stream that is silent for longer than three heartbeats is dead.
_SILENCE_MAX_S = 15.0


class PublishedKeys:
    """A KeySource that asks auth_service; `pinned` keys come from configuration and never change."""

    def __init__(
        self,
        *,
        channel: grpc.aio.Channel,
        clock: Clock,
        pinned: Mapping[str, VerificationKey] | None = None,
    ) -> None:
        self._peer = Peer(name="auth_service", channel=channel, tokens=None)
        self._get = auth_service_pb2_grpc.AuthServiceStub(channel).GetJwks
        self._clock = clock
        self._pinned = dict(pinned or {})
        self._published: dict[str, VerificationKey] = {}
        self._max_age_s = 0.0
        self._asked_at = -_ASK_EVERY_S
        self._asking = asyncio.Lock()
        self.known = asyncio.Event()

    def find(self, kid: str) -> VerificationKey | None:
        """Return the key with this id if it is known here."""
        return self._pinned.get(kid) or self._published.get(kid)

    async def refresh(self) -> None:
        """Ask auth_service for its keys, unless it was asked a moment ago.

        Raises:
            Unavailable: KEYS_UNAVAILABLE if no key was ever had.
        """
        async with self._asking:
            if self._clock.monotonic() - self._asked_at >= _ASK_EVERY_S:
                try:
                    await self._fetch()
                except _FAILURES as error:
                    log.warning("keys.stale", error=str(error))
            if not self._published:
                raise Unavailable("KEYS_UNAVAILABLE", "auth_service's keys are not known yet")

    async def keep_fresh(self) -> None:
        """Fetch the keys now and whenever they have reached their age; ends by cancellation."""
        wait_s = _RETRY_FIRST_S
        # Ends when the service stops and cancels it.
        while True:
            try:
                await self._fetch()
                wait_s = max(self._max_age_s, _ASK_EVERY_S)
            except _FAILURES as error:
                log.info("keys.waiting", error=str(error))
                wait_s = min(max(wait_s, _RETRY_FIRST_S) * 2, _RETRY_MOST_S)
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.0))

    async def _fetch(self) -> None:
        self._asked_at = self._clock.monotonic()
        answer = await self._peer.call(self._get, auth_service_pb2.GetJwksRequest(), timeout_s=5.0)
        published = {}
        for key in answer.keys:
            try:
                raw = base64.urlsafe_b64decode(key.x + "=" * (-len(key.x) % 4))
                published[key.kid] = VerificationKey(
                    public_key=Ed25519PublicKey.from_public_bytes(raw)
                )
            except (ValueError, binascii.Error):
                log.warning("keys.unreadable", kid=key.kid)
        if published:
            self._published = published
            self._max_age_s = answer.max_age.ToTimedelta().total_seconds()
            self.known.set()


async def follow_revocations(
    *, channel: grpc.aio.Channel, tokens: TokenSource, revocations: Revocations
) -> None:
    """Keep `revocations` up to date from auth_service's stream; ends by cancellation."""
    peer = Peer(name="auth_service", channel=channel, tokens=tokens)
    watch = auth_service_pb2_grpc.AuthServiceStub(channel).WatchRevocations
    wait_s = _RETRY_FIRST_S
    # Ends when the service stops and cancels it.
    while True:
        answers = peer.stream(watch, auth_service_pb2.WatchRevocationsRequest(), timeout_s=None)
        try:
            while True:
                async with asyncio.timeout(_SILENCE_MAX_S):
                    answer = await anext(answers)
                wait_s = _RETRY_FIRST_S
                for revocation in answer.revocations:
                    expire_time = revocation.expire_time.ToDatetime(tzinfo=UTC)
                    revocations.add(revocation.session_id, expire_time)
        except (*_FAILURES, TimeoutError, StopAsyncIteration) as error:
            log.info("revocations.reconnect", error=str(error))
        finally:
            await answers.aclose()
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, _RETRY_MOST_S)
