"""People and services that can prove who they are."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from chassis.faults import AlreadyExists, NotFound, PermissionDenied, Unauthenticated
from chassis.identity import Role

UserId = NewType("UserId", str)


class Registration(StrEnum):
    """Whether people may register themselves."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who can log in. `email` is empty if none was given."""

    id: UserId
    username: str
    email: str
    role: Role
    disabled: bool
    create_time: datetime


def username_key(username: str) -> str:
    """Return what two spellings of one username have in common."""
    return username.casefold()


def check_registration(registration: Registration) -> None:
    """Return if people may register themselves.

    Raises:
        PermissionDenied: REGISTRATION_CLOSED if they may not.
    """
    if registration is Registration.CLOSED:
        raise PermissionDenied("REGISTRATION_CLOSED", "registration is closed")


def check_active(user: User | None, user_id: str) -> User:
    """Return the user if somebody may act as them.

    Raises:
        NotFound: USER_NOT_FOUND, the same for a user who does not exist and one who is disabled.
    """
    if user is None or user.disabled:
        raise NotFound("USER_NOT_FOUND", f"no user {user_id!r}", user=user_id)
    return user


def username_taken(username: str) -> AlreadyExists:
    """Return the answer to a second user of one name."""
    return AlreadyExists("USER_EXISTS", f"username {username!r} is taken", username=username)


def wrong_credentials() -> Unauthenticated:
    """Return the one answer to every failed proof, whatever was wrong with it."""
    return Unauthenticated("CREDENTIALS_INVALID", "username or password is wrong")


def secret_hash(secret: str) -> bytes:
    """Return what is kept of a secret that a machine made.

    SHA-256 and not bcrypt: a slow hash makes guessing a person's password dear; 256 random bits
    cannot be guessed at any price, and a service asks for its token every few minutes.
    """
    return hashlib.sha256(secret.encode()).digest()


# Compared with where the client is unknown; no secret hashes to it.
_NO_SECRET_HASH = bytes(32)


def check_client(secret_hashes: Mapping[str, bytes], client_id: str, client_secret: str) -> None:
    """Return if the secret is the client's, in a time that does not tell how much of it was right.

    Raises:
        Unauthenticated: CREDENTIALS_INVALID, the same for an unknown client and a wrong secret.
    """
    expected = secret_hashes.get(client_id, _NO_SECRET_HASH)
    if not hmac.compare_digest(expected, secret_hash(client_secret)):
        raise Unauthenticated("CREDENTIALS_INVALID", "client id or client secret is wrong")
