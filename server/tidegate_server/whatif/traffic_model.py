"""A model of an application's users: how much traffic they make, and how often it fails.

Users are not simulated one by one. Users who are alike (in the same segment, opened at the
same percentage, equally active) form a group. A window draws for each group how many
operations ended, how many failed, and how many failures were the first of their user.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tidegate.counts import Counts, StratumCounts
from tidegate.model import Opening

from tidegate_server.domain.policy import DAY, MINUTE, Policy
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.whatif.sampling import RandomGenerator, binomial, first_failures, poisson

USERS_PER_TRAFFIC = 100

DEFAULT_SEGMENT_SHARE = 0.05
"""The share of the users in a segment whose share is not given."""

ACTIVITY = ((0.5, -math.inf, 0.0), (0.3, 0.0, 0.8416), (0.15, 0.8416, 1.6449),
            (0.04, 1.6449, 2.3263), (0.01, 2.3263, math.inf))  # fmt: skip
"""Classes of activity: the share of users in each, and its bounds in standard deviations."""


@dataclass(frozen=True, slots=True)
class SimulationTime:
    """The time of a window, which the rates of a model may depend on.

    Attributes:
        at_ms: the window's end (store clock).
        window: its number, from 1.
        since_change: windows since the last change of the openings; 0 in the first one after
            it.
    """

    at_ms: int
    window: int
    since_change: int


TimeFunction = Callable[[SimulationTime], float]
"""A number that depends on the time."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that never changes."""

    value: float

    def __call__(self, time: SimulationTime) -> float:
        """Return the value."""
        return self.value


@dataclass(frozen=True, slots=True)
class DailyCycle:
    """A value that rises by the share ``swing`` in the morning (UTC) and falls by it at night."""

    value: float
    swing: float

    def __call__(self, time: SimulationTime) -> float:
        """Return the value at a time of day."""
        return self.value * (1.0 + self.swing * math.sin(time.at_ms / DAY * math.tau))


@dataclass(frozen=True, slots=True)
class TrafficModel:
    """An application's traffic and how it fails.

    Attributes:
        traffic: operations a minute that ask for the flag.
        error_rate: the share of them that fails with the control, 0 to 1.
        error_ratio: how many times as often operations fail with the treatment.
        users: how many users make the operations.
        segments: the share of the users in each segment, 0 to 1; no user is in two. A
            segment that is missing here has ``DEFAULT_SEGMENT_SHARE``.
        activity: how unequally active users are: the standard deviation of the logarithm of
            their number of operations; 0 makes all equal.
        always_failing_users: users whose every operation fails, in either arm.
        always_failing_share: the share of the control's failures that these users cause.
        latency_ratio: how many times as long operations take with the treatment.
    """

    traffic: TimeFunction
    error_rate: TimeFunction
    error_ratio: TimeFunction = Constant(1.0)
    users: int = 20_000
    segments: Mapping[str, float] = field(default_factory=dict)
    activity: float = 0.0
    always_failing_users: int = 0
    always_failing_share: float = 0.0
    latency_ratio: float = 1.0

    def segment_share(self, segment: str) -> float:
        """Return the share of the users in a segment."""
        return self.segments.get(segment, DEFAULT_SEGMENT_SHARE)


def constant_traffic(
    traffic: float,
    error_rate: float,
    error_ratio: float,
    users: int,
    segments: Mapping[str, float],
) -> TrafficModel:
    """Return a model whose numbers never change."""
    return TrafficModel(
        Constant(traffic), Constant(error_rate), Constant(error_ratio), users, segments
    )


def default_users(traffic: float) -> int:
    """Return how many users to assume behind a number of operations a minute.

    Each user makes one operation every hundred minutes; there are at least a thousand users.
    """
    return max(1_000, round(traffic * USERS_PER_TRAFFIC))


@dataclass(slots=True)
class _UserGroup:
    """Users who are alike.

    Attributes:
        opened_at: the percentage that opens the treatment to them.
        weight: their share of the operations; for users who always fail, of the failures that
            such users cause.
        users: how many they are.
        unfailed: how many of them have not failed in this epoch.
        always_fails: whether each of their operations fails.
    """

    opened_at: float
    weight: float
    users: int
    unfailed: int
    always_fails: bool


@dataclass(slots=True)
class _ArmTotals:
    """What one arm did in a window."""

    operations: int = 0
    errors: int = 0
    failing: int = 0

    def counts(self) -> Counts:
        return Counts(self.operations, self.operations, self.errors, self.failing)


