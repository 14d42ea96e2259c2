"""A token that was had elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A TokenSource with one token; the empty one means none."""

    value: str

    async def token(self) -> str:
        """Return the token."""
        return self.value
