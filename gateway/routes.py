"""Which backend serves which method: by package at once, by method as soon as the backend has told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from chassis.faults import Unavailable, Unimplemented
from gateway.contract import Contract, Method

_RETRY_AFTER = timedelta(seconds=1)


class Routes:
    """The contracts of all backends, as far as they are known.

    `packages` maps a package prefix, such as "flux.table.", to the backend that owns it. Ownership is
    configuration and known from the start, so that a backend which has not answered yet is unavailable
    rather than unknown.
    """

    def __init__(self, packages: Mapping[str, str]) -> None:
        self._packages = dict(packages)
        self._contracts: dict[str, Contract] = {}
        self._methods: dict[str, Method] = {}

    def learn(self, backend: str, contract: Contract) -> None:
        """Take what a backend says of itself in place of all that was known of it."""
        self._contracts[backend] = contract
        self._methods = {
            path: method
            for known in self._contracts.values()
            for path, method in known.methods.items()
        }

    def contracts(self) -> Sequence[Contract]:
        """Return the contracts known, in the order of the backends' names."""
        return [self._contracts[name] for name in sorted(self._contracts)]

    def unknown_backends(self) -> list[str]:
        """Return the backends that have not said yet what they serve."""
        return sorted(set(self._packages.values()) - self._contracts.keys())

    def get(self, path: str) -> Method | None:
        """Return the method at `path`, or None if no backend has said that it serves it."""
        return self._methods.get(path)

    def find(self, path: str) -> Method:
        """Return the method at `path`, such as "/flux.table.v1.RowService/GetRow".

        Raises:
            Unavailable: NEIGHBOUR_UNAVAILABLE if its backend has not said yet what it serves.
            Unimplemented: METHOD_UNKNOWN if nobody serves it, or if it is for services alone: whoever
                asks at this door learns no more than that.
        """
        method = self._methods.get(path)
        if method is not None:
            return method
        for prefix, backend in self._packages.items():
            if path.startswith(f"/{prefix}") and backend not in self._contracts:
                raise Unavailable(
                    "NEIGHBOUR_UNAVAILABLE",
                    f"{backend} cannot be reached",
                    retry_after=_RETRY_AFTER,
                    neighbour=backend,
                )
        raise Unimplemented("METHOD_UNKNOWN", f"no method {path}", method=path)
