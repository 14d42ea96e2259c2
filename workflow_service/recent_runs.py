"""Runs that have ended, kept in memory for whoever asks right after."""

from __future__ import annotations

from collections import OrderedDict

from workflow_service.active_run import ActiveRun

RECENT_MAX = 1_000
RECENT_BYTES_MAX = 128 * 1024 * 1024


class RecentRuns:
    """The latest of them, as many as the limits allow; older ones are read from the store."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, ActiveRun] = OrderedDict()
        self._bytes = 0

    def add(self, run: ActiveRun) -> None:
        """Keep a run, and forget the oldest."""
        if run.id not in self._runs:
            self._runs[run.id] = run
            self._bytes += run.size_bytes
        while len(self._runs) > RECENT_MAX or (
            self._bytes > RECENT_BYTES_MAX and len(self._runs) > 1
        ):
            _, oldest = self._runs.popitem(last=False)
            self._bytes -= oldest.size_bytes

    def find(self, run_id: str) -> ActiveRun | None:
        """Return a run if it is still here."""
        return self._runs.get(run_id)
