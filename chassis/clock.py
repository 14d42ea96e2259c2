"""Time as something that is passed in, so that a test can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two readings of time: one for people and storage, one for measuring."""

    def now(self) -> datetime:
        """Return the wall time in UTC; it may jump."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; it never goes back."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()
