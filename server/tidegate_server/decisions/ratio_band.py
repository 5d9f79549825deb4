"""The band of a check: which ratios of the arms' error rates the counts still allow.

The band inverts the evidence of harm, E. For each of some twenty tolerances it keeps the E that
a check with that tolerance would have, with the same bets, onsets and variance guard. ``low`` is
the largest tolerance whose E has reached the check's limit; ``high`` is the same with the arms
exchanged, so the smallest ratio that is too high. Between two tolerances the band is interpolated
in ln E.

While the ratio is constant, it stays inside the band at every evaluation of an attempt with a
probability of at least 1 - 2 alpha (Ville's inequality, once for each side; such bands are called
confidence sequences). While it changes, each side is still right by itself: at some time the
ratio was above ``low``, and at some time below ``high``; so ``low`` may pass ``high``.

``low`` never falls and ``high`` never rises within an attempt. A new epoch empties the bets, but
what was ruled out stays so, since the epochs share alpha.

For a check with an absolute tolerance the band is one of the difference
``p_treatment - r0 * p_control``, in failing users per operation.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tidegate.counts import StratumCounts
from tidegate.harm_evidence import (
    LOG_WEIGHTS,
    RATIOS,
    HarmEvidence,
    earlier_failures,
    onset_share,
)
from tidegate.model import Tolerance

RATIO_STEPS = (
    *(0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.2),
    *(1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 20.0),
)
"""The ratios that the band distinguishes, beside the check's own tolerance."""

DIFFERENCE_STEPS = tuple(
    sign * size
    for sign, sizes in (
        (-1.0, (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0003)),
        (1.0, (0.0, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)),
    )
    for size in sizes
)
"""The differences that the band distinguishes, in failing users per operation."""

SIZE = len(RATIOS)
"""The number of bets on each side of a tolerance."""

ROOM = math.log(SIZE + 1)

KNOWN_RATES = 256
"""How many pairs of a share and a tolerance have their factors ready."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an attempt has counted where both arms are open.

    Attributes:
        treated: users who failed with the treatment.
        expected: how many of them would have with the control's rate: control's failing users,
            scaled to the treatment's share of each window and stratum.
        operations: operations with the treatment.
    """

    treated: int = 0
    expected: float = 0.0
    operations: int = 0


@dataclass(frozen=True, slots=True)
class RatioBand:
    """The state of a band after a window.

    Attributes:
        above: for each tolerance the bets (ln, prior weight included) that the ratio is above.
        below: the same with the arms exchanged: that it is below.
        above_peaks, below_peaks: for each tolerance the largest ln E so far in this attempt,
            less ln of the limit at that time.
        seen: what was counted.

    The first four are numbers in 32 bits, the lower byte first: they are read and written at
    every evaluation, and as text they would be most of a release's progress.
    """

    above: bytes = b""
    below: bytes = b""
    above_peaks: bytes = b""
    below_peaks: bytes = b""
    seen: Seen = Seen()


@dataclass(frozen=True, slots=True)
class _Factors:
    """What a side of the band adds for each bet, at one share.

    Attributes:
        per_failure: for one failing user of the arm that is accused.
        per_either: for one failing user of either arm; it is subtracted.
        per_operation: for one operation of the accused arm; it is subtracted. Empty: nothing.
        variances: for each tolerance the variance of one failing user's arm.
    """

    per_failure: tuple[float, ...]
    per_either: tuple[float, ...]
    per_operation: tuple[float, ...]
    variances: tuple[float, ...]


def tolerances(tolerance: Tolerance) -> tuple[float, ...]:
    """Return the tolerances that the band of a check distinguishes, in ascending order.

    They are ratios, or differences if the check has an absolute tolerance. The check's own
    is among them.
    """
    return _with(*_own(tolerance))


