"""What makes a password, and the hash that is kept of it.

Hashing takes a good part of a second by design: never call it on the event loop.
"""

from __future__ import annotations

import secrets
import unicodedata

import bcrypt

from chassis.faults import FieldViolation, InvalidArgument

LENGTH_MIN = 12
# bcrypt reads no further: what comes after would not count.
BYTES_MAX = 72
_GENERATED_BYTES = 18


def check_password(password: str, *, username: str) -> None:
    """Return if `password` may be the user's.

    Raises:
        InvalidArgument: PASSWORD_INVALID with every rule that it breaks; the text never quotes it.
    """
    violations = tuple(
        FieldViolation(
            field="password", description=f"the password {rule}", reason="PASSWORD_INVALID"
        )
        for rule in _broken_rules(_normal(password), username)
    )
    if violations:
        message = "; ".join(violation.description for violation in violations)
        raise InvalidArgument("PASSWORD_INVALID", message, violations=violations)


def _broken_rules(password: str, username: str) -> list[str]:
    broken = []
    if len(password) < LENGTH_MIN:
        broken.append(f"is shorter than {LENGTH_MIN} characters")
    if len(password.encode()) > BYTES_MAX:
        broken.append(f"is longer than {BYTES_MAX} bytes")
    if password.casefold() == username.casefold():
        broken.append("is the username")
    return broken


def hash_password(password: str, cost: int) -> str:
    """Return the bcrypt hash of a password that `check_password` has let through.

    The time doubles with every step of `cost`; 12 takes about a quarter of a second.
    """
    return bcrypt.hashpw(_normal(password).encode(), bcrypt.gensalt(cost)).decode()


def matches(password: str, password_hash: str) -> bool:
    """Return whether the hash is of this password."""
    encoded = _normal(password).encode()
    # bcrypt refuses longer input. Cut, it costs the same time, and no hash is of a longer password.
    fits = len(encoded) <= BYTES_MAX
    return bcrypt.checkpw(encoded[:BYTES_MAX], password_hash.encode()) and fits


def is_outdated(password_hash: str, cost: int) -> bool:
    """Return whether the hash was made with another cost than `cost`."""
    return int(password_hash.split("$")[2]) != cost


def generate_password() -> str:
    """Return a random password of 24 characters, 144 bits."""
    return secrets.token_urlsafe(_GENERATED_BYTES)


def _normal(password: str) -> str:
    """Return the one spelling of a password that keyboards of all systems agree on.

    Source: RFC 8265, 4.2 (OpaqueString), of which this is the normalisation.
    """
    return unicodedata.normalize("NFC", password)