class UserPopulation:
    """The users of a model in the groups that a policy divides them into.

    Args:
        policy: its stages divide the users.
        model: how many users there are, and what they do.
        rng: the random generator.
    """

    def __init__(self, policy: Policy, model: TrafficModel, rng: RandomGenerator) -> None:
        self._model = model
        self._rng = rng
        keys = dict.fromkeys(key for stage in policy.stages for key in stage.segments)
        shares = {key: model.segment_share(key) for key in keys}
        everyone_else = max(0.0, 1.0 - math.fsum(shares.values()))
        stages = range(1, len(policy.stages) + 1)
        percentages = sorted({policy.opened(stage) for stage in stages} | {100.0})
        self._groups = {
            key: self._segment_groups(share, percentages)
            for key, share in {**shares, "": everyone_else}.items()
        }

    def start_epoch(self) -> None:
        """Count the next failure of each user as the first again."""
        for groups in self._groups.values():
            for group in groups:
                group.unfailed = group.users

    def draw_window(
        self, release: Release, time: SimulationTime, interval_ms: int
    ) -> tuple[StratumCounts, ...]:
        """Draw the counts of a window, by stratum, under the release's openings."""
        model = self._model
        control_rate = min(1.0, model.error_rate(time))
        treatment_rate = min(1.0, control_rate * model.error_ratio(time))
        operations = model.traffic(time) * interval_ms / MINUTE
        share = model.always_failing_share
        always_failing = operations * control_rate * share / (1.0 - share) if share else 0.0
        openings = present_openings(release)
        totals = {opening.stage: (_ArmTotals(), _ArmTotals()) for opening in openings}
        for segment, groups in self._groups.items():
            opening = _widest_opening(openings, segment)
            if opening is None:
                continue
            arms = totals[opening.stage]
            for group in groups:
                treated = group.opened_at <= opening.percentage
                rate = treatment_rate if treated else control_rate
                expected = always_failing if group.always_fails else operations
                self._draw_group(group, arms[treated], expected, rate)
        return tuple(
            StratumCounts(
                opening.stage,
                opening.percentage / 100.0,
                *(arm.counts() for arm in totals[opening.stage]),
            )
            for opening in openings
        )

    def _draw_group(
        self, group: _UserGroup, arm: _ArmTotals, operations: float, rate: float
    ) -> None:
        ended = poisson(self._rng, operations * group.weight)
        if not ended:
            return
        errors = ended if group.always_fails else binomial(self._rng, ended, rate)
        arm.operations += ended
        arm.errors += errors
        if errors:
            first = first_failures(self._rng, errors, group.unfailed, group.users)
            group.unfailed -= first
            arm.failing += first

    def _segment_groups(self, share: float, percentages: list[float]) -> list[_UserGroup]:
        """Return the groups of a segment; each user's bucket is drawn."""
        model = self._model
        groups = []
        classes = [(1.0, 1.0)]
        if model.activity:
            classes = [
                (size, _mean_activity(model.activity, *bounds)) for size, *bounds in ACTIVITY
            ]
        for size, activity in classes:
            for opened_at, users in self._bucket(round(model.users * share * size), percentages):
                weight = users * activity / model.users
                groups.append(_UserGroup(opened_at, weight, users, users, always_fails=False))
        failing = model.always_failing_users
        if failing:
            for opened_at, users in self._bucket(round(failing * share), percentages):
                weight = users / failing
                groups.append(_UserGroup(opened_at, weight, users, users, always_fails=True))
        return [group for group in groups if group.users]

    def _bucket(self, users: int, percentages: list[float]) -> list[tuple[float, int]]:
        """Draw how many users each percentage opens that the ones below it do not."""
        opened = []
        left, below = users, 0.0
        for percentage in percentages:
            part = binomial(self._rng, left, (percentage - below) / (100.0 - below))
            opened.append((percentage, part))
            left, below = left - part, percentage
        return opened


def _widest_opening(openings: tuple[Opening, ...], segment: str) -> Opening | None:
    """Return the opening with the highest percentage of those that reach a segment."""
    reaching = [each for each in openings if not each.segments or segment in each.segments]
    return max(reaching, key=lambda each: each.percentage, default=None)


def _mean_activity(sigma: float, low: float, high: float) -> float:
    """Return the mean of a log-normal activity with the mean 1 between two bounds."""

    def share_below(z: float) -> float:
        return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))

    part = share_below(high - sigma) - share_below(low - sigma)
    return part / (share_below(high) - share_below(low))
