"""The first rows of a dataset as expressions see them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from chassis.scalars import Json, Span
from workflow_service.payloads import encode

ROWS_MAX = 100
# Rows past this, as JSON text, are left out: a preview is to decide by, not to compute with.
BYTES_MAX = 256 * 1024


def preview(
    columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> tuple[Mapping[str, object], ...]:
    """Return rows as maps by column, as many as the limits allow; later ones are left out."""
    kept: list[Mapping[str, object]] = []
    size = 0
    for row in rows:
        shown = dict(zip(columns, map(expression_value, row), strict=True))
        size += len(encode(shown))
        if size > BYTES_MAX or len(kept) == ROWS_MAX:
            break
        kept.append(shown)
    return tuple(kept)


def expression_value(value: object) -> object:
    """Return a value of the store as the nearest thing that an expression can compare.

    A decimal becomes a double, a date midnight UTC, a time without a zone UTC, JSON what it says, a time of
    day, a UUID, and a span that has months, text.
    """
    match value:
        case Decimal():
            return float(value)
        case datetime():
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value
        case date():
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        case time():
            return value.isoformat()
        case UUID():
            return str(value)
        case Json():
            return _parsed(value.text)
        case Span():
            return _span(value)
        case list() | tuple():
            return [expression_value(item) for item in value]
        case Mapping():
            return {str(key): expression_value(item) for key, item in value.items()}
        case _:
            return value


def _parsed(text: str) -> object:
    try:
        parsed: object = json.loads(text)
        # A lone surrogate, which JSON can spell, is no text anywhere else.
        encode(parsed).encode()
    except (ValueError, RecursionError):
        return text
    return parsed


def _span(span: Span) -> object:
    if span.months:
        return f"P{span.months}M{span.days}DT{span.microseconds / 1_000_000:f}S"
    return timedelta(days=span.days, microseconds=span.microseconds)
