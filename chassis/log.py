"""Logs as JSON lines on standard error: event name first, then fields."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
import structlog.tracebacks

from chassis import calls

# A field with one of these names never reaches the log, whoever put it there.
_SECRET_FIELDS = frozenset(
    {
        "authorization",
        "password",
        "secret",
        "token",
        "access_token",
        "refresh_token",
        "client_secret",
    }
)

_LEVELS = {"exception": "error", "warn": "warning", "fatal": "critical"}
_encode = json.JSONEncoder(default=repr).encode
# Without locals: those of a login are a name and a password.
_render_exception = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure(service: str, level: str) -> None:
    """Send every log line of this process to standard error as JSON with `service` in it."""
    structlog.configure(
        processors=[partial(_line, service)],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries that log the standard way are heard from warnings on.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")


def _line(service: str, logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    """Return the event as one line of JSON. In one step, because every call pays for it."""
    event["service"] = service
    if request_id := calls.request_id.get():
        event["request_id"] = request_id
        event["trace_id"] = calls.trace_id()
    event["level"] = _LEVELS.get(method, method)
    event["timestamp"] = f"{datetime.now(UTC).replace(tzinfo=None).isoformat('T', 'microseconds')}Z"
    for name in _SECRET_FIELDS & event.keys():
        event[name] = "(secret)"
    if "exc_info" in event:
        event = _render_exception(logger, method, event)
    return _encode(event)
