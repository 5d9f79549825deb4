"""Other ways to decide about a release, to compare with: what teams and other products use.

Each rule sees the pooled totals of both arms, operations and errors, after every window, while
the release opens its stages by the clock. It says only whether to stop.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from tidegate_server.domain.policy import MINUTE, Policy
from tidegate_server.whatif.error_rates import RateSequence
from tidegate_server.whatif.traffic_model import SimulationTime, TrafficModel
from tidegate_server.whatif.user_population import UserPopulation

from tests.decisions.simulated_release import release


@dataclass
class Totals:
    """Operations and errors of both arms since the release began."""

    control: int = 0
    control_errors: int = 0
    treated: int = 0
    treated_errors: int = 0


class Rule(Protocol):
    """Decides after each window whether to stop the release."""

    def stops(self, totals: Totals, operations: int, errors: int) -> bool:
        """Return whether to stop; ``operations`` and ``errors`` of the treatment in this window."""


class PeekedZTest:
    """A one-sided z test of two proportions at 1 %, looked at after every window."""

    CRITICAL = 2.326

    def stops(self, totals: Totals, operations: int, errors: int) -> bool:
        if not totals.control or not totals.treated:
            return False
        both = totals.control + totals.treated
        pooled = (totals.control_errors + totals.treated_errors) / both
        variance = pooled * (1.0 - pooled) * (1.0 / totals.control + 1.0 / totals.treated)
        if variance <= 0.0:
            return False
        excess = totals.treated_errors / totals.treated - totals.control_errors / totals.control
        return excess / math.sqrt(variance) >= self.CRITICAL


class SuccessRate:
    """Stops when fewer than 99 % succeed in five windows.

    The defaults of Flagger's examples: ``request-success-rate`` of at least 99, ``threshold: 5``
    (https://docs.flagger.app/usage/metrics).
    """

    LEAST = 0.99
    FAILED_WINDOWS = 5

    def __init__(self) -> None:
        self._failed = 0

    def stops(self, totals: Totals, operations: int, errors: int) -> bool:
        if operations and 1.0 - errors / operations < self.LEAST:
            self._failed += 1
        return self._failed >= self.FAILED_WINDOWS


class ConfidenceSequence:
    """An asymptotic confidence sequence for the difference of the pooled error rates.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
    asymptotic confidence sequences" (arXiv 2103.06476), its one-sided form, tightest at 5,000
    operations, at 1 %. GrowthBook's sequential test is of this form, with this default
    (https://docs.growthbook.io/statistics/sequential).
    """

    ALPHA = 0.01
    TIGHTEST_AT = 5_000

    def stops(self, totals: Totals, operations: int, errors: int) -> bool:
        if not totals.control_errors + totals.treated_errors:
            return False
        if not totals.control or not totals.treated:
            return False
        control = totals.control_errors / totals.control
        treated = totals.treated_errors / totals.treated
        number = totals.control + totals.treated
        variance = number * (
            control * (1.0 - control) / totals.control + treated * (1.0 - treated) / totals.treated
        )
        log_alpha = math.log(2.0 * self.ALPHA)
        rho2 = (-2.0 * log_alpha + math.log(1.0 - 2.0 * log_alpha)) / self.TIGHTEST_AT
        scaled = number * rho2 + 1.0
        width = math.sqrt(
            variance
            * 2.0
            * scaled
            / (number * number * rho2)
            * math.log(1.0 + math.sqrt(scaled) / (2.0 * self.ALPHA))
        )
        return treated - control > width


RULES: dict[str, Callable[[], Rule]] = {
    "z test, peeked": PeekedZTest,
    "success rate of 99 %": SuccessRate,
    "confidence sequence of totals": ConfidenceSequence,
}


def stopped_by(
    rule: Rule, by: Policy, model: TrafficModel, seed: int, *, windows: int, stage_windows: int
) -> bool:
    """Return whether a rule stops a release that opens a stage every ``stage_windows`` windows."""
    rng = random.Random(seed)
    users, rates = UserPopulation(by, model, rng), RateSequence(model, rng)
    subject = release(by)
    totals = Totals()
    since_change = 0
    for number in range(1, windows + 1):
        time = SimulationTime(number * by.interval_ms, number, since_change)
        operations = errors = 0
        expected = model.traffic(time) * by.interval_ms / MINUTE
        for stratum in users.draw_window(subject, expected, rates.draw(time, by.interval_ms)):
            totals.control += stratum.control.outcomes
            totals.control_errors += stratum.control.errors
            operations += stratum.treatment.outcomes
            errors += stratum.treatment.errors
        totals.treated += operations
        totals.treated_errors += errors
        if rule.stops(totals, operations, errors):
            return True
        since_change += 1
        if since_change == stage_windows and subject.stage < len(by.stages):
            subject = replace(subject, stage=subject.stage + 1, step=subject.step + 1)
            since_change = 0
    return False
