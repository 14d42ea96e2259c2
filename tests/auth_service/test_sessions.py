"""What presenting a refresh token means."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service import sessions
from auth_service.accounts import UserId, secret_hash
from auth_service.sessions import RefreshToken, Session, SessionId, Use
from chassis.faults import Unauthenticated

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIFETIME = timedelta(days=30)
secrets = st.binary(min_size=32, max_size=32)


def opened(token: RefreshToken) -> Session:
    return sessions.open_session(token, UserId("usr_1"), NOW, LIFETIME)


def first_token() -> RefreshToken:
    return sessions.new_refresh_token(SessionId("ses_1"), b"f" * 32, b"1" * 32)


def refusal(session: Session, token: RefreshToken, now: datetime = NOW) -> str:
    with pytest.raises(Unauthenticated) as caught:
        sessions.check_use(session, token, now)
    return caught.value.reason


@given(secrets, secrets)
def test_a_token_reads_back_as_it_was_written(family: bytes, turn: bytes) -> None:
    token = sessions.new_refresh_token(SessionId("ses_01J8ZQ0000000000000000000"), family, turn)
    assert sessions.parse_refresh_token(token.text()) == token
    assert 20 <= len(token.text()) <= 200


@given(st.text(max_size=200).filter(lambda text: text.count(".") != 2 or not text.isascii()))
def test_other_text_is_no_token(text: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        sessions.parse_refresh_token(text)
    assert caught.value.reason == "TOKEN_INVALID"


@given(secrets, st.lists(secrets, min_size=1, max_size=8, unique=True))
def test_only_the_latest_token_of_a_chain_renews(family: bytes, turns: list[bytes]) -> None:
    chain = [sessions.new_refresh_token(SessionId("ses_1"), family, turns[0])]
    session = opened(chain[0])
    for turn in turns[1:]:
        chain.append(sessions.next_refresh_token(chain[-1], turn))
        session = replace(session, turn_hash=secret_hash(chain[-1].turn))
    uses = [sessions.check_use(session, token, NOW) for token in chain]
    assert uses == [Use.SPENT] * (len(turns) - 1) + [Use.RENEWS]


def test_tokens_do_not_print_their_secrets() -> None:
    token = first_token()
    assert token.family not in repr(token)
    assert token.turn not in f"{token}"


def test_stored_hashes_do_not_contain_the_secrets() -> None:
    token = first_token()
    session = opened(token)
    assert token.family.encode() not in session.family_hash
    assert session.turn_hash == secret_hash(token.turn)


def test_a_guess_with_the_right_session_is_not_a_spent_token() -> None:
    guess = sessions.new_refresh_token(SessionId("ses_1"), b"g" * 32, b"1" * 32)
    assert refusal(opened(first_token()), guess) == "TOKEN_INVALID"


def test_revoked_session_is_told_only_to_whoever_had_its_token() -> None:
    revoked = replace(opened(first_token()), revoke_time=NOW)
    guess = sessions.new_refresh_token(SessionId("ses_1"), b"g" * 32, b"1" * 32)
    assert refusal(revoked, first_token()) == "TOKEN_REVOKED"
    assert refusal(revoked, guess) == "TOKEN_INVALID"


def test_the_end_of_a_session_does_not_move() -> None:
    token = first_token()
    session = replace(opened(token), refresh_time=NOW + LIFETIME - timedelta(seconds=1))
    just_before = NOW + LIFETIME - timedelta(microseconds=1)
    assert sessions.check_use(session, token, just_before) is Use.RENEWS
    assert refusal(session, token, NOW + LIFETIME) == "TOKEN_EXPIRED"
