"""The probe: where little or no control is left, errors against control's last known rate.

A cumulative sum that bets on twice the rate and allows half as much again. It only
reopens a control group, by going back a stage; the concurrent comparison then decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidegate.counts import StratumCounts
from tidegate.epochs import has_enough_control

from tidegate_server.domain.evidence import total

FIRES_AT = math.log(50.0)
"""The excess, in logs, at which the probe asks for a control group."""

MAX_RETREATS = 3
"""How often a release goes back by itself; afterwards a person must decide."""

MEMORY = 300.0
"""Control's failures after which half of the memory of its rate is gone."""

LOG_TWICE = math.log(2.0)
ALLOWANCE = 1.5


@dataclass(frozen=True, slots=True)
class Probe:
    """Control's faded counts, the present excess of errors, and the number of retreats.

    Attributes:
        operations, errors: of control, faded; ``errors`` are users who failed.
        excess: of the treatment's errors, in logs.
        retreats: of this attempt, by errors or by values.
        seen: whether there was ever enough control to take a rate from.
    """

    operations: float = 50.0
    errors: float = 0.5
    excess: float = 0.0
    retreats: int = 0
    seen: bool = False

    @property
    def rate(self) -> float:
        """Control's last known error rate, failing users per operation."""
        # Failures that are reported before their operations can fade these to nothing.
        if self.operations <= 0.0:
            return 0.5
        return min(0.5, max(1e-6, self.errors / self.operations))


def update_probe(before: Probe, strata: Sequence[StratumCounts]) -> Probe:
    """Return the probe after a window.

    While a stratum has enough control, the probe learns control's rate. In every other window
    it adds up the treatment's excess, once it knows a rate.
    """
    if has_enough_control(strata):
        control = total(each.control for each in strata if each.compared)
        fading = 0.5 ** (control.failing / MEMORY)
        return Probe(
            operations=before.operations * fading + control.outcomes,
            errors=before.errors * fading + control.failing,
            retreats=before.retreats,
            seen=before.seen or control.outcomes > 0,
        )
    treated = total(each.treatment for each in strata)
    if not before.seen or treated.outcomes == 0:
        return before
    gain = treated.failing * LOG_TWICE - treated.outcomes * before.rate * ALLOWANCE
    return replace(before, excess=max(0.0, before.excess + gain))


def count_retreat(probe: Probe) -> Probe:
    """Return the probe after the release has gone back a stage."""
    return replace(probe, excess=0.0, retreats=probe.retreats + 1)
