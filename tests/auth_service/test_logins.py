"""Registering and logging in, and how guessing is slowed down."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from chassis.faults import ResourceExhausted
from flux.auth.v1.user_pb2 import User as UserMessage
from tests.auth_service.installation import PASSWORD, AuthClient, Installation, reason_of
from tests.support.secret_files import ADMIN_PASSWORD


async def test_a_registered_person_logs_in_and_is_known(auth: AuthClient) -> None:
    registered = await auth.register("Ada", email="ada@example.org")
    answer = await auth.login("Ada", PASSWORD)
    assert await auth.current_user(answer.tokens.access_token) == registered == answer.user
    assert registered.id.startswith("usr_")
    assert registered.username == "Ada"
    assert registered.email == "ada@example.org"
    assert list(registered.roles) == [UserMessage.ROLE_VIEWER]
    assert not registered.disabled


async def test_the_configured_admin_can_log_in(auth: AuthClient) -> None:
    answer = await auth.login("admin", ADMIN_PASSWORD)
    assert list(answer.user.roles) == [UserMessage.ROLE_ADMIN]


async def test_names_differ_by_more_than_case(auth: AuthClient) -> None:
    await auth.register("Ada")
    assert await reason_of(auth.register("aDA")) == "USER_EXISTS"
    assert (await auth.login("ADA", PASSWORD)).user.username == "Ada"


async def test_of_two_who_register_one_name_at_once_one_has_it(auth: AuthClient) -> None:
    results = await asyncio.gather(
        *(auth.register(name) for name in ("ada", "ADA", "Ada")), return_exceptions=True
    )
    assert sum(isinstance(result, UserMessage) for result in results) == 1
    refused = [result for result in results if not isinstance(result, UserMessage)]
    assert {getattr(fault, "reason", repr(fault)) for fault in refused} == {"USER_EXISTS"}


async def test_register_gives_the_configured_role(installation: Installation) -> None:
    async with installation.table(), installation.auth(register_role="editor") as auth:
        assert list((await auth.register("ada")).roles) == [UserMessage.ROLE_EDITOR]


async def test_closed_registration_admits_nobody(installation: Installation) -> None:
    async with installation.table(), installation.auth(registration="closed") as auth:
        assert await reason_of(auth.register("ada")) == "REGISTRATION_CLOSED"
        await auth.login()


@pytest.mark.parametrize(
    ("username", "password", "reason"),
    [
        ("ada", "short", "FIELDS_INVALID"),
        ("ada", "x" * 73, "FIELDS_INVALID"),
        ("-ada", PASSWORD, "FIELDS_INVALID"),
        ("ada lovelace", PASSWORD, "FIELDS_INVALID"),
        ("ada.lovelace.1815", "ADA.LOVELACE.1815", "PASSWORD_INVALID"),
    ],
)
async def test_unfit_names_and_passwords_are_refused(
    auth: AuthClient, username: str, password: str, reason: str
) -> None:
    assert await reason_of(auth.register(username, password)) == reason


async def test_wrong_password_and_unknown_user_look_the_same(auth: AuthClient) -> None:
    faults = []
    for username in ("admin", "nobody"):
        with pytest.raises(Exception, match="username or password is wrong") as caught:
            await auth.login(username, "not the password")
        faults.append(vars(caught.value))
    assert faults[0] == faults[1]


async def test_guessing_is_slowed_down_even_for_the_right_guess(
    auth: AuthClient, installation: Installation
) -> None:
    for _ in range(5):
        assert await reason_of(auth.login("admin", "a wrong guess")) == "CREDENTIALS_INVALID"
    with pytest.raises(ResourceExhausted) as caught:
        await auth.login("ADMIN")
    assert caught.value.reason == "LOGIN_THROTTLED"
    assert caught.value.retry_after == timedelta(seconds=1)
    installation.clock.advance(timedelta(seconds=1))
    await auth.login("admin")
    assert await reason_of(auth.login("admin", "a wrong guess")) == "CREDENTIALS_INVALID"


async def test_unknown_names_are_throttled_like_known_ones(auth: AuthClient) -> None:
    reasons = [await reason_of(auth.login("nobody", "a wrong guess")) for _ in range(6)]
    assert reasons == ["CREDENTIALS_INVALID"] * 5 + ["LOGIN_THROTTLED"]


async def test_guesses_at_the_same_moment_are_counted_before_the_next(auth: AuthClient) -> None:
    reasons = await asyncio.gather(
        *(reason_of(auth.login("admin", f"wrong guess {number}")) for number in range(40))
    )
    # As many as are hashed at once, two, may slip through beside the free ones.
    assert reasons.count("CREDENTIALS_INVALID") <= 5 + 2
    assert set(reasons) == {"CREDENTIALS_INVALID", "LOGIN_THROTTLED"}


async def test_many_may_log_in_as_one_person_at_once(auth: AuthClient) -> None:
    answers = await asyncio.gather(*(auth.login() for _ in range(20)))
    assert len({answer.tokens.refresh_token for answer in answers}) == 20


async def test_a_login_renews_a_hash_of_another_cost(installation: Installation) -> None:
    async with installation.table():
        async with installation.auth(password_cost=4) as auth:
            await auth.login()
        async with installation.auth(password_cost=5) as auth:
            await auth.login()
            await auth.login()
        async with installation.auth(password_cost=4) as auth:
            assert await reason_of(auth.login("admin", "another")) == "CREDENTIALS_INVALID"
            await auth.login()
