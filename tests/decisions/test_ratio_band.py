"""The band of a check is the inversion of its evidence of harm."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import StratumCounts
from tidegate.harm_evidence import HarmEvidence, VarianceGuard, update_harm_evidence
from tidegate.model import Tolerance
from tidegate_server.decisions.ratio_band import (
    RatioBand,
    Seen,
    band_bounds,
    seen_ratio,
    tolerances,
    update_band,
)
from tidegate_server.whatif.sampling import binomial, poisson

from tests.decisions.simulated_release import arms

RATIOS = (1.4, 2.0, 3.2, 7.0, 25.0, 150.0)
WEIGHTS = (0.38, 0.27, 0.17, 0.09, 0.06, 0.03)
LIMIT = 1.0 / (0.9 * 0.01)
LOG_LIMIT = math.log(LIMIT)


def exchange(counts: StratumCounts) -> StratumCounts:
    return StratumCounts(counts.stratum, 1.0 - counts.share, counts.treatment, counts.control)


def capped_exp(log: float) -> float:
    return math.exp(min(log, 600.0))


@dataclass
class ReferenceEvidence:
    """E for ``p_t <= ratio * p_c + difference``, straight from its definition, bet by bet."""

    ratio: float
    difference: float = 0.0
    remaining: float = 0.0
    logs: list[float] = field(default_factory=lambda: [-math.inf] * 6)

    def add(
        self,
        strata: list[StratumCounts],
        onset: float,
        before: float,
        after: float,
        earlier: dict[int, int],
    ) -> float:
        """Add a window and return ln E."""
        if onset > 0.0:
            stake = self.remaining + math.log(onset)
            self.logs = [math.log(capped_exp(log) + math.exp(stake)) for log in self.logs]
            self.remaining += math.log1p(-onset)
        for each in strata:
            s, failed = each.share, each.treatment.failing
            both = failed + each.control.failing
            q = s * self.ratio / (s * self.ratio + 1 - s)
            v = (earlier.get(each.stratum, 0) if self.difference else both) * q * (1 - q)
            for place, times in enumerate(RATIOS):
                q_bet = s * times * self.ratio / (s * times * self.ratio + 1 - s)
                gain = failed * math.log(q_bet / q)
                gain += (both - failed) * math.log((1 - q_bet) / (1 - q))
                scaled = times * (1 - q_bet) / (1 - q)
                gain -= each.treatment.outcomes * self.difference * (scaled - 1)
                self.logs[place] += min(gain / (1 + before * v), gain / (1 + after * v))
        return math.log(
            math.exp(self.remaining)
            + sum(w * capped_exp(log) for w, log in zip(WEIGHTS, self.logs, strict=True))
        )


@dataclass
class BandRun:
    """A check's band and its E, window by window."""

    tolerance: Tolerance
    wobble: float = 0.0
    band: RatioBand = RatioBand()
    before: HarmEvidence = HarmEvidence()
    after: HarmEvidence = HarmEvidence()

    def __post_init__(self) -> None:
        # A guard that has learnt this much already, and learns on.
        guard = VarianceGuard(excess=self.wobble * 1e6, information=1e6, variance=self.wobble)
        self.after = HarmEvidence(guard=guard)

    def add(self, strata: list[StratumCounts]) -> tuple[float | None, float | None]:
        """Add a window and return the band."""
        self.before = self.after
        self.after = update_harm_evidence(
            self.before,
            strata,
            1.0 + self.tolerance.relative,
            self.tolerance.absolute,
            new_stage=False,
        )
        self.band = update_band(
            self.band,
            self.tolerance,
            strata,
            self.before,
            self.after,
            limit=LIMIT,
            new_stage=False,
        )
        return band_bounds(self.band, self.tolerance)


def random_window(dice: random.Random, ratio: float, shares: list[float]) -> list[StratumCounts]:
    """Return a window in which the treatment fails ``ratio`` times as often."""
    strata = []
    for stratum, share in enumerate(shares, start=1):
        operations = poisson(dice, 1_000)
        treated = binomial(dice, operations, share)
        rate = 0.01
        strata.append(
            arms(
                share,
                (operations - treated, binomial(dice, operations - treated, rate)),
                (treated, binomial(dice, treated, min(1.0, rate * ratio))),
                stratum,
            )
        )
    return strata


TOLERANCES = (
    Tolerance(0.05),
    Tolerance(0.0),
    Tolerance(0.1),
    Tolerance(0.0, 0.002),
    Tolerance(0.1, 0.0005),
)