def update_band(
    band: RatioBand,
    tolerance: Tolerance,
    strata: Iterable[StratumCounts],
    before: HarmEvidence,
    after: HarmEvidence,
    *,
    limit: float,
    new_stage: bool,
) -> RatioBand:
    """Return the band after a window.

    Args:
        band: the band before it.
        tolerance: the check's tolerance.
        strata: the window's counts, as E counts them.
        before, after: the check's E before and after the window.
        limit: the value of E at which the check fails.
        new_stage: whether this is the first window of a stage.
    """
    compared = [each for each in strata if each.compared]
    failing = sum(each.treatment.failing + each.control.failing for each in compared)
    counts_operations = is_difference(tolerance) and any(
        each.treatment.outcomes or each.control.outcomes for each in compared
    )
    if not failing and not counts_operations and after.unbet == before.unbet:
        return band
    window = _Window(
        before,
        before.guard.variance,
        after.guard.variance,
        new_stage=new_stage,
    )
    above = _bet(band.above, _Side(tolerance, exchanged=False), compared, window)
    below = _bet(band.below, _Side(tolerance, exchanged=True), compared, window)
    log_limit = math.log(limit)
    above_peaks = _peaks(band.above_peaks, above, after.unbet, log_limit)
    below_peaks = _peaks(band.below_peaks, below, after.unbet, log_limit)
    # At its own tolerance the check's own E counts, to the last digit.
    place = tolerances(tolerance).index(tolerated(tolerance))
    last = _unpack(band.above_peaks)
    own = after.log_value - log_limit
    above_peaks[place] = max(own, last[place]) if last else own
    return RatioBand(
        _pack(above),
        _pack(below),
        _pack(above_peaks),
        _pack(below_peaks),
        _add_seen(band.seen, compared),
    )


def band_bounds(band: RatioBand, tolerance: Tolerance) -> tuple[float | None, float | None]:
    """Return ``low`` and ``high``; None: nothing is ruled out on that side."""
    steps = tolerances(tolerance)
    logarithmic = tolerance.absolute <= 0.0
    low = _crossing(steps, _unpack(band.above_peaks), logarithmic=logarithmic)
    mirrored = tuple(1.0 / each if logarithmic else -each for each in reversed(steps))
    high = _crossing(mirrored, _unpack(band.below_peaks)[::-1], logarithmic=logarithmic)
    if high is None:
        return low, None
    return low, 1.0 / high if logarithmic else -high


def seen_ratio(seen: Seen, tolerance: Tolerance) -> float | None:
    """Return the ratio of failing users in this attempt, or the difference; None: not known.

    The ratio is the treatment's failing users divided by those that control's rate explains.
    The difference is their difference for each operation with the treatment; with a relative
    tolerance beside the absolute one, control's part counts as often as that tolerates.
    """
    if tolerance.absolute > 0.0:
        if not seen.operations:
            return None
        return (seen.treated - (1.0 + tolerance.relative) * seen.expected) / seen.operations
    return seen.treated / seen.expected if seen.expected > 0.0 else None


def is_difference(tolerance: Tolerance) -> bool:
    """Return whether the band of a check is one of a difference, not of a ratio."""
    return tolerance.absolute > 0.0


def tolerated(tolerance: Tolerance) -> float:
    """Return the check's own tolerance in the unit of its band."""
    return _own(tolerance)[0]


def _own(tolerance: Tolerance) -> tuple[float, tuple[float, ...]]:
    if tolerance.absolute > 0.0:
        return tolerance.absolute, DIFFERENCE_STEPS
    return 1.0 + tolerance.relative, RATIO_STEPS


@lru_cache(maxsize=KNOWN_RATES)
def _with(own: float, steps: tuple[float, ...]) -> tuple[float, ...]:
    if own in steps:
        return steps
    place = bisect_left(steps, own)
    return (*steps[:place], own, *steps[place:])


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a band: with the arms exchanged or not."""

    tolerance: Tolerance
    exchanged: bool

    def arms(self, counts: StratumCounts) -> tuple[float, int, int, int]:
        """Return the accused arm's share, failing users and operations; and all failing users."""
        treatment, control = counts.treatment, counts.control
        both = treatment.failing + control.failing
        if self.exchanged:
            return 1.0 - counts.share, control.failing, control.outcomes, both
        return counts.share, treatment.failing, treatment.outcomes, both


@dataclass(frozen=True, slots=True)
class _Window:
    """What a window does to E besides its counts: its onset, and the variance around it."""

    before: HarmEvidence
    past_variance: float
    present_variance: float
    new_stage: bool

    def earlier_failures(self, stratum: int) -> int:
        """Return the failing users of the last window of this stage that had any."""
        return 0 if self.new_stage else earlier_failures(self.before.guard, stratum)


