"""The sessions that have ended before their tokens have."""

from __future__ import annotations

from datetime import datetime

from chassis.clock import Clock


class Revocations:
    """A set of session ids, each kept until the last token of its session has expired."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, datetime] = {}

    def is_revoked(self, session_id: str) -> bool:
        """Return whether the session has ended."""
        return session_id in self._until

    def add(self, session_id: str, expire_time: datetime) -> None:
        """Refuse the session's tokens from now on; after `expire_time` none of them is valid anyway."""
        now = self._clock.now()
        if expire_time > now:
            self._until = {sid: until for sid, until in self._until.items() if until > now}
            self._until[session_id] = expire_time

    def snapshot(self) -> dict[str, datetime]:
        """Return every revoked session with the time after which it may be forgotten."""
        return dict(self._until)
