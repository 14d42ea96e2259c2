"""Values that Python itself has no type for.

Pure: `chassis.values` knows how they travel.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A calendar span; its parts do not convert into one another."""

    months: int
    days: int
    microseconds: int


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON document as text."""

    text: str
