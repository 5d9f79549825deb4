"""Settings for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A slow machine must not make a property fail.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("untimed")
