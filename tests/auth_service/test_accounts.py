"""Who may register, who may act, and which client secret is right."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service import accounts
from auth_service.accounts import Registration, User, UserId
from chassis.faults import NotFound, PermissionDenied, Unauthenticated
from chassis.identity import Role

SECRET = "workflow-secret-of-many-bits"
HASHES = {"workflow": accounts.secret_hash(SECRET)}


def user(*, disabled: bool) -> User:
    return User(
        id=UserId("usr_1"),
        username="Ada",
        email="",
        role=Role.EDITOR,
        disabled=disabled,
        create_time=datetime(2026, 1, 1, tzinfo=UTC),
    )


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}", fullmatch=True))
def test_usernames_meet_whatever_their_case(username: str) -> None:
    assert accounts.username_key(username.upper()) == accounts.username_key(username.lower())


def test_closed_registration_is_refused() -> None:
    accounts.check_registration(Registration.OPEN)
    with pytest.raises(PermissionDenied) as caught:
        accounts.check_registration(Registration.CLOSED)
    assert caught.value.reason == "REGISTRATION_CLOSED"


def test_missing_and_disabled_users_look_the_same() -> None:
    answers = []
    for found in (None, user(disabled=True)):
        with pytest.raises(NotFound) as caught:
            accounts.check_active(found, "usr_1")
        answers.append((caught.value.reason, caught.value.message))
    assert answers[0] == answers[1] == ("USER_NOT_FOUND", "no user 'usr_1'")
    assert accounts.check_active(user(disabled=False), "usr_1").username == "Ada"


def test_client_secret_is_accepted() -> None:
    accounts.check_client(HASHES, "workflow", SECRET)


@pytest.mark.parametrize(
    ("client", "secret"),
    [("workflow", SECRET + "x"), ("workflow", ""), ("table", SECRET), ("", ""), ("auth", SECRET)],
)
def test_wrong_client_credentials_are_refused_alike(client: str, secret: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        accounts.check_client(HASHES, client, secret)
    assert caught.value.reason == "CREDENTIALS_INVALID"
    assert caught.value.metadata == {}
