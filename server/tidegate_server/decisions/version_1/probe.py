"""The probe: where no control group is left, errors against control's last known rate.

A cumulative sum that bets on twice the rate and allows half as much again. It only
reopens a control group, by going back a stage; the concurrent comparison then decides.
"""

from __future__ import annotations

import math

from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.probe import Probe

FIRES_AT = math.log(20.0)
"""The excess, in logs, at which the probe asks for a control group."""

FADING = 0.5 ** (1 / 60)
"""The weight of control's counts halves in sixty windows with a control group."""

LOG_TWICE = math.log(2.0)
ALLOWANCE = 1.5


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
