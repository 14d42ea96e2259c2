"""Tokens to act for people: had from auth_service, and kept for most of their life."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from chassis.client import Peer
from chassis.clock import Clock
from chassis.faults import DeadlineExceeded, Unavailable
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc

# People whose tokens are kept; the one not used for longest goes first.
CACHED_MAX = 10_000
_REFRESH_AT_RATIO = 0.7
_CALL_TIMEOUT_S = 5.0


@dataclass(slots=True, kw_only=True)
class _Entry:
    token: str = ""
    refresh_at: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Actors:
    """Asks once for a person, however many of their runs need a token at the same moment."""

    def __init__(self, *, peer: Peer, clock: Clock) -> None:
        self._peer = peer
        self._exchange = auth_service_pb2_grpc.AuthServiceStub(peer.channel).ExchangeToken
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def token(self, user_id: str) -> str:
        """Return a token whose subject is the person and whose actor is this service.

        Raises:
            NotFound: USER_NOT_FOUND if the person is gone or disabled.
            Unavailable: If auth_service does not answer.
        """
        entry = self._entries.setdefault(user_id, _Entry())
        self._entries.move_to_end(user_id)
        if len(self._entries) > CACHED_MAX:
            self._entries.popitem(last=False)
        if self._clock.monotonic() < entry.refresh_at:
            return entry.token
        async with entry.asking:
            if self._clock.monotonic() >= entry.refresh_at:
                await self._ask(user_id, entry)
        return entry.token

    def forget(self, user_id: str) -> None:
        """Ask again next time: somebody did not take the token."""
        self._entries.pop(user_id, None)

    async def _ask(self, user_id: str, entry: _Entry) -> None:
        asked_at = self._clock.monotonic()
        request = auth_service_pb2.ExchangeTokenRequest(user_id=user_id)
        try:
            answer = await self._peer.call(self._exchange, request, timeout_s=_CALL_TIMEOUT_S)
        except DeadlineExceeded as fault:
            raise Unavailable(
                "NEIGHBOUR_UNAVAILABLE", "auth_service does not answer", neighbour="auth_service"
            ) from fault
        life_s = answer.expires_in.ToTimedelta().total_seconds()
        entry.token = answer.access_token
        entry.refresh_at = asked_at + life_s * _REFRESH_AT_RATIO
