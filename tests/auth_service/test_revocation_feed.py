"""Every watcher hears of every revocation, or is sent away."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from auth_service import revocation_feed
from auth_service.revocation_feed import RevocationFeed
from auth_service.sessions import Revocation, SessionId
from chassis.faults import ResourceExhausted, Unavailable
from chassis.revocations import Revocations
from tests.auth_service.installation import AuthClient, Installation, reason_of
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def feed(clock: ManualClock) -> RevocationFeed:
    return RevocationFeed(Revocations(clock))


def revocation(name: str, clock: ManualClock) -> Revocation:
    return Revocation(session_id=SessionId(name), expire_time=clock.now() + timedelta(minutes=10))


async def test_a_watcher_gets_what_was_and_then_what_comes(
    feed: RevocationFeed, clock: ManualClock
) -> None:
    feed.publish(revocation("ses_1", clock))
    watch = feed.watch()
    assert await anext(watch) == [revocation("ses_1", clock)]
    for name in ("ses_2", "ses_3"):
        feed.publish(revocation(name, clock))
    assert await anext(watch) == [revocation("ses_2", clock), revocation("ses_3", clock)]


async def test_nothing_is_lost_between_snapshot_and_stream(
    feed: RevocationFeed, clock: ManualClock
) -> None:
    watch = feed.watch()
    assert await anext(watch) == []
    feed.publish(revocation("ses_1", clock))
    assert await anext(watch) == [revocation("ses_1", clock)]


async def test_silence_is_broken_by_a_heartbeat(
    feed: RevocationFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_feed, "HEARTBEAT_S", 0.01)
    watch = feed.watch()
    assert [await anext(watch) for _ in range(4)] == [[], [], [], []]


async def test_a_watcher_that_falls_behind_is_sent_away_and_catches_up(
    feed: RevocationFeed, clock: ManualClock
) -> None:
    watch = feed.watch()
    await anext(watch)
    for number in range(1001):
        feed.publish(revocation(f"ses_{number}", clock))
    with pytest.raises(ResourceExhausted):
        await anext(watch)
    assert len(await anext(feed.watch())) == 1001


async def test_expired_revocations_are_forgotten(feed: RevocationFeed, clock: ManualClock) -> None:
    feed.publish(revocation("ses_1", clock))
    clock.advance(timedelta(minutes=10))
    feed.publish(revocation("ses_2", clock))
    assert await anext(feed.watch()) == [revocation("ses_2", clock)]


async def test_closing_ends_a_waiting_watch(feed: RevocationFeed) -> None:
    watch = feed.watch()
    await anext(watch)
    waiting = asyncio.ensure_future(anext(watch))
    # After the first step of `waiting`, which was scheduled before.
    asyncio.get_running_loop().call_soon(feed.close)
    async with asyncio.timeout(1):
        assert await waiting == []
    with pytest.raises(Unavailable):
        await anext(watch)


async def test_the_number_of_watchers_is_bounded(feed: RevocationFeed) -> None:
    watches = [feed.watch() for _ in range(100)]
    for watch in watches:
        await anext(watch)
    with pytest.raises(ResourceExhausted):
        await anext(feed.watch())


async def test_services_hear_of_a_logout(auth: AuthClient, installation: Installation) -> None:
    service = await auth.service_token("gateway", installation.secret("gateway"))
    tokens = (await auth.login()).tokens
    watch = auth.watch(service)
    assert list((await anext(watch)).revocations) == []
    await auth.logout(tokens.access_token)
    async with asyncio.timeout(1):
        (heard,) = (await anext(watch)).revocations
    assert heard.session_id == tokens.refresh_token.split(".")[0]
    expire_time = heard.expire_time.ToDatetime(tzinfo=installation.clock.now().tzinfo)
    assert expire_time == installation.clock.now() + timedelta(minutes=10)


async def test_people_may_not_watch(auth: AuthClient) -> None:
    tokens = (await auth.login()).tokens
    assert await reason_of(anext(auth.watch(tokens.access_token))) == "ROLE_REQUIRED"
