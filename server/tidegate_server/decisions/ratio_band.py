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
from itertools import chain, repeat

from tidegate.counts import Counts, StratumCounts
from tidegate.harm_evidence import (
    LOG_WEIGHTS,
    RATIOS,
    HarmEvidence,
    earlier_failures,
    log_sum_exp,
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

LOG_RATIOS = tuple(math.log(ratio) for ratio in RATIOS)

ENOUGH = 100.0
"""How far beyond its limit ln E is followed: a tolerance that is ruled out so clearly stays so."""

KNOWN_SHARES = 512
"""For how many shares and tolerances the factors are kept."""


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


_Rows = Sequence[Sequence[float]]
"""A number for each bet and tolerance: a row for each bet."""


@dataclass(frozen=True, slots=True)
class _Factors:
    """What one side of a band loses for each bet and tolerance, at one share.

    Attributes:
        per_failure: for one failing user of either arm.
        per_operation: for one operation of the accused arm. Empty: nothing.
        variances: for each tolerance the variance of one failing user's arm.
    """

    per_failure: _Rows
    per_operation: _Rows
    variances: Sequence[float]


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
    window = _Window(before, after, compared, new_stage=new_stage)
    above = _bet(band.above, tolerance, window, exchanged=False)
    below = _bet(band.below, tolerance, window, exchanged=True)
    log_limit = math.log(limit)
    above_peaks = _peaks(band.above_peaks, above, after.unbet, log_limit)
    below_peaks = _peaks(band.below_peaks, below, after.unbet, log_limit)
    # At its own tolerance the check's own E counts, to the last digit.
    place = tolerances(tolerance).index(tolerated(tolerance))
    last = _unpack(band.above_peaks)
    own = after.log_value - log_limit
    above_peaks[place] = max(own, last[place]) if last else own
    return RatioBand(
        _pack(chain.from_iterable(above)),
        _pack(chain.from_iterable(below)),
        _pack(above_peaks),
        _pack(below_peaks),
        _add_seen(band.seen, compared),
    )


def band_bounds(band: RatioBand, tolerance: Tolerance) -> tuple[float | None, float | None]:
    """Return ``low`` and ``high``; None: nothing is ruled out on that side."""
    steps = tolerances(tolerance)
    logarithmic = not is_difference(tolerance)
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
    if is_difference(tolerance):
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
    if is_difference(tolerance):
        return tolerance.absolute, DIFFERENCE_STEPS
    return 1.0 + tolerance.relative, RATIO_STEPS


@lru_cache(maxsize=KNOWN_SHARES)
def _with(own: float, steps: tuple[float, ...]) -> tuple[float, ...]:
    if own in steps:
        return steps
    place = bisect_left(steps, own)
    return (*steps[:place], own, *steps[place:])


@dataclass(frozen=True, slots=True)
class _Window:
    """A window: E before and after it, and the counts of the strata that have both arms."""

    before: HarmEvidence
    after: HarmEvidence
    compared: Sequence[StratumCounts]
    new_stage: bool

    @property
    def has_wobble(self) -> bool:
        """Whether the variance guard knows of any variance."""
        return self.before.guard.variance > 0.0 or self.after.guard.variance > 0.0

    def known_failures(self, stratum: int) -> int:
        """Return the failing users of the last window of this stage that had any."""
        return 0 if self.new_stage else earlier_failures(self.before.guard, stratum)


def _bet(packed: bytes, tolerance: Tolerance, window: _Window, *, exchanged: bool) -> _Rows:
    """Return the bets of one side after a window."""
    rows = _begin_bets(packed, len(tolerances(tolerance)), window)
    for counts in window.compared:
        accused, other = counts.treatment, counts.control
        share = counts.share
        if exchanged:
            accused, other, share = other, accused, 1.0 - share
        both = accused.failing + other.failing
        factors = _factors(share, tolerance.relative, tolerance.absolute, exchanged)
        if both or (factors.per_operation and accused.outcomes):
            known = window.known_failures(counts.stratum) if factors.per_operation else both
            slack = _slack(factors, known, window) if window.has_wobble else None
            rows = [
                _add_gains(row, gain, both, accused, losses, slack)
                for row, gain, losses in zip(
                    rows,
                    (accused.failing * log_ratio for log_ratio in LOG_RATIOS),
                    zip(
                        factors.per_failure,
                        factors.per_operation or repeat(None, SIZE),
                        strict=True,
                    ),
                    strict=True,
                )
            ]
    return rows


def _begin_bets(packed: bytes, size: int, window: _Window) -> _Rows:
    """Return the bets of one side, with those that begin at the window."""
    before = window.before
    if packed and before.bets:
        logs = _unpack(packed)
        rows: _Rows = [logs[first : first + size] for first in range(0, size * SIZE, size)]
    else:
        rows = [(-math.inf,) * size] * SIZE
    onset = onset_share(before, new_stage=window.new_stage)
    if onset <= 0.0:
        return rows
    stake = before.unbet + math.log(onset)
    return [
        [_add_logs(log, stake + log_weight) for log in row]
        for row, log_weight in zip(rows, LOG_WEIGHTS, strict=True)
    ]


def _add_gains(
    row: Sequence[float],
    gain: float,
    both: int,
    accused: Counts,
    losses: tuple[Sequence[float], Sequence[float] | None],
    slack: Sequence[tuple[float, float]] | None,
) -> list[float]:
    """Return one bet at each tolerance, after the counts of one stratum.

    Args:
        row: the bet before them.
        gain: the same for each tolerance.
        both: failing users of both arms.
        accused: the counts of the accused arm.
        losses: for each tolerance, per failing user and per operation.
        slack: for each tolerance, what gains and losses are multiplied with; None: with 1.
    """
    per_failure, per_operation = losses
    if per_operation is None and slack is None:
        return [log + gain - both * loss for log, loss in zip(row, per_failure, strict=True)]
    gains = [gain - both * loss for loss in per_failure]
    if per_operation is not None:
        operations = accused.outcomes
        gains = [each - operations * loss for each, loss in zip(gains, per_operation, strict=True)]
    if slack is None:
        return [log + each for log, each in zip(row, gains, strict=True)]
    return [
        log + (each * least if each > 0.0 else each * most)
        for log, each, (least, most) in zip(row, gains, slack, strict=True)
    ]


def _slack(factors: _Factors, known: int, window: _Window) -> Sequence[tuple[float, float]]:
    """Return by what the variance guard multiplies gains and losses, for each tolerance.

    E takes the lower of two results, with the variance before the window and after it.
    """
    past, present = window.before.guard.variance * known, window.after.guard.variance * known
    low, high = min(past, present), max(past, present)
    return [
        (1.0 / (1.0 + high * variance), 1.0 / (1.0 + low * variance))
        for variance in factors.variances
    ]


@lru_cache(maxsize=KNOWN_SHARES)
def _factors(share: float, relative: float, absolute: float, exchanged: bool) -> _Factors:
    """Return what a side of a band loses at a share.

    A side tests ``p_accused <= r * p_other + d`` for the ratio ``r`` and the difference ``d`` of
    each tolerance. Exchanged, ``p_t >= r * p_c + d`` is ``p_c <= p_t / r - d / r``.
    """
    tolerance = Tolerance(relative, absolute)
    has_difference = is_difference(tolerance)
    nulls = []
    for step in tolerances(tolerance):
        ratio, difference = (1.0 + relative, step) if has_difference else (step, 0.0)
        nulls.append((1.0 / ratio, -difference / ratio) if exchanged else (ratio, difference))
    bases = [share * ratio + 1.0 - share for ratio, _ in nulls]
    expected = [share * ratio / base for (ratio, _), base in zip(nulls, bases, strict=True)]
    per_failure = [
        [
            math.log(share * times * ratio + 1.0 - share) - math.log(base)
            for (ratio, _), base in zip(nulls, bases, strict=True)
        ]
        for times in RATIOS
    ]
    per_operation: _Rows = ()
    if has_difference:
        per_operation = [
            [
                difference * math.expm1(log_ratio - loss)
                for (_, difference), loss in zip(nulls, losses, strict=True)
            ]
            for log_ratio, losses in zip(LOG_RATIOS, per_failure, strict=True)
        ]
    return _Factors(per_failure, per_operation, [each * (1.0 - each) for each in expected])


def _peaks(packed: bytes, rows: _Rows, unbet: float, log_limit: float) -> list[float]:
    """Return the largest ln E of each tolerance, less ln of the limit at that time."""
    peaks = _unpack(packed) or (-math.inf,) * len(rows[0])
    exp, log, stake = math.exp, math.log, math.exp(unbet)
    try:
        return [
            peak
            if peak > ENOUGH
            else max(
                peak,
                log(stake + exp(a) + exp(b) + exp(c) + exp(d) + exp(e) + exp(f)) - log_limit,
            )
            for peak, a, b, c, d, e, f in zip(peaks, *rows, strict=True)
        ]
    except OverflowError:  # a single window with thousands of failing users
        return [
            max(peak, log_sum_exp([unbet, *bets]) - log_limit)
            for peak, *bets in zip(peaks, *rows, strict=True)
        ]


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


def _pack(numbers: Iterable[float]) -> bytes:
    listed = list(numbers)
    return struct.pack(f"<{len(listed)}f", *listed)


def _unpack(packed: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(packed) // 4}f", packed)
