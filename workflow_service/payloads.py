"""The values of events as JSON text, and back without loss.

What JSON has no type for is an object with one key: {"$t": …} a timestamp, {"$s": …} a span in
microseconds, {"$b": …} bytes in base64, {"$f": …} a float that is not finite, {"$m": …} a map one of
whose own keys begins with "$".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from json.encoder import (  # type: ignore[attr-defined]  # typeshed does not know them
    c_make_encoder,
    encode_basestring,
)

_MICROSECOND = timedelta(microseconds=1)
_decoder = json.JSONDecoder()


def _refuse(value: object) -> object:
    raise TypeError(f"a {type(value).__name__} is not plain JSON")


# What JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")) makes anew for every call,
# at twice the cost of the call itself. Its first argument would look for cycles; values here have none.
_chunks = c_make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)


def encode(value: object) -> str:
    """Return `value` as text: None, bool, int, float, str, bytes, datetime, timedelta, lists and maps.

    Raises:
        TypeError: For anything else.
    """
    try:
        text = "".join(_chunks(value, 0))
    except (TypeError, ValueError):
        return "".join(_chunks(_tagged(value), 0))
    # Most values are plain JSON, which the encoder alone has done in a microsecond.
    return "".join(_chunks(_tagged(value), 0)) if '"$' in text else text


def decode(text: str) -> object:
    """Return the value that `encode` made `text` from; tuples come back as lists.

    Raises:
        ValueError: If it did not.
    """
    value = _decoder.decode(text)
    return _untagged(value) if '{"$' in text else value


def _tagged(value: object) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else {"$f": repr(value)}
        case datetime():
            return {"$t": value.astimezone(UTC).isoformat()}
        case date():
            return {"$t": datetime(value.year, value.month, value.day, tzinfo=UTC).isoformat()}
        case timedelta():
            return {"$s": value // _MICROSECOND}
        case bytes():
            return {"$b": base64.b64encode(value).decode()}
        case list() | tuple():
            return [_tagged(item) for item in value]
        case Mapping():
            items = {key: _tagged(item) for key, item in value.items()}
            return {"$m": items} if any(key.startswith("$") for key in items) else items
        case _:
            raise TypeError(f"a {type(value).__name__} cannot be journalled")


_UNTAG: dict[str, Callable[[str], object]] = {
    "$f": float,
    "$t": datetime.fromisoformat,
    "$b": base64.b64decode,
}


def _untagged(value: object) -> object:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(tag, content)] = value.items()
        if tag == "$m" and isinstance(content, dict):
            return {key: _untagged(item) for key, item in content.items()}
        if tag == "$s" and isinstance(content, int):
            return timedelta(microseconds=content)
        if tag in _UNTAG and isinstance(content, str):
            return _UNTAG[tag](content)
    return {key: _untagged(item) for key, item in value.items()}


def utf8_bytes(text: str) -> int:
    """Return how many bytes `text` is on the wire.

    Raises:
        ValueError: If it holds a lone surrogate, and so never can be there.
    """
    return len(text) if text.isascii() else len(text.encode())


def depth(value: object) -> int:
    """Return how deep lists and maps nest in `value`; 0 for anything else."""
    if isinstance(value, Mapping):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list | tuple):
        return 1 + max(map(depth, value), default=0)
    return 0
