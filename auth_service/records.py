"""How auth_service's tables look: their columns, and rows to and from domain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auth_service.accounts import User, UserId, username_key
from auth_service.keys import KeyState, SigningKey
from auth_service.sessions import Session, SessionId
from chassis.identity import Role
from chassis.tables import ColumnKind, ColumnSpec, StoredRow, TableSpec

# From a kid and what is stored to the private key, or None if it does not open.
Unseal = Callable[[str, bytes], Ed25519PrivateKey | None]


def _text(name: str) -> ColumnSpec:
    return ColumnSpec(name=name, kind=ColumnKind.KIND_STRING)


def _time(name: str, *, nullable: bool = False) -> ColumnSpec:
    return ColumnSpec(name=name, kind=ColumnKind.KIND_TIMESTAMP, nullable=nullable)


def _bytes(name: str) -> ColumnSpec:
    return ColumnSpec(name=name, kind=ColumnKind.KIND_BYTES)


USERS = TableSpec(
    name="users",
    description="People who can log in.",
    columns=(
        _text("id"),
        _text("username"),
        _text("username_key"),
        _text("email"),
        _text("role"),
        ColumnSpec(name="disabled", kind=ColumnKind.KIND_BOOL),
        _text("password_hash"),
        _time("create_time"),
    ),
    unique_keys=(("id",), ("username_key",)),
)
SESSIONS = TableSpec(
    name="sessions",
    description="Logins, and the hashes of the refresh tokens that keep them going.",
    columns=(
        _text("id"),
        _text("user_id"),
        _bytes("family_hash"),
        _bytes("turn_hash"),
        _time("create_time"),
        _time("refresh_time"),
        _time("expire_time"),
        _time("revoke_time", nullable=True),
    ),
    unique_keys=(("id",),),
)
SIGNING_KEYS = TableSpec(
    name="signing_keys",
    description="The keys that sign tokens, sealed with the bootstrap key.",
    columns=(
        _text("kid"),
        _text("state"),
        _bytes("sealed_key"),
        _time("create_time"),
        _time("activate_time", nullable=True),
        _time("retire_time", nullable=True),
    ),
    unique_keys=(("kid",),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUser:
    """A user with what only the store and a login need."""

    user: User
    password_hash: str
    row_id: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session as it stood at `version`."""

    session: Session
    row_id: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A signing key's row; `key` is None if it does not open with our bootstrap key."""

    kid: str
    key: SigningKey | None
    row_id: int
    version: int


def user_values(user: User, password_hash: str) -> dict[str, object]:
    """Return a user's row by column."""
    return {
        "id": user.id,
        "username": user.username,
        "username_key": username_key(user.username),
        "email": user.email,
        "role": user.role.value,
        "disabled": user.disabled,
        "password_hash": password_hash,
        "create_time": user.create_time,
    }


def session_values(session: Session) -> dict[str, object]:
    """Return a session's row by column."""
    return {
        "id": session.id,
        "user_id": session.user_id,
        "family_hash": session.family_hash,
        "turn_hash": session.turn_hash,
        "create_time": session.create_time,
        "refresh_time": session.refresh_time,
        "expire_time": session.expire_time,
        "revoke_time": session.revoke_time,
    }


def key_values(key: SigningKey, sealed_key: bytes) -> dict[str, object]:
    """Return a signing key's row by column."""
    return {
        "kid": key.kid,
        "state": key.state.value,
        "sealed_key": sealed_key,
        "create_time": key.create_time,
        "activate_time": key.activate_time,
        "retire_time": key.retire_time,
    }


def stored_user(row: StoredRow) -> StoredUser:
    """Return the user in a row."""
    values = row.values
    user = User(
        id=UserId(_as_text(values["id"])),
        username=_as_text(values["username"]),
        email=_as_text(values["email"]),
        role=Role(_as_text(values["role"])),
        disabled=_as_flag(values["disabled"]),
        create_time=_as_time(values["create_time"]),
    )
    return StoredUser(
        user=user,
        password_hash=_as_text(values["password_hash"]),
        row_id=row.row_id,
        version=row.version,
    )


def stored_session(row: StoredRow) -> StoredSession:
    """Return the session in a row."""
    values = row.values
    session = Session(
        id=SessionId(_as_text(values["id"])),
        user_id=UserId(_as_text(values["user_id"])),
        family_hash=_as_bytes(values["family_hash"]),
        turn_hash=_as_bytes(values["turn_hash"]),
        create_time=_as_time(values["create_time"]),
        refresh_time=_as_time(values["refresh_time"]),
        expire_time=_as_time(values["expire_time"]),
        revoke_time=_as_time_or_none(values["revoke_time"]),
    )
    return StoredSession(session=session, row_id=row.row_id, version=row.version)


def stored_key(row: StoredRow, unseal: Unseal) -> StoredKey:
    """Return the signing key in a row, opened with `unseal`."""
    values = row.values
    kid = _as_text(values["kid"])
    private_key = unseal(kid, _as_bytes(values["sealed_key"]))
    key = None
    if private_key is not None:
        key = SigningKey(
            kid=kid,
            state=KeyState(_as_text(values["state"])),
            private_key=private_key,
            create_time=_as_time(values["create_time"]),
            activate_time=_as_time_or_none(values["activate_time"]),
            retire_time=_as_time_or_none(values["retire_time"]),
        )
    return StoredKey(kid=kid, key=key, row_id=row.row_id, version=row.version)


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a row holds a {type(value).__name__} where text should be")
    return value


def _as_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"a row holds a {type(value).__name__} where a flag should be")
    return value


def _as_bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"a row holds a {type(value).__name__} where bytes should be")
    return value


def _as_time(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"a row holds a {type(value).__name__} where a time should be")
    return value


def _as_time_or_none(value: object) -> datetime | None:
    return None if value is None else _as_time(value)
