"""What every test shares."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A shared machine is slow at times: a deadline on one example says nothing about the code.
settings.register_profile(
    "flux", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
settings.load_profile("flux")
