"""What follows auth_service goes on when auth_service does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from chassis.client import Peer, ServiceTokens
from chassis.clock import Clock, SystemClock
from chassis.faults import Unauthenticated, Unavailable
from chassis.keys import PublishedKeys, follow_revocations
from chassis.revocations import Revocations
from flux.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from tests.support.clock import ManualClock
from tests.support.fixed_token import FixedToken
from tests.support.waiting import eventually

LIFETIME = timedelta(minutes=10)


@dataclass
class FailingAuth(auth_service_pb2_grpc.AuthServiceServicer):
    """Fails each call as often as `failures` says, with `code` and no details, as a bug would."""

    failures: int = 0
    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    asked: list[str] = field(default_factory=list)

    async def _fail_first(self, method: str, context: Any) -> None:
        self.asked.append(method)
        if self.asked.count(method) <= self.failures:
            await context.abort(self.code, "a bug")

    async def GetJwks(self, request: Any, context: Any) -> auth_service_pb2.GetJwksResponse:
        await self._fail_first("GetJwks", context)
        answer = auth_service_pb2.GetJwksResponse()
        answer.keys.add(kid="k1", x="A" * 43)
        answer.max_age.FromTimedelta(LIFETIME)
        return answer

    async def IssueServiceToken(
        self, request: Any, context: Any
    ) -> auth_service_pb2.IssueServiceTokenResponse:
        self.asked.append("IssueServiceToken")
        if len(self.asked) > 1:
            await context.abort(self.code, "a bug")
        answer = auth_service_pb2.IssueServiceTokenResponse(access_token="first")
        answer.expires_in.FromTimedelta(LIFETIME)
        return answer

    async def WatchRevocations(
        self, request: Any, context: Any
    ) -> AsyncIterator[auth_service_pb2.WatchRevocationsResponse]:
        await self._fail_first("WatchRevocations", context)
        answer = auth_service_pb2.WatchRevocationsResponse()
        answer.revocations.add(session_id="ses_1").expire_time.FromDatetime(
            datetime.now(UTC) + LIFETIME
        )
        yield answer
        await asyncio.Event().wait()


@asynccontextmanager
async def serving(auth: FailingAuth) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    auth_service_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    # Without the retries of our own channels, which would hide the failures.
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def test_bug_of_auth_service_does_not_end_the_following_of_keys() -> None:
    auth = FailingAuth(failures=1)  # type: ignore[abstract]  # it answers what is asked here
    async with serving(auth) as channel:
        keys = PublishedKeys(channel=channel, clock=SystemClock())
        following = asyncio.create_task(keys.keep_fresh())
        await asyncio.wait_for(keys.known.wait(), 5)
        following.cancel()


async def test_bug_of_auth_service_does_not_end_the_following_of_revocations() -> None:
    auth = FailingAuth(failures=1)  # type: ignore[abstract]
    revocations = Revocations(SystemClock())
    async with serving(auth) as channel:
        following = asyncio.create_task(
            follow_revocations(channel=channel, tokens=FixedToken("t"), revocations=revocations)
        )

        async def heard() -> bool:
            return revocations.is_revoked("ses_1")

        await eventually(heard, within_s=5)
        following.cancel()


async def test_unknown_keys_are_asked_for_so_often_and_no_more() -> None:
    auth, clock = FailingAuth(failures=1_000_000), ManualClock()  # type: ignore[abstract]
    async with serving(auth) as channel:
        keys = PublishedKeys(channel=channel, clock=clock)
        for _ in range(5):
            with pytest.raises(Unavailable) as caught:
                await keys.refresh()
            assert caught.value.reason == "KEYS_UNAVAILABLE"
        assert len(auth.asked) == 1
        clock.advance(timedelta(seconds=1))
        with pytest.raises(Unavailable):
            await keys.refresh()
        assert len(auth.asked) == 2


def service_tokens(channel: grpc.aio.Channel, clock: Clock) -> ServiceTokens:
    return ServiceTokens(channel=channel, client_id="table", client_secret="s" * 20, clock=clock)


async def test_old_service_token_does_until_it_expires() -> None:
    auth, clock = FailingAuth(code=grpc.StatusCode.UNAVAILABLE), ManualClock()  # type: ignore[abstract]
    async with serving(auth) as channel:
        tokens = service_tokens(channel, clock)
        assert await tokens.token() == "first"
        clock.advance(LIFETIME * 0.8)
        assert [await tokens.token() for _ in range(3)] == ["first"] * 3
        # Asked for a new one once, not by every call.
        assert len(auth.asked) == 2
        clock.advance(LIFETIME * 0.2)
        with pytest.raises(Unavailable):
            await tokens.token()


class Refused:
    """A TokenSource whose credentials auth_service does not take."""

    async def token(self) -> str:
        """Fail."""
        raise Unauthenticated("CREDENTIALS_INVALID", "client id or client secret is wrong")


async def test_refused_credentials_of_a_service_are_no_fault_of_its_caller() -> None:
    auth = FailingAuth()  # type: ignore[abstract]
    async with serving(auth) as channel:
        peer = Peer(name="auth_service", channel=channel, tokens=Refused())
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        with pytest.raises(Unavailable) as caught:
            await peer.call(stub.GetJwks, auth_service_pb2.GetJwksRequest())
    assert caught.value.reason == "NEIGHBOUR_UNAVAILABLE"
