"""The signing keys as this process has them: what signs, and what auth_service itself verifies with."""

from __future__ import annotations

from collections.abc import Sequence

from auth_service.claims import Claims
from auth_service.keys import SigningKey, current_key, sign_token
from chassis.faults import Unavailable
from chassis.tokens import VerificationKey


class Keyring:
    """Empty until the keys have been read from the store; then never empty again."""

    def __init__(self) -> None:
        self._keys: tuple[SigningKey, ...] = ()

    def replace(self, keys: Sequence[SigningKey]) -> None:
        """Sign and verify with these keys from now on; exactly one of them is current."""
        self._keys = tuple(keys)

    def known(self) -> tuple[SigningKey, ...]:
        """Return every key, or none before they have been read."""
        return self._keys

    def sign(self, claims: Claims) -> str:
        """Return a token signed with the current key."""
        key = current_key(self.published())
        return sign_token(claims, key.private_key, key.kid)

    def published(self) -> tuple[SigningKey, ...]:
        """Return every key that may verify a token, the current one first.

        Raises:
            Unavailable: KEYS_UNAVAILABLE until there are keys.
        """
        if not self._keys:
            raise Unavailable("KEYS_UNAVAILABLE", "auth_service has not read its keys yet")
        return self._keys

    def find(self, kid: str) -> VerificationKey | None:
        """Return the public half of the key with this id."""
        for key in self._keys:
            if key.kid == kid:
                return VerificationKey(public_key=key.private_key.public_key())
        return None

    async def refresh(self) -> None:
        """Do nothing: there is nobody to ask.

        Raises:
            Unavailable: KEYS_UNAVAILABLE until there are keys.
        """
        self.published()
