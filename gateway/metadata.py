"""Which metadata crosses the gateway: all but what belongs to one hop."""

from __future__ import annotations

from collections.abc import Iterable

from chassis.interceptors.request_id import REQUEST_ID_KEY, TRACEPARENT_KEY
from chassis.status import DETAILS_KEY

Pair = tuple[str, str | bytes]

FORWARDED_FOR_KEY = "x-forwarded-for"
# Source: RFC 9110, section 7.6.1, and what gRPC itself writes on every hop.
_ONE_HOP = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
# Said anew by the gateway, once: from what its own interceptors decided and its own socket saw.
_RENEWED = frozenset({REQUEST_ID_KEY, TRACEPARENT_KEY, FORWARDED_FOR_KEY})
_NOT_ONWARD = _ONE_HOP | _RENEWED


def onward(
    pairs: Iterable[Pair], *, request_id: str, traceparent: str, peer: str
) -> tuple[Pair, ...]:
    """Return what a backend is sent of a caller's metadata, in the order it came.

    `peer` is what gRPC calls the caller's address, such as "ipv4:10.0.0.7:51234"; it goes to the end of
    x-forwarded-for, behind what proxies in front of us wrote there.
    """
    kept: list[Pair] = []
    hops: list[str] = []
    for pair in pairs:
        key = pair[0]
        if key not in _NOT_ONWARD and not key.startswith("grpc-"):
            kept.append(pair)
        elif key == FORWARDED_FOR_KEY:
            hops.append(str(pair[1]))
    kept.append((REQUEST_ID_KEY, request_id))
    kept.append((TRACEPARENT_KEY, traceparent))
    kept.append((FORWARDED_FOR_KEY, ", ".join((*hops, _address(peer)))))
    return tuple(kept)


def back(pairs: Iterable[Pair] | None) -> tuple[Pair, ...]:
    """Return what a caller is sent of a backend's initial or trailing metadata."""
    return tuple(
        pair
        for pair in pairs or ()
        if pair[0] == DETAILS_KEY or not (pair[0] in _ONE_HOP or pair[0].startswith("grpc-"))
    )


def _address(peer: str) -> str:
    """Return the address in `peer` without its port: "ipv6:%5B::1%5D:50051" gives "::1"."""
    scheme, _, rest = peer.partition(":")
    if scheme not in {"ipv4", "ipv6"}:
        return "unknown"
    host = rest.rpartition(":")[0]
    return host.replace("%5B", "").replace("%5D", "").strip("[]")
