"""Moments in the store's own tables: UTC without saying so, which needs no time-zone data."""

from __future__ import annotations

from datetime import UTC, datetime


def stored(moment: datetime) -> datetime:
    """Return a moment as it is stored."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def moment(stored_: object) -> datetime:
    """Return the moment that is stored."""
    assert isinstance(stored_, datetime)
    return stored_.replace(tzinfo=UTC)
