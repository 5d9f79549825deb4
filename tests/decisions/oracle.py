"""An oracle that knows both error rates. No rule that has to estimate them can beat it.

A sequential probability ratio test (Wald 1945) of the treatment's true rate against the
control's, in the same model and through the same stages. It rolls back when the ratio
reaches 1/alpha, and opens the next stage when the stage's own ratio has fallen to beta.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from tidegate_server.decisions.safety_evidence import HARMFUL_CHANCE
from tidegate_server.domain.policy import MINUTE, Policy
from tidegate_server.whatif.error_rates import RateSequence
from tidegate_server.whatif.traffic_model import SimulationTime, TrafficModel
from tidegate_server.whatif.user_population import UserPopulation

from tests.decisions.simulated_release import release


@dataclass(frozen=True)
class OracleRun:
    """The result of a release under the oracle."""

    rolled_back: bool
    windows: int
    extra: float


def run_oracle(
    by: Policy, model: TrafficModel, alpha: float, seed: int, most_windows: int
) -> OracleRun:
    """Run a bad release under the oracle, which needs no control group."""
    rng = random.Random(seed)
    users, rates = UserPopulation(by, model, rng), RateSequence(model, rng)
    subject = release(by)
    whole = stage = extra = 0.0
    for number in range(1, most_windows + 1):
        time = SimulationTime(number * by.interval_ms, number, 0)
        drawn = rates.draw(time, by.interval_ms)
        good, bad = drawn.control, drawn.treatment
        operations = model.traffic(time) * by.interval_ms / MINUTE
        strata = users.draw_window(subject, operations, drawn)
        treated = sum(each.treatment.outcomes for each in strata)
        failed = sum(each.treatment.errors for each in strata)
        gain = failed * math.log(bad / good) + (treated - failed) * math.log(
            (1.0 - bad) / (1.0 - good)
        )
        whole, stage = whole + gain, stage + gain
        extra += treated * (bad - good)
        if whole >= -math.log(alpha):
            return OracleRun(True, number, extra)
        if stage <= math.log(HARMFUL_CHANCE) and subject.stage < len(by.stages):
            subject = replace(subject, stage=subject.stage + 1, step=subject.step + 1)
            stage = 0.0
    return OracleRun(False, most_windows, extra)
