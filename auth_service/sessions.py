"""Sessions and the refresh tokens that keep them going.

A refresh token is "<session id>.<family secret>.<turn secret>". The family secret stays for the
session's life; the turn secret is replaced at every use. Only their hashes are kept, two a
session however often it is refreshed. The right family with another turn is therefore a token
that was given once and is spent; a wrong family is a guess, and a guess must not be able to end
somebody's session.

A spent token ends its session at once, even if it comes only because an answer was lost: a grace
in which the last token still counts is a grace for the thief as well (RFC 9700, 4.14.2). The
price is a login. Of two uses at the same moment one is therefore the second, and ends the session
too.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import NewType

from auth_service.accounts import UserId, secret_hash
from chassis.faults import Unauthenticated

SessionId = NewType("SessionId", str)

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login and what came of it.

    `expire_time` is absolute: refreshing does not move it. `revoke_time` is None until it is ended
    early.
    """

    id: SessionId
    user_id: UserId
    family_hash: bytes
    turn_hash: bytes
    create_time: datetime
    refresh_time: datetime
    expire_time: datetime
    revoke_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RefreshToken:
    """A refresh token as its holder has it; it never prints itself."""

    session_id: SessionId
    family: str
    turn: str

    def text(self) -> str:
        """Return the token as it travels."""
        return f"{self.session_id}.{self.family}.{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A session that ended early; after `expire_time` none of its access tokens is valid anyway."""

    session_id: SessionId
    expire_time: datetime


class Use(Enum):
    """What presenting a refresh token means."""

    RENEWS = auto()
    SPENT = auto()


def new_refresh_token(session_id: SessionId, family: bytes, turn: bytes) -> RefreshToken:
    """Return the first token of a session, from 32 random bytes each."""
    return RefreshToken(session_id=session_id, family=_text(family), turn=_text(turn))


def next_refresh_token(token: RefreshToken, turn: bytes) -> RefreshToken:
    """Return the token that replaces `token`."""
    return RefreshToken(session_id=token.session_id, family=token.family, turn=_text(turn))


def parse_refresh_token(text: str) -> RefreshToken:
    """Return the token in `text`.

    Raises:
        Unauthenticated: TOKEN_INVALID if it is no refresh token.
    """
    parts = text.split(".")
    if len(parts) != 3 or not all(parts) or not text.isascii():
        raise invalid_refresh_token()
    return RefreshToken(session_id=SessionId(parts[0]), family=parts[1], turn=parts[2])


def open_session(
    token: RefreshToken, user_id: UserId, now: datetime, lifetime: timedelta
) -> Session:
    """Return the session that `token` is the first token of."""
    return Session(
        id=token.session_id,
        user_id=user_id,
        family_hash=secret_hash(token.family),
        turn_hash=secret_hash(token.turn),
        create_time=now,
        refresh_time=now,
        expire_time=now + lifetime,
        revoke_time=None,
    )


def check_use(session: Session, token: RefreshToken, now: datetime) -> Use:
    """Return what the token does to `session`, the one it names.

    Raises:
        Unauthenticated: TOKEN_INVALID if it is not a token of the session; TOKEN_REVOKED or
            TOKEN_EXPIRED if the session has ended.
    """
    if not hmac.compare_digest(session.family_hash, secret_hash(token.family)):
        raise invalid_refresh_token()
    if session.revoke_time is not None:
        raise revoked_session()
    if now >= session.expire_time:
        raise Unauthenticated("TOKEN_EXPIRED", "the session has ended; log in again")
    if hmac.compare_digest(session.turn_hash, secret_hash(token.turn)):
        return Use.RENEWS
    return Use.SPENT


def revocation_of(
    session_id: SessionId, revoke_time: datetime, access_lifetime: timedelta
) -> Revocation:
    """Return what every service must know of a session ended at `revoke_time`."""
    return Revocation(session_id=session_id, expire_time=revoke_time + access_lifetime)


def invalid_refresh_token() -> Unauthenticated:
    """Return the answer to what is no refresh token of ours."""
    return Unauthenticated("TOKEN_INVALID", "the refresh token is not valid")


def revoked_session() -> Unauthenticated:
    """Return the answer to a token of a session that was ended."""
    return Unauthenticated("TOKEN_REVOKED", "the session was revoked")


def _text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
