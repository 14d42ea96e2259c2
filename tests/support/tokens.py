"""Tokens of every kind, good and bad, signed by a key of the test's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.clock import Clock, SystemClock
from chassis.tokens import VerificationKey

KEY_ID = "test"


class TestKeys:
    """A KeySource with one key, and the tokens it signs."""

    __test__ = False

    def __init__(self, clock: Clock | None = None) -> None:
        self.private_key = Ed25519PrivateKey.generate()
        self.clock = clock or SystemClock()
        self.refreshes = 0

    def find(self, kid: str) -> VerificationKey | None:
        """Return the key if `kid` is its id."""
        return VerificationKey(public_key=self.private_key.public_key()) if kid == KEY_ID else None

    async def refresh(self) -> None:
        """Find nothing new, and count."""
        self.refreshes += 1

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of an editor's token; a change to None leaves the claim out."""
        now = int(self.clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": "flux",
            "aud": "flux",
            "sub": "usr_1",
            "kind": "person",
            "roles": ["editor"],
            "sid": "ses_1",
            "jti": "tok_1",
            "iat": now,
            "exp": now + int(timedelta(minutes=10).total_seconds()),
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def sign(
        self,
        claims: dict[str, Any] | None = None,
        *,
        key: Any = None,
        algorithm: str = "EdDSA",
        **headers: Any,
    ) -> str:
        """Return a token; by default a good one."""
        return jwt.encode(
            self.claims() if claims is None else claims,
            self.private_key if key is None else key,
            algorithm=algorithm,
            headers={"kid": KEY_ID, "typ": "at+jwt", **headers},
        )