def _bet(
    packed: bytes, side: _Side, strata: Iterable[StratumCounts], window: _Window
) -> list[float]:
    """Return the bets of one side after a window."""
    before = window.before
    logs: list[float] = list(_unpack(packed))
    if not before.bets or not logs:
        logs = [-math.inf] * (SIZE * len(tolerances(side.tolerance)))
    onset = onset_share(before, new_stage=window.new_stage)
    if onset > 0.0:
        stake = before.unbet + math.log(onset)
        staked = [stake + log_weight for log_weight in LOG_WEIGHTS]
        logs = [_add_logs(log, staked[place % SIZE]) for place, log in enumerate(logs)]
    for counts in strata:
        share, failing, operations, both = side.arms(counts)
        factors = _factors(share, side)
        if both == 0 and not (factors.per_operation and operations):
            continue
        gains = [
            failing * gain - both * loss
            for gain, loss in zip(factors.per_failure, factors.per_either, strict=True)
        ]
        spread = both
        if factors.per_operation:
            spread = window.earlier_failures(counts.stratum)
            gains = [
                gain - operations * loss
                for gain, loss in zip(gains, factors.per_operation, strict=True)
            ]
        if window.past_variance > 0.0 or window.present_variance > 0.0:
            gains = _guarded(gains, spread, factors, window)
        logs = [log + gain for log, gain in zip(logs, gains, strict=True)]
    return logs


def _guarded(
    gains: Sequence[float], spread: int, factors: _Factors, window: _Window
) -> list[float]:
    """Return gains divided by the variance guard, before or after the window: the lower result."""
    guarded: list[float] = []
    for number, variance in enumerate(factors.variances):
        before = 1.0 / (1.0 + window.past_variance * spread * variance)
        after = 1.0 / (1.0 + window.present_variance * spread * variance)
        least, most = min(before, after), max(before, after)
        guarded += [
            gain * least if gain > 0.0 else gain * most
            for gain in gains[number * SIZE : (number + 1) * SIZE]
        ]
    return guarded


@lru_cache(maxsize=KNOWN_RATES)
def _factors(share: float, side: _Side) -> _Factors:
    """Return what a side of a band adds at a share.

    A side tests ``p_accused <= r * p_other + d`` for the ratio ``r`` and the difference ``d`` of
    each tolerance. Exchanged, ``p_t >= r * p_c + d`` is ``p_c <= p_t / r - d / r``.
    """
    per_failure, per_either, per_operation, variances = [], [], [], []
    absolute = is_difference(side.tolerance)
    for step in tolerances(side.tolerance):
        ratio, difference = (1.0 + side.tolerance.relative, step) if absolute else (step, 0.0)
        if side.exchanged:
            ratio, difference = 1.0 / ratio, -difference / ratio
        base = share * ratio + 1.0 - share
        expected = share * ratio / base
        variances.append(expected * (1.0 - expected))
        for times in RATIOS:
            gain = math.log(times)
            loss = math.log(share * times * ratio + 1.0 - share) - math.log(base)
            per_failure.append(gain)
            per_either.append(loss)
            if absolute:
                per_operation.append(difference * math.expm1(gain - loss))
    return _Factors(tuple(per_failure), tuple(per_either), tuple(per_operation), tuple(variances))


def _peaks(packed: bytes, logs: Sequence[float], unbet: float, log_limit: float) -> list[float]:
    """Return the largest ln E of each tolerance, less ln of the limit at that time."""
    number = len(logs) // SIZE
    peaks: list[float] = list(_unpack(packed)) or [-math.inf] * number
    for place in range(number):
        mine = logs[place * SIZE : (place + 1) * SIZE]
        highest = max(unbet, *mine)
        # The sum of the logarithms is at most ``ROOM`` above the highest one.
        if highest + ROOM - log_limit <= peaks[place]:
            continue
        log_evidence = highest + math.log(
            math.exp(unbet - highest) + sum(math.exp(log - highest) for log in mine)
        )
        peaks[place] = max(peaks[place], log_evidence - log_limit)
    return peaks


def _crossing(steps: Sequence[float], peaks: Sequence[float], *, logarithmic: bool) -> float | None:
    """Return the largest tolerance that was rejected, interpolated up to the next one."""
    rejected = [place for place, peak in enumerate(peaks) if peak >= 0.0]
    if not rejected:
        return None
    place = rejected[-1]
    if place + 1 == len(steps):
        return steps[place]
    part = peaks[place] / (peaks[place] - peaks[place + 1])
    if logarithmic:
        return math.exp(math.log(steps[place]) + part * math.log(steps[place + 1] / steps[place]))
    return steps[place] + part * (steps[place + 1] - steps[place])


def _add_seen(seen: Seen, strata: Iterable[StratumCounts]) -> Seen:
    for each in strata:
        odds = each.share / (1.0 - each.share)
        seen = replace(
            seen,
            treated=seen.treated + each.treatment.failing,
            expected=seen.expected + each.control.failing * odds,
            operations=seen.operations + each.treatment.outcomes,
        )
    return seen


def _add_logs(first: float, second: float) -> float:
    high, low = (first, second) if first > second else (second, first)
    return high + math.log1p(math.exp(low - high))


def _pack(numbers: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def _unpack(packed: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(packed) // 4}f", packed)
