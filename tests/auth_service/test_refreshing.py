"""Refresh tokens are good once; sessions end for good."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from flux.auth.v1.token_pb2 import TokenPair
from tests.auth_service.installation import AuthClient, Installation, reason_of


async def test_a_refresh_gives_a_new_pair_of_the_same_session(auth: AuthClient) -> None:
    first = (await auth.login()).tokens
    second = await auth.refresh(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert second.access_token != first.access_token
    assert second.session_expire_time == first.session_expire_time
    await auth.current_user(first.access_token)
    await auth.current_user(second.access_token)
    await auth.refresh(second.refresh_token)


async def test_a_spent_token_ends_the_session_with_all_its_tokens(auth: AuthClient) -> None:
    first = (await auth.login()).tokens
    second = await auth.refresh(first.refresh_token)
    assert await reason_of(auth.refresh(first.refresh_token)) == "TOKEN_REVOKED"
    assert await reason_of(auth.refresh(second.refresh_token)) == "TOKEN_REVOKED"
    for pair in (first, second):
        assert await reason_of(auth.current_user(pair.access_token)) == "TOKEN_REVOKED"


async def test_another_session_of_the_same_person_goes_on(auth: AuthClient) -> None:
    stolen, other = (await auth.login()).tokens, (await auth.login()).tokens
    await auth.refresh(stolen.refresh_token)
    assert await reason_of(auth.refresh(stolen.refresh_token)) == "TOKEN_REVOKED"
    await auth.current_user((await auth.refresh(other.refresh_token)).access_token)


async def test_of_concurrent_refreshes_at_most_one_wins_and_the_session_ends(
    auth: AuthClient,
) -> None:
    first = (await auth.login()).tokens
    results = await asyncio.gather(
        *(auth.refresh(first.refresh_token) for _ in range(8)), return_exceptions=True
    )
    won = [result for result in results if isinstance(result, TokenPair)]
    lost = [result for result in results if not isinstance(result, TokenPair)]
    # One line a refusal, so that a failure tells which it was.
    reasons = [getattr(refusal, "reason", repr(refusal)[:400]) for refusal in lost]
    assert len(won) <= 1, f"{len(won)} of 8 won"
    assert reasons == ["TOKEN_REVOKED"] * len(lost)
    for pair in won:
        assert await reason_of(auth.refresh(pair.refresh_token)) == "TOKEN_REVOKED"


async def test_a_guess_does_not_end_a_session(auth: AuthClient) -> None:
    tokens = (await auth.login()).tokens
    session, family, turn = tokens.refresh_token.split(".")
    for guess in (
        f"{session}.{turn}.{family}",
        f"{session}.{'A' * 43}.{turn}",
        f"ses_00000000000000000000000000.{family}.{turn}",
        "A" * 43,
        tokens.access_token[:200],
    ):
        assert await reason_of(auth.refresh(guess)) == "TOKEN_INVALID"
    await auth.refresh(tokens.refresh_token)


async def test_a_session_ends_when_its_time_is_up_however_often_it_was_refreshed(
    auth: AuthClient, installation: Installation
) -> None:
    tokens = (await auth.login()).tokens
    for _ in range(3):
        installation.clock.advance(timedelta(days=9))
        tokens = await auth.refresh(tokens.refresh_token)
    installation.clock.advance(timedelta(days=3))
    assert await reason_of(auth.refresh(tokens.refresh_token)) == "TOKEN_EXPIRED"


async def test_logout_ends_the_session_at_once(auth: AuthClient) -> None:
    tokens = (await auth.login()).tokens
    await auth.logout(tokens.access_token)
    assert await reason_of(auth.refresh(tokens.refresh_token)) == "TOKEN_REVOKED"
    assert await reason_of(auth.current_user(tokens.access_token)) == "TOKEN_REVOKED"


async def test_logout_beside_a_refresh_always_ends_the_session(auth: AuthClient) -> None:
    for _ in range(5):
        tokens = (await auth.login()).tokens
        refreshed, _ = await asyncio.gather(
            auth.refresh(tokens.refresh_token),
            auth.logout(tokens.access_token),
            return_exceptions=True,
        )
        latest = refreshed if isinstance(refreshed, TokenPair) else tokens
        assert await reason_of(auth.refresh(latest.refresh_token)) == "TOKEN_REVOKED"


async def test_access_tokens_expire_after_ten_minutes(
    auth: AuthClient, installation: Installation
) -> None:
    tokens = (await auth.login()).tokens
    assert tokens.expires_in.ToTimedelta() == timedelta(minutes=10)
    installation.clock.advance(timedelta(minutes=10, seconds=-1))
    await auth.current_user(tokens.access_token)
    installation.clock.advance(timedelta(seconds=1))
    assert await reason_of(auth.current_user(tokens.access_token)) == "TOKEN_EXPIRED"
