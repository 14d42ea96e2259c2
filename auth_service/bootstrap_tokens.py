"""auth_service's own token: signed with the key from configuration, because the others are in tables.

table_service trusts that key for this one service; see DESIGN, "The knot".
"""

from __future__ import annotations

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auth_service.claims import ACCESS_LIFETIME, Issue, service_claims
from auth_service.keys import BOOTSTRAP_KID, sign_token
from chassis.clock import Clock
from chassis.ids import IdMaker

SERVICE_NAME = "auth"


class BootstrapTokens:
    """A TokenSource that asks nobody; a token is replaced when half its life is over."""

    def __init__(
        self, *, private_key: Ed25519PrivateKey, issuer: str, clock: Clock, ids: IdMaker
    ) -> None:
        self._private_key = private_key
        self._issuer = issuer
        self._clock = clock
        self._ids = ids
        self._token = ""
        self._replace_at: datetime | None = None

    async def token(self) -> str:
        """Return a token that is valid for at least half the lifetime."""
        now = self._clock.now()
        if self._replace_at is None or now >= self._replace_at:
            issue = Issue(issuer=self._issuer, time=now, token_id=self._ids.new_id("tok"))
            self._token = sign_token(
                service_claims(issue, SERVICE_NAME), self._private_key, BOOTSTRAP_KID
            )
            self._replace_at = now + ACCESS_LIFETIME / 2
        return self._token
