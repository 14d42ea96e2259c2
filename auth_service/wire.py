"""Domain values as flux.auth.v1 has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from auth_service import keys
from auth_service.accounts import User
from auth_service.authority import Tokens
from auth_service.claims import ACCESS_LIFETIME
from auth_service.keys import SigningKey
from auth_service.sessions import Revocation
from chassis.identity import Role
from flux.auth.v1 import token_pb2, user_pb2

_ROLES = {
    Role.VIEWER: user_pb2.User.ROLE_VIEWER,
    Role.EDITOR: user_pb2.User.ROLE_EDITOR,
    Role.ADMIN: user_pb2.User.ROLE_ADMIN,
}


def to_user(user: User) -> user_pb2.User:
    """Return a user without anything that only the store and a login need."""
    return user_pb2.User(
        id=user.id,
        username=user.username,
        email=user.email,
        roles=[_ROLES[user.role]],
        disabled=user.disabled,
        create_time=to_timestamp(user.create_time),
    )


def to_token_pair(tokens: Tokens) -> token_pb2.TokenPair:
    """Return fresh tokens, which live from now."""
    return token_pb2.TokenPair(
        access_token=tokens.access_token,
        expires_in=to_duration(ACCESS_LIFETIME),
        refresh_token=tokens.refresh_token,
        session_expire_time=to_timestamp(tokens.session_expire_time),
    )


def to_jwk(key: SigningKey) -> token_pb2.Jwk:
    """Return the public half of a key."""
    return token_pb2.Jwk(
        kty="OKP",
        crv="Ed25519",
        kid=key.kid,
        x=keys.public_x(key.private_key),
        use="sig",
        alg="EdDSA",
    )


def to_revocation(revocation: Revocation) -> token_pb2.Revocation:
    """Return a revocation."""
    return token_pb2.Revocation(
        session_id=revocation.session_id, expire_time=to_timestamp(revocation.expire_time)
    )


def to_timestamp(time: datetime) -> Timestamp:
    """Return an aware datetime as a moment."""
    made = Timestamp()
    made.FromDatetime(time.astimezone(UTC))
    return made


def to_duration(span: timedelta) -> Duration:
    """Return a span of time."""
    made = Duration()
    made.FromTimedelta(span)
    return made