@given(
    st.sampled_from(TOLERANCES),
    st.sampled_from([0.2, 1.0, 3.0]),
    st.sampled_from([[0.05], [0.5], [0.2, 0.01]]),
    st.sampled_from([0.0, 0.02]),
    st.integers(0, 2**32),
)
def test_the_band_rules_out_exactly_the_tolerances_whose_evidence_reached_the_limit(
    tolerance: Tolerance, ratio: float, shares: list[float], wobble: float, seed: int
) -> None:
    steps = tolerances(tolerance)
    absolute, scale = tolerance.absolute > 0.0, 1.0 + tolerance.relative
    above, below = [], []
    for step in steps:
        r, d = (scale, step) if absolute else (step, 0.0)
        above.append(ReferenceEvidence(r, d))
        below.append(ReferenceEvidence(1.0 / r, -d / r))
    too_low, too_high = set(), set()
    run, dice = BandRun(tolerance, wobble), random.Random(seed)
    low = high = None
    for _ in range(20):
        strata = random_window(dice, ratio, shares)
        exchanged = [exchange(each) for each in strata]
        low, high = run.add(strata)
        onset = 1.0 - math.exp(run.after.unbet - run.before.unbet)
        wobbles = (run.before.guard.variance, run.after.guard.variance)
        earlier = {each.stratum: each.control + each.treatment for each in run.before.guard.earlier}
        for step, one, other in zip(steps, above, below, strict=True):
            if one.add(strata, onset, *wobbles, earlier) >= LOG_LIMIT:
                too_low.add(step)
            if other.add(exchanged, onset, *wobbles, earlier) >= LOG_LIMIT:
                too_high.add(step)
    following = [*steps[1:], math.inf]
    if too_low:
        assert low is not None
        # 32 bits, and at the last step nothing is beyond.
        assert max(too_low) - 1e-6 <= low <= following[steps.index(max(too_low))]
    else:
        assert low is None
    if too_high:
        assert high is not None
        before = steps[max(0, steps.index(min(too_high)) - 1)]
        assert before <= high <= min(too_high) + 1e-6
    else:
        assert high is None


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_the_whole_band_is_above_the_tolerance_when_the_evidence_reaches_its_limit(
    tolerance: Tolerance,
) -> None:
    dice = random.Random(5)
    moments = []
    for _ in range(10):
        run = BandRun(tolerance)
        for _ in range(60):
            low, _ = run.add(random_window(dice, 2.5, [0.25]))
            own = tolerance.absolute or 1.0 + tolerance.relative
            reached = run.after.log_value >= LOG_LIMIT
            assert (low is not None and low >= own) == reached
            if reached:
                moments.append(low)
                break
    assert len(moments) == 10


def test_low_never_falls_and_high_never_rises() -> None:
    dice = random.Random(3)
    for ratio in (0.3, 1.0, 4.0):
        run = BandRun(Tolerance(0.05))
        lows, highs = [0.0], [math.inf]
        for number in range(80):
            low, high = run.add(random_window(dice, ratio if number < 40 else 1.0, [0.3]))
            lows.append(0.0 if low is None else low)
            highs.append(math.inf if high is None else high)
        assert lows == sorted(lows)
        assert highs == sorted(highs, reverse=True)


def test_a_new_epoch_empties_the_bets_and_keeps_what_was_ruled_out() -> None:
    dice = random.Random(3)
    run = BandRun(Tolerance(0.05))
    for _ in range(40):
        before = run.add(random_window(dice, 1.5, [0.5]))
    assert before[0] is not None
    assert before[1] is not None
    quiet = [arms(0.5, (0, 0), (0, 0))]
    opened = HarmEvidence()
    first = update_harm_evidence(opened, quiet, 1.05, new_stage=False)
    epoch, fresh = (
        update_band(band, run.tolerance, quiet, opened, first, limit=2_000.0, new_stage=False)
        for band in (run.band, RatioBand())
    )
    assert band_bounds(epoch, run.tolerance) == before
    assert (epoch.above, epoch.below) == (fresh.above, fresh.below)


def test_a_window_without_failures_changes_nothing() -> None:
    dice = random.Random(3)
    run = BandRun(Tolerance(0.05))
    run.add(random_window(dice, 1.0, [0.5]))
    before = run.band
    run.add([arms(0.5, (500, 0), (500, 0))])
    assert run.band is before


def test_the_band_says_nothing_before_there_are_failures() -> None:
    run = BandRun(Tolerance(0.05))
    assert run.add([arms(0.5, (500, 0), (500, 0))]) == (None, None)
    assert seen_ratio(run.band.seen, Tolerance(0.05)) is None


def test_what_was_seen_is_compared_by_the_share_of_each_window() -> None:
    run = BandRun(Tolerance(0.05))
    # As often in both arms, at 10 % and then at 50 %.
    run.add([arms(0.1, (900, 90), (100, 10))])
    run.add([arms(0.5, (500, 10), (500, 10))])
    assert run.band.seen == Seen(20, pytest.approx(20.0), 600)  # type: ignore[arg-type]
    assert seen_ratio(run.band.seen, Tolerance(0.05)) == pytest.approx(1.0)
    difference = seen_ratio(Seen(30, 20.0, 1_000), Tolerance(0.0, 0.001))
    assert difference == pytest.approx(0.01)


@pytest.mark.parametrize(("ratio", "wobble"), [(0.6, 0.0), (1.05, 0.0), (2.2, 0.01)])
def test_the_true_ratio_stays_inside_the_band_at_all_times(ratio: float, wobble: float) -> None:
    """Each side may miss with a probability of 0.9 alpha, so both in 2.7 of 150 releases.

    Even then more than 11 would have a probability of 2e-5 (binomial).
    """
    releases, missed = 150, 0
    dice = random.Random(11)
    for _ in range(releases):
        run, outside = BandRun(Tolerance(0.05), wobble), False
        for number in range(60):
            share = (0.02, 0.1, 0.5)[number // 20]
            low, high = run.add(random_window(dice, ratio, [share]))
            outside |= low is not None and low > ratio
            outside |= high is not None and high < ratio
        missed += outside
    assert missed <= 11
