"""What each kind of token says."""

from __future__ import annotations

from datetime import UTC, datetime

from auth_service.accounts import User, UserId
from auth_service.claims import Issue, exchanged_claims, person_claims, service_claims
from auth_service.sessions import SessionId
from chassis.identity import Role

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ISSUE = Issue(issuer="flux", time=NOW, token_id="tok_1")
ADA = User(
    id=UserId("usr_1"),
    username="Ada",
    email="ada@example.org",
    role=Role.EDITOR,
    disabled=False,
    create_time=NOW,
)
SHARED: dict[str, object] = {
    "iss": "flux",
    "aud": "flux",
    "jti": "tok_1",
    "iat": 1767225600,
    "exp": 1767225600 + 600,
}


def test_a_persons_token_names_role_and_session_and_nothing_private() -> None:
    assert person_claims(ISSUE, ADA, SessionId("ses_1")).payload() == SHARED | {
        "sub": "usr_1",
        "kind": "person",
        "roles": ["editor"],
        "sid": "ses_1",
    }


def test_a_services_token_has_no_roles() -> None:
    assert service_claims(ISSUE, "workflow").payload() == SHARED | {
        "sub": "workflow",
        "kind": "service",
        "roles": [],
        "sid": "service:workflow",
    }


def test_an_exchanged_token_is_the_person_with_an_actor_outside_their_sessions() -> None:
    assert exchanged_claims(ISSUE, ADA, "workflow").payload() == SHARED | {
        "sub": "usr_1",
        "kind": "person",
        "roles": ["editor"],
        "sid": "person:usr_1",
        "act": {"sub": "workflow"},
    }
