"""The series of a release: readings of its numbers over time, for pictures.

Each evaluation leaves one reading. Most numbers of a reading are totals since the release
started, so what happened between two readings is their difference, and leaving out readings
loses resolution but no counts.

A release keeps a bounded number of readings, and the older ones at a lower resolution, by their
slots: a reading replaces an earlier one in the same slot. Window ``n`` is of level ``k`` if
``2 ** k`` is the largest power of two that divides it. Each level keeps its latest
``SLOTS_PER_LEVEL`` windows. So the latest 240 windows are all kept, of the latest 480 at least
every second, of the latest 960 every fourth, and so on. Nothing is read or moved to make room.
The last reading of each of the latest ``STEPS_KEPT`` steps is kept as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tidegate.counts import Counts

from tidegate_server.decisions.client_reports import deciding_values
from tidegate_server.decisions.decision import Action, CheckResult, Decision
from tidegate_server.decisions.distributions import quantile_value
from tidegate_server.decisions.exposure_groups import compares_arms
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.ratio_band import RatioBand, band_bounds, seen_ratio
from tidegate_server.domain.evidence import GroupValues, add_histograms
from tidegate_server.domain.release import Release, State

SLOTS_PER_LEVEL = 120
"""Readings of each level."""

TOP_LEVEL = 12
"""The highest level; with 30 seconds a window, its readings go back 170 days."""

STEPS_KEPT = 64
"""Of how many steps the last reading is kept."""

MOST_READINGS = (TOP_LEVEL + 1) * SLOTS_PER_LEVEL + STEPS_KEPT
"""How many readings a release keeps at most."""


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """Counts of one arm: operations that ended, those that failed, and users who failed."""

    outcomes: int = 0
    errors: int = 0
    failing: int = 0

    def since(self, earlier: ArmCounts) -> ArmCounts:
        """Return what was added after ``earlier``."""
        return ArmCounts(
            max(0, self.outcomes - earlier.outcomes),
            max(0, self.errors - earlier.errors),
            max(0, self.failing - earlier.failing),
        )


@dataclass(frozen=True, slots=True)
class CheckNumbers:
    """The numbers of one check at one evaluation; None: the check does not have this number.

    Attributes:
        log_evidence, rollback_at: ln E, and the E at which the check fails.
        log_advance, advance_at: ln A, and the A that an advance needs; not in a stage without a
            control group.
        control_quantile, treatment_quantile: of a check of a distribution: the quantile that it
            compares, of the values of the present stage.
        seen, low, high: the ratio of the arms' error rates that was seen, and its band, as
            ``decisions.ratio_band`` has them.
        value, limit: of a threshold check.
    """

    log_evidence: float | None = None
    rollback_at: float | None = None
    log_advance: float | None = None
    advance_at: float | None = None
    control_quantile: float | None = None
    treatment_quantile: float | None = None
    seen: float | None = None
    low: float | None = None
    high: float | None = None
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The numbers of a release at one evaluation.

    Attributes:
        window: the number of the evaluation, from 1.
        at_ms: when it was (store clock).
        stage, step, attempt: the release's, while the window was open.
        action: what was decided.
        state: the release's state after that.
        control, treatment: the totals since the release started, late counts included.
        checks: the checks of the policy, in its order.
    """

    window: int
    at_ms: int
    stage: int
    step: int
    attempt: int
    action: Action
    state: State
    control: ArmCounts
    treatment: ArmCounts
    checks: tuple[CheckNumbers, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """A reading, and what both arms counted since the point before it, at ``since_ms``."""

    reading: Reading
    since_ms: int
    control: ArmCounts
    treatment: ArmCounts


def take_reading(before: Release, progress: Progress, decision: Decision) -> Reading | None:
    """Return the reading of an evaluation; None: the release is a draft and measures only.

    Args:
        before: the release before the decision.
        progress: its progress after the evaluation, with the totals that it read.
        decision: the decision.
    """
    if before.state is State.DRAFT:
        return None
    values = deciding_values(before.policy, progress)
    return Reading(
        window=progress.windows,
        at_ms=decision.at_ms,
        stage=before.stage,
        step=before.step,
        attempt=before.attempt,
        action=decision.action,
        state=decision.state,
        control=_arm_counts(progress.control),
        treatment=_arm_counts(progress.treatment),
        checks=tuple(
            _check_numbers(before, each, progress.checks[each.number].band, decision, values)
            for each in decision.checks
        ),
    )


def slots(window: int, step: int) -> tuple[str, str]:
    """Return the slots in which the reading of a window of a step is stored."""
    level = min(TOP_LEVEL, (window & -window).bit_length() - 1) if window else 0
    width = level if level == TOP_LEVEL else level + 1
    return (
        f"{level}.{(window >> width) % SLOTS_PER_LEVEL}",
        f"step.{step % STEPS_KEPT}",
    )


def points(readings: Iterable[Reading], number: int, started_ms: int) -> list[Point]:
    """Return at most ``number`` points of a release, the earliest first.

    Their counts add up to the totals of the latest reading.

    Args:
        readings: those that were kept, in any order.
        number: at least 2.
        started_ms: when the release started.
    """
    result = []
    control = treatment = ArmCounts()
    since_ms = started_ms
    for each in thin(readings, number):
        result.append(
            Point(each, since_ms, each.control.since(control), each.treatment.since(treatment))
        )
        since_ms, control, treatment = each.at_ms, each.control, each.treatment
    return result


def thin(readings: Iterable[Reading], points: int) -> list[Reading]:
    """Return at most ``points`` readings, the earliest first, spread evenly over the time.

    The latest reading and, as far as they fit into half of the points, the last ones of the
    latest steps are always among them.

    Args:
        readings: in any order; the same reading may be there twice.
        points: at least 2.
    """
    # By window, not by time: the store's clock may have gone back.
    by_window = {each.window: each for each in readings}
    ordered = [by_window[window] for window in sorted(by_window)]
    if len(ordered) <= points:
        return ordered
    ends = [one for one, following in pairwise(ordered) if one.step != following.step]
    kept = {each.window: each for each in (*ends[::-1][: (points - 1) // 2], ordered[-1])}
    spans = points - len(kept)
    times_ms = [each.at_ms for each in ordered]
    first_ms, last_ms = min(times_ms), max(times_ms)
    by_span: dict[int, Reading] = {}
    for each in ordered[:-1]:
        if each.window not in kept:
            by_span[(each.at_ms - first_ms) * spans // (last_ms - first_ms + 1)] = each
    kept |= {each.window: each for each in by_span.values()}
    return [kept[window] for window in sorted(kept)]


def _check_numbers(
    release: Release,
    result: CheckResult,
    band: RatioBand | None,
    decision: Decision,
    values: Sequence[GroupValues],
) -> CheckNumbers:
    check = release.policy.checks[result.number]
    if not check.sequential:
        return CheckNumbers(
            log_evidence=_rounded(result.log_evidence) if check.rate_limit else None,
            rollback_at=result.rollback_at,
            value=result.value,
            limit=result.limit,
        )
    control = treatment = None
    if check.distribution is not None:
        mine = [each for each in values if each.measure == check.distribution]
        control = quantile_value(add_histograms(each.control for each in mine), check.quantile)
        treatment = quantile_value(add_histograms(each.treatment for each in mine), check.quantile)
    compared = compares_arms(release)
    seen = low = high = None
    if band is not None:
        seen = seen_ratio(band.seen, check.tolerance)
        low, high = band_bounds(band, check.tolerance)
    return CheckNumbers(
        log_evidence=_rounded(result.log_evidence),
        rollback_at=result.rollback_at,
        log_advance=_rounded(result.log_advance) if compared else None,
        advance_at=decision.advance_at if compared else None,
        control_quantile=control,
        treatment_quantile=treatment,
        seen=seen,
        low=low,
        high=high,
    )


def _arm_counts(counts: Counts) -> ArmCounts:
    return ArmCounts(counts.outcomes, counts.errors, counts.failing)


def _rounded(number: float) -> float:
    return round(number, 6)
