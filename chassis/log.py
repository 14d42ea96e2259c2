"""Logs as JSON lines on standard error: event name first, then fields."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping

import structlog
import structlog.tracebacks

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


def configure(service: str, level: str) -> None:
    """Send every log line of this process to standard error as JSON with `service` in it."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _drop_secrets,
            # Without locals: those of a login are a name and a password.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # Libraries that log the standard way are heard from warnings on.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")


def _drop_secrets(
    _logger: object, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    for name in _SECRET_FIELDS & event.keys():
        event[name] = "(secret)"
    return event
