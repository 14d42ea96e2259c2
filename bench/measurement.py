"""One figure with the baseline it stands beside."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A figure; `baseline` is the same quantity without FluxEngine, measured in the same run.

    `baseline_name` says what the baseline is. `metric` is part of the contract: results are compared by it.
    """

    metric: str
    value: float
    unit: str
    baseline: float
    baseline_name: str

    @property
    def ratio(self) -> float:
        """Return value over baseline."""
        return self.value / self.baseline

    def as_json(self) -> dict[str, object]:
        """Return the figure as it stands in results.json."""
        return {
            "metric": self.metric,
            "value": round(self.value, 3),
            "unit": self.unit,
            "baseline": round(self.baseline, 3),
            "ratio": round(self.ratio, 3),
            "baseline_name": self.baseline_name,
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the `percent`-th percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
