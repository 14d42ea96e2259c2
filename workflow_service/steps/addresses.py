"""Which addresses a workflow may call: the internet, and what configuration names; never this network."""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_NAT64 = IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """A host that workflows may not call."""


class GuardedResolver(AbstractResolver):
    """Resolves a name once, for the connection that uses the answer: no second answer can differ.

    `allowed_hosts` may be anywhere; every other host must be on the public internet.
    """

    def __init__(self, allowed_hosts: Collection[str]) -> None:
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return where `host` is.

        Raises:
            AddressRefused: If any of its addresses is not public.
        """
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            self.check(host, result["host"])
        return found

    def check(self, host: str, address: str) -> None:
        """Raise if `host`, which is at `address`, may not be called.

        Raises:
            AddressRefused: If so.
            ValueError: If `address` is none.
        """
        if host.lower() not in self._allowed and not is_public(address):
            raise AddressRefused(f"workflows may not call {host!r}: it is not on the internet")

    async def close(self) -> None:
        """Close what resolves."""
        await self._resolver.close()


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet, whatever it is wrapped in.

    Raises:
        ValueError: If it is none.
    """
    parsed = ip_address(address.partition("%")[0])
    inner = _inner(parsed)
    return parsed.is_global and not parsed.is_multicast and (inner is None or is_public(str(inner)))


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
