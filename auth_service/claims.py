"""What an access token says, and for whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from auth_service.accounts import User
from auth_service.sessions import SessionId
from chassis.identity import PrincipalKind

ACCESS_LIFETIME = timedelta(minutes=10)
AUDIENCE = "flux"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One act of issuing: who issues, when, and the new token's id."""

    issuer: str
    time: datetime
    token_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of one token. `actor` is empty where nobody acts for somebody else.

    `session_id` is what a revocation names: a session, or all tokens of a service, or all that
    services act with for one person.
    """

    issue: Issue
    subject: str
    kind: PrincipalKind
    session_id: str
    roles: tuple[str, ...] = ()
    actor: str = ""

    def payload(self) -> dict[str, object]:
        """Return the claims as RFC 9068, RFC 8693 (act) and our "kind" spell them."""
        issued = int(self.issue.time.timestamp())
        payload: dict[str, object] = {
            "iss": self.issue.issuer,
            "aud": AUDIENCE,
            "sub": self.subject,
            "kind": self.kind.value,
            "roles": list(self.roles),
            "sid": self.session_id,
            "jti": self.issue.token_id,
            "iat": issued,
            "exp": issued + int(ACCESS_LIFETIME.total_seconds()),
        }
        if self.actor:
            payload["act"] = {"sub": self.actor}
        return payload


def person_claims(issue: Issue, user: User, session_id: SessionId) -> Claims:
    """Return what a person's token says who has logged in."""
    return Claims(
        issue=issue,
        subject=user.id,
        kind=PrincipalKind.PERSON,
        session_id=session_id,
        roles=(user.role.value,),
    )


def service_claims(issue: Issue, name: str) -> Claims:
    """Return what a service's token says: its name and no roles."""
    return Claims(
        issue=issue, subject=name, kind=PrincipalKind.SERVICE, session_id=f"service:{name}"
    )


def exchanged_claims(issue: Issue, user: User, actor: str) -> Claims:
    """Return what a token says with which a service acts for a person.

    It belongs to no session: a run outlives its starter's logout, but not their account or their
    roles.
    """
    return Claims(
        issue=issue,
        subject=user.id,
        kind=PrincipalKind.PERSON,
        session_id=f"person:{user.id}",
        roles=(user.role.value,),
        actor=actor,
    )
