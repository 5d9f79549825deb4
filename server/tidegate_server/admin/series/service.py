"""Put the series of a release together: its points, and what its checks tolerate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate_server.decisions.decision import from_log
from tidegate_server.decisions.ratio_band import is_difference, tolerated
from tidegate_server.domain.checks import Check
from tidegate_server.domain.release import Release
from tidegate_server.ledger.series import ArmCounts, CheckNumbers, Point, Reading, points


@dataclass(frozen=True, slots=True)
class SeriesCheck:
    """A check of a series, with its place in the policy, from 0."""

    number: int
    check: Check

    @property
    def label(self) -> str:
        """The check in words."""
        return self.check.label

    @property
    def compared_by(self) -> str | None:
        """How it compares the arms: by their ``ratio`` or ``difference``; None: it does not."""
        if not self.check.sequential:
            return None
        return "difference" if is_difference(self.check.tolerance) else "ratio"

    @property
    def quantile(self) -> float | None:
        """The quantile that it compares, 0 to 1; None: it does not compare one."""
        if not self.check.sequential or self.check.distribution is None:
            return None
        return self.check.quantile


@dataclass(frozen=True, slots=True)
class Band:
    """The ratio of the arms' error rates: seen, the bounds that the counts allow, tolerated."""

    seen: float | None
    low: float | None
    high: float | None
    tolerated: float


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The quantile of each arm's values in a stage."""

    control: float | None
    treatment: float | None


@dataclass(frozen=True, slots=True)
class PointCheck:
    """The numbers of one check at one point; None: the check has no such number."""

    number: int
    evidence: float | None
    rollback_at: float | None
    advance: float | None
    advance_at: float | None
    ratio: Band | None
    quantiles: Quantiles | None
    value: float | None
    limit: float | None


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """One point of a series."""

    reading: Reading
    since_ms: int
    control: ArmCounts
    treatment: ArmCounts
    checks: tuple[PointCheck, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """The series of a release.

    Attributes:
        checks: the checks of its policy.
        kept: the number of readings that the server has.
        points: those that were asked for, the earliest first.
    """

    checks: tuple[SeriesCheck, ...]
    kept: int
    points: tuple[SeriesPoint, ...]


def release_series(release: Release, readings: Iterable[Reading], number: int) -> Series:
    """Return the series of a release with at most ``number`` points."""
    known = {each.window: each for each in readings}
    return Series(
        tuple(SeriesCheck(place, check) for place, check in enumerate(release.policy.checks)),
        len(known),
        tuple(
            _series_point(release, each)
            for each in points(known.values(), number, release.started_ms)
        ),
    )


def _series_point(release: Release, point: Point) -> SeriesPoint:
    checks = zip(release.policy.checks, point.reading.checks, strict=False)
    return SeriesPoint(
        point.reading,
        point.since_ms,
        point.control,
        point.treatment,
        tuple(
            _point_check(number, check, numbers) for number, (check, numbers) in enumerate(checks)
        ),
    )


def _point_check(number: int, check: Check, numbers: CheckNumbers) -> PointCheck:
    ratio = quantiles = None
    if check.sequential:
        ratio = Band(numbers.seen, numbers.low, numbers.high, tolerated(check.tolerance))
        if check.distribution is not None:
            quantiles = Quantiles(numbers.control_quantile, numbers.treatment_quantile)
    return PointCheck(
        number=number,
        evidence=_from_log(numbers.log_evidence),
        rollback_at=numbers.rollback_at,
        advance=_from_log(numbers.log_advance),
        advance_at=numbers.advance_at,
        ratio=ratio,
        quantiles=quantiles,
        value=numbers.value,
        limit=numbers.limit,
    )


def _from_log(log: float | None) -> float | None:
    return None if log is None else from_log(log)
