"""Counts and durations of calls, for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from chassis.calls import Call, Proceed
from chassis.clock import Clock

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Keeps flux_rpc_total, flux_rpc_seconds and flux_rpc_active; `is_known` says which methods exist."""

    def __init__(
        self, registry: CollectorRegistry, clock: Clock, is_known: Callable[[str], bool]
    ) -> None:
        self._clock = clock
        self._is_known = is_known
        self._total = Counter(
            "flux_rpc_total", "Calls served.", ["method", "code"], registry=registry
        )
        self._seconds = Histogram(
            "flux_rpc_seconds",
            "How long calls took.",
            ["method"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._active = Gauge("flux_rpc_active", "Calls being served.", registry=registry)
        # The counters of each method and code, which are found by far more than they are counted up.
        self._totals: dict[tuple[str, str], Counter] = {}
        self._durations: dict[str, Histogram] = {}

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count the call when it has ended."""
        start = self._clock.monotonic()
        self._active.inc()
        try:
            await proceed()
        except asyncio.CancelledError:
            call.code = "CANCELLED"
            raise
        finally:
            # A method that nobody serves has no label of its own: its name comes from outside.
            known = call.served and self._is_known(call.method)
            method = call.method if known else "unknown"
            self._active.dec()
            total = self._totals.get((method, call.code))
            if total is None:
                total = self._totals[method, call.code] = self._total.labels(method, call.code)
            seconds = self._durations.get(method)
            if seconds is None:
                seconds = self._durations[method] = self._seconds.labels(method)
            total.inc()
            seconds.observe(self._clock.monotonic() - start)
