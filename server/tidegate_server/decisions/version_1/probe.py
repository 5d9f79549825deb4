"""The probe: where no control group is left, errors against control's last known rate.

A cumulative sum that bets on twice the rate and allows half as much again. It only
reopens a control group, by going back a stage; the concurrent comparison then decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tidegate_server.decisions.observations import Window

FIRES_AT = math.log(20.0)
"""The excess, in logs, at which the probe asks for a control group."""

MAX_RETREATS = 3
"""How often a release goes back by itself; afterwards a person must decide."""

FADING = 0.5 ** (1 / 60)
"""The weight of control's counts halves in sixty windows with a control group."""

LOG_TWICE = math.log(2.0)
ALLOWANCE = 1.5


@dataclass(frozen=True, slots=True)
class Probe:
    """Control's faded counts, the present excess of errors, and the number of retreats.

    ``seen``: whether there was ever a control group to take a rate from.
    """

    operations: float = 50.0
    errors: float = 0.5
    excess: float = 0.0
    retreats: int = 0
    seen: bool = False

    @property
    def fires(self) -> bool:
        """Whether errors have risen too far above control's last known rate."""
        return self.excess >= FIRES_AT

    @property
    def rate(self) -> float:
        """Control's last known error rate, failing users per operation."""
        return min(0.5, max(1e-6, self.errors / self.operations))


def update_probe(probe: Probe, window: Window) -> Probe:
    """Return the probe after a window.

    While any stratum has a control group, the probe learns its rate. Without a control
    group, and with a known rate, it adds up the treatment's excess.
    """
    if window.has_control:
        operations, errors = 0, 0
        for each in window.strata:
            if each.compared:
                operations += each.control.outcomes
                errors += each.control.failing
        return Probe(
            operations=probe.operations * FADING + operations,
            errors=probe.errors * FADING + errors,
            retreats=probe.retreats,
            seen=probe.seen or operations > 0,
        )
    treated = window.treatment
    if not probe.seen or treated.outcomes == 0:
        return probe
    gain = treated.failing * LOG_TWICE - treated.outcomes * probe.rate * ALLOWANCE
    return Probe(
        operations=probe.operations,
        errors=probe.errors,
        excess=max(0.0, probe.excess + gain),
        retreats=probe.retreats,
        seen=probe.seen,
    )
