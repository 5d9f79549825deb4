"""The evidence of harm of a release that never had a control group."""

from __future__ import annotations

import math

from tidegate.counts import Counts

from tidegate_server.decisions.version_1.harm_evidence import RATIOS


def increments_without_control(treated: Counts, highest: float) -> list[float]:
    """Return the log factor of a window for each bet, against a highest allowed rate."""
    return [
        treated.failing * math.log(grid) - treated.outcomes * highest * (grid - 1.0)
        for grid in RATIOS
    ]
