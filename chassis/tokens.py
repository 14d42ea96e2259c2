"""Verifying access tokens: signature, type, issuer, audience, time, and whether the session still stands.

Source: RFC 9068 (the type "at+jwt" and its claims) and RFC 8725 (one algorithm, chosen by the verifier).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chassis.clock import Clock
from chassis.faults import Unauthenticated
from chassis.identity import Principal, PrincipalKind, Role
from chassis.revocations import Revocations

AUDIENCE = "flux"
ALGORITHM = "EdDSA"
TOKEN_TYPE = "at+jwt"
TOKEN_BYTES_MAX = 4096
_CACHED_MAX = 20_000
# How far the clocks of two machines may be apart: a token may seem to be issued in the future.
_SKEW_S = 30
_REQUIRED = ["iss", "aud", "sub", "exp", "iat", "jti", "sid", "kind", "roles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A public key; if `only_service` is set, good for the tokens of that service alone."""

    public_key: Ed25519PublicKey
    only_service: str = ""


class KeySource(Protocol):
    """Where keys come from: auth_service has them, every other service fetches them."""

    def find(self, kid: str) -> VerificationKey | None:
        """Return the key with this id if it is known here."""

    async def refresh(self) -> None:
        """Look for new keys, at most so often.

        Raises:
            Unavailable: KEYS_UNAVAILABLE if no key has ever been had.
        """


class TokenVerifier:
    """Turns tokens into principals. A token's signature is checked once, its session at every call."""

    def __init__(
        self, *, keys: KeySource, issuer: str, clock: Clock, revocations: Revocations
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._clock = clock
        self._revocations = revocations
        self._verified: dict[str, Principal] = {}

    async def verify(self, token: str) -> Principal:
        """Return whom the token speaks for.

        Raises:
            Unauthenticated: TOKEN_INVALID, TOKEN_EXPIRED or TOKEN_REVOKED; never why a token is invalid.
            Unavailable: KEYS_UNAVAILABLE while there are no keys to verify with.
        """
        principal = self._verified.get(token)
        if principal is None:
            principal = await self._verify_signature(token)
            if len(self._verified) >= _CACHED_MAX:
                self._forget_expired()
            self._verified[token] = principal
        if principal.expire_time <= self._clock.now():
            self._verified.pop(token, None)
            raise Unauthenticated("TOKEN_EXPIRED", "the token has expired")
        if self._revocations.is_revoked(principal.session_id):
            raise Unauthenticated("TOKEN_REVOKED", "the session was revoked")
        return principal

    async def _verify_signature(self, token: str) -> Principal:
        if len(token) > TOKEN_BYTES_MAX:
            raise _invalid()
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise _invalid() from error
        if header.get("typ") != TOKEN_TYPE or header.get("alg") != ALGORITHM:
            raise _invalid()
        key = await self._key(header.get("kid"))
        try:
            claims = jwt.decode(
                token,
                key.public_key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                # Times are held against our own clock, which a test can move.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
            principal = _principal(claims)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise _invalid() from error
        if key.only_service and not principal.is_service(key.only_service):
            raise _invalid()
        if claims["iat"] > self._clock.now().timestamp() + _SKEW_S:
            raise _invalid()
        return principal

    async def _key(self, kid: object) -> VerificationKey:
        if not isinstance(kid, str):
            raise _invalid()
        key = self._keys.find(kid)
        if key is None:
            await self._keys.refresh()
            key = self._keys.find(kid)
        if key is None:
            raise _invalid()
        return key

    def _forget_expired(self) -> None:
        """Make room: drop what has expired, and if that is not half, everything."""
        now = self._clock.now()
        kept = {token: who for token, who in self._verified.items() if who.expire_time > now}
        self._verified = kept if len(kept) <= _CACHED_MAX // 2 else {}


def _principal(claims: Mapping[str, object]) -> Principal:
    """Return whom verified claims speak for.

    Raises:
        ValueError: If a claim has a value or a type that no token of ours has.
    """
    kind = PrincipalKind(claims["kind"])  # type: ignore[arg-type]  # StrEnum refuses what is no name
    roles = claims["roles"]
    actor = claims.get("act", {"sub": ""})
    texts = (claims["sub"], claims["sid"], claims["jti"])
    expires, issued = claims["exp"], claims["iat"]
    if not (
        isinstance(roles, list)
        and isinstance(actor, dict)
        and isinstance(actor.get("sub"), str)
        and isinstance(expires, int)
        and isinstance(issued, int)
        and all(isinstance(text, str) and text for text in texts)
    ):
        raise ValueError("a claim has the wrong type")
    held = [role for role in Role if role.value in roles]
    if (kind is PrincipalKind.PERSON) != bool(held):
        raise ValueError("people have roles and services have none")
    return Principal(
        subject=str(claims["sub"]),
        kind=kind,
        role=held[-1] if held else None,
        session_id=str(claims["sid"]),
        actor=str(actor["sub"]),
        token_id=str(claims["jti"]),
        expire_time=datetime.fromtimestamp(expires, UTC),
    )


def _invalid() -> Unauthenticated:
    return Unauthenticated("TOKEN_INVALID", "the token is not valid")
