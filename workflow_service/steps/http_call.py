"""HTTP calls: at least once, bounded in time, size and number, and never into this network."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping

import aiohttp
from yarl import URL

from chassis.values import to_plain_json
from workflow_service.definition import HttpCall
from workflow_service.events import Failure, ValueMade
from workflow_service.failures import permanent, transient
from workflow_service.payloads import depth, encode
from workflow_service.steps.addresses import AddressRefused, GuardedResolver
from workflow_service.steps.effect import Effect, StepRefused, evaluated

BODY_BYTES_MAX = 1024 * 1024
CONCURRENT_CALLS_MAX = 100
URL_CHARS_MAX = 8_192
# What an expression can take in; a deeper body stays text.
_BODY_DEPTH_MAX = 24
# Every way to write an address, and some that only look like one.
_ADDRESS_LIKE = re.compile(r"[0-9.]+\Z|.*:")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_HEADER_VALUE = re.compile(r"[^\r\n\0]*\Z")
# These are the connection's, or ours.
_RESERVED_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "idempotency-key", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "proxy-authorization", "proxy-connection"}
)
_RETRIED_STATUSES = frozenset({408, 429})


class HttpCaller:
    """One client for all runs; `close` ends it."""

    def __init__(self, resolver: GuardedResolver) -> None:
        self._resolver = resolver
        self._slots = asyncio.Semaphore(CONCURRENT_CALLS_MAX)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=resolver, use_dns_cache=False, limit=CONCURRENT_CALLS_MAX
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The attempt's own timeout rules; a compressed answer could be any size unpacked.
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def call(self, kind: HttpCall, effect: Effect) -> ValueMade | Failure:
        """Make the call.

        Raises:
            StepRefused: If the call cannot be made as the step describes it.
        """
        url = self._url(kind, effect)
        headers = _headers(kind, effect)
        content = _content(kind, effect)
        if content is not None:
            headers.setdefault("Content-Type", "application/json")
        try:
            async with self._slots:
                async with self._session.request(
                    kind.method, url, headers=headers, data=content, allow_redirects=False
                ) as response:
                    body = await _read(response)
        except AddressRefused as error:
            return permanent("HTTP_REFUSED", str(error))
        except (aiohttp.ClientError, OSError) as error:
            refused = error.__cause__
            if isinstance(refused, AddressRefused):
                return permanent("HTTP_REFUSED", str(refused))
            return transient("HTTP_FAILED", f"{url.host} could not be called: {error}")
        return _answer(response, body)

    def _url(self, kind: HttpCall, effect: Effect) -> URL:
        text = evaluated(kind.url, effect.context, "url")
        if not isinstance(text, str) or len(text) > URL_CHARS_MAX:
            raise StepRefused(
                permanent(
                    "HTTP_REFUSED", f"the URL is no text of at most {URL_CHARS_MAX} characters"
                )
            )
        try:
            url = URL(text)
            host, known = url.host, url.scheme in ("http", "https")
        except ValueError as error:
            raise StepRefused(
                permanent("HTTP_REFUSED", f"the URL is not valid: {error}")
            ) from error
        if host is None or not known:
            raise StepRefused(permanent("HTTP_REFUSED", "the URL is not one of http or https"))
        # A name is checked where it is resolved; an address is never resolved.
        if _ADDRESS_LIKE.match(host):
            try:
                self._resolver.check(host, host)
            except (AddressRefused, ValueError) as error:
                raise StepRefused(permanent("HTTP_REFUSED", str(error))) from error
        return url


def _headers(kind: HttpCall, effect: Effect) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, expression in sorted(kind.headers.items()):
        value = evaluated(expression, effect.context, f"header {name!r}")
        if name.lower() in _RESERVED_HEADERS or not _HEADER_NAME.match(name):
            raise StepRefused(permanent("HTTP_REFUSED", f"header {name!r} cannot be set"))
        if not isinstance(value, str) or not _HEADER_VALUE.match(value):
            raise StepRefused(permanent("HTTP_REFUSED", f"header {name!r} is no text of one line"))
        headers[name] = value
    headers["Accept-Encoding"] = "identity"
    headers["Idempotency-Key"] = effect.key
    return headers


def _content(kind: HttpCall, effect: Effect) -> bytes | None:
    if kind.body is None:
        return None
    value = evaluated(kind.body, effect.context, "body")
    text = json.dumps(to_plain_json(value), ensure_ascii=False, separators=(",", ":"))
    return text.encode()


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body, or None if it is larger than BODY_BYTES_MAX."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            response.close()
            return None
    return bytes(body)


def _answer(response: aiohttp.ClientResponse, body: bytes | None) -> ValueMade | Failure:
    status = response.status
    host = response.url.host
    if status in _RETRIED_STATUSES or status >= 500:
        return transient(f"HTTP_{status}", f"{host} answered {status}")
    if not 200 <= status < 300:
        return permanent(f"HTTP_{status}", f"{host} answered {status}")
    if body is None:
        return permanent(
            "STEP_RESULT_TOO_LARGE", f"{host} answered more than {BODY_BYTES_MAX} bytes"
        )
    return ValueMade(value={"status": status, "body": _body(response.headers, body)})


def _body(headers: Mapping[str, str], body: bytes) -> object:
    """Return the body parsed if it is JSON, else as text."""
    text = body.decode(errors="replace")
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        return text
    try:
        parsed: object = json.loads(text, parse_int=_integer)
        # A lone surrogate, which JSON can spell, is no text anywhere else.
        encode(parsed).encode()
    except (ValueError, RecursionError):
        return text
    return parsed if depth(parsed) <= _BODY_DEPTH_MAX else text


def _integer(digits: str) -> int | float:
    number = float(digits)
    if abs(number) < 2.0**63:
        return int(digits)
    if math.isinf(number):
        raise ValueError("an integer is larger than a double can be")
    return number
