"""The keys that sign tokens: their turn, their rest, and how they are kept.

A key is `next` first, so that every service knows it before it signs anything; then `current`; then
`retired` until the last token it signed has expired; then forgotten.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from auth_service.claims import Claims

BOOTSTRAP_KID = "bootstrap"
# How long a verifier may keep the published keys. A key is published much longer before it signs.
JWKS_AGE_MAX = timedelta(minutes=5)
# How much the clocks of two services may differ.
_CLOCK_SKEW = timedelta(minutes=1)
NONCE_BYTES = 12


class KeyState(StrEnum):
    """The turns of a key, in order."""

    NEXT = "next"
    CURRENT = "current"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key pair. `activate_time` and `retire_time` are None until the key comes to that."""

    kid: str
    state: KeyState
    private_key: Ed25519PrivateKey
    create_time: datetime
    activate_time: datetime | None
    retire_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """When keys take turns: `age` of the current one, and how long tokens live."""

    age: timedelta
    token_lifetime: timedelta


def turn_keys(
    keys: Sequence[SigningKey],
    rotation: Rotation,
    now: datetime,
    new_key: Callable[[], SigningKey],
) -> tuple[SigningKey, ...]:
    """Return the keys there should be at `now`: exactly one current, one next, and those resting.

    Nothing changes while the current key is young. Calling it again with its answer changes
    nothing.
    """
    resting = rotation.token_lifetime + _CLOCK_SKEW
    retired = [
        key
        for key in _in_state(keys, KeyState.RETIRED)
        if key.retire_time is not None and now < key.retire_time + resting
    ]
    current = max(_in_state(keys, KeyState.CURRENT), key=_activation, default=None)
    following = next(iter(_in_state(keys, KeyState.NEXT)), None)
    if current is not None and now >= _activation(current) + rotation.age:
        retired.append(replace(current, state=KeyState.RETIRED, retire_time=now))
        current = None
    if current is None:
        current = replace(following or new_key(), state=KeyState.CURRENT, activate_time=now)
        following = None
    return (current, following or new_key(), *retired)


def new_signing_key(kid: str, now: datetime) -> SigningKey:
    """Return a fresh key whose turn is next."""
    return SigningKey(
        kid=kid,
        state=KeyState.NEXT,
        private_key=Ed25519PrivateKey.generate(),
        create_time=now,
        activate_time=None,
        retire_time=None,
    )


def current_key(keys: Sequence[SigningKey]) -> SigningKey:
    """Return the key that signs now; `turn_keys` sees to it that there is one."""
    (key,) = _in_state(keys, KeyState.CURRENT)
    return key


def _in_state(keys: Sequence[SigningKey], state: KeyState) -> list[SigningKey]:
    return [key for key in keys if key.state is state]


def _activation(key: SigningKey) -> datetime:
    return key.activate_time or key.create_time


def sign_token(claims: Claims, private_key: Ed25519PrivateKey, kid: str) -> str:
    """Return the claims as a signed JWT."""
    return jwt.encode(
        claims.payload(), private_key, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": kid}
    )


def public_x(private_key: Ed25519PrivateKey) -> str:
    """Return the public half as the "x" of a JWK: base64url without padding (RFC 8037, 2)."""
    return (
        base64.urlsafe_b64encode(private_key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    )


def read_private_key(pem: bytes) -> Ed25519PrivateKey:
    """Return the Ed25519 private key in a PEM file.

    Raises:
        ValueError: If it is no PEM, or a key of another kind.
    """
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"the bootstrap key must be Ed25519, not {type(key).__name__}")  # noqa: TRY004
    return key


def sealing_key(bootstrap: Ed25519PrivateKey) -> bytes:
    """Return the key that seals signing keys, derived from the one secret that no table holds."""
    derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"flux auth signing keys v1")
    return derive.derive(bootstrap.private_bytes_raw())


def seal(key: SigningKey, sealing: bytes, nonce: bytes) -> bytes:
    """Return the private key for storage, readable only with `sealing`.

    `nonce` is NONCE_BYTES fresh random bytes. The key is bound to its kid. Whoever reads the tables
    cannot sign; whoever writes them cannot add a key.
    """
    return nonce + AESGCM(sealing).encrypt(
        nonce, key.private_key.private_bytes_raw(), key.kid.encode()
    )


def unseal(kid: str, sealed: bytes, sealing: bytes) -> Ed25519PrivateKey | None:
    """Return the private key, or None if it was sealed with another key or tampered with."""
    nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return Ed25519PrivateKey.from_private_bytes(
            AESGCM(sealing).decrypt(nonce, text, kid.encode())
        )
    except (InvalidTag, ValueError):
        return None
