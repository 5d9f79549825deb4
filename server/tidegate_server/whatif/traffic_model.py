"""A world to release into: who uses the application, and how often that fails.

Users are not followed one by one. Those who are alike (in the same segment, opened by the
same stage, equally active) are a group, of which it is known how many failed already; a
window draws from every group how many operations ended, how many failed, and how many of
the failures were somebody's first. The generator of randomness is the caller's.
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
from tidegate_server.whatif.sampling import Chance, binomial, newly_met, poisson

USERS_PER_TRAFFIC = 100

DEFAULT_SEGMENT = 0.05
"""The share of the users that is in a segment of which nothing is said."""

ACTIVITY = ((0.5, -math.inf, 0.0), (0.3, 0.0, 0.8416), (0.15, 0.8416, 1.6449),
            (0.04, 1.6449, 2.3263), (0.01, 2.3263, math.inf))  # fmt: skip
"""Classes of activity: the share of users in each, and its bounds in standard deviations."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is: what the world's rates may depend on.

    Attributes:
        at_ms: the window's end (store clock).
        window: its number, from 1.
        since_change: windows since the openings changed last; 0 in the first one after it.
    """

    at_ms: int
    window: int
    since_change: int


Course = Callable[[Moment], float]
"""A number that changes with time."""


@dataclass(frozen=True, slots=True)
class Always:
    """The same value at every time."""

    value: float

    def __call__(self, moment: Moment) -> float:
        """The value."""
        return self.value


@dataclass(frozen=True, slots=True)
class DayAndNight:
    """A value that is ``swing`` of itself higher in the morning (UTC), and lower at night."""

    value: float
    swing: float

    def __call__(self, moment: Moment) -> float:
        """The value at a time of day."""
        return self.value * (1.0 + self.swing * math.sin(moment.at_ms / DAY * math.tau))


@dataclass(frozen=True, slots=True)
class World:
    """Who uses the application, and how it fails.

    Attributes:
        traffic: operations a minute that ask for the flag.
        base: the share of them that fails with the control.
        times: how many times as many fail with the treatment.
        users: how many people make them.
        segments: the share of the users in each segment; nobody is in two. Of others
            ``DEFAULT_SEGMENT`` is taken.
        activity: how unequal people are: the standard deviation of the logarithm of how
            many operations one makes; 0 is all alike.
        chronic: so many people fail whatever they do,
        chronic_share: and are the cause of this share of control's failures.
        slower: how many times as long operations take with the treatment.
    """

    traffic: Course
    base: Course
    times: Course = Always(1.0)
    users: int = 20_000
    segments: Mapping[str, float] = field(default_factory=dict)
    activity: float = 0.0
    chronic: int = 0
    chronic_share: float = 0.0
    slower: float = 1.0

    def share_of(self, segment: str) -> float:
        """The share of the users in a segment."""
        return self.segments.get(segment, DEFAULT_SEGMENT)


def steady(
    traffic: float, base: float, times: float, users: int, segments: Mapping[str, float]
) -> World:
    """A world whose numbers are the same at every time."""
    return World(Always(traffic), Always(base), Always(times), users=users, segments=segments)


def users_behind(traffic: float) -> int:
    """How many users make operations at a rate, where nothing is said of them.

    Each of them makes one every hundred minutes; they are a thousand at least.
    """
    return max(1_000, round(traffic * USERS_PER_TRAFFIC))


@dataclass(slots=True)
class Group:
    """People who are alike; ``top`` is the percentage that opens the treatment to them.

    ``weight`` is their part of the operations (of the failures, for those who always fail),
    ``left`` how many of them have not failed yet.
    """

    top: float
    weight: float
    users: int
    left: int
    chronic: bool


@dataclass(slots=True)
class Tally:
    """What one arm did in a window."""

    operations: int = 0
    errors: int = 0
    failing: int = 0

    def counts(self) -> Counts:
        """The same as the store counts it."""
        return Counts(self.operations, self.operations, self.errors, self.failing)


class Audience:
    """The users of a world, as a policy divides them.

    Args:
        policy: whose stages divide them.
        world: what they do.
        chance: the generator of randomness.
    """

    def __init__(self, policy: Policy, world: World, chance: Chance) -> None:
        self._world = world
        self._chance = chance
        keys = dict.fromkeys(key for stage in policy.stages for key in stage.segments)
        shares = {key: world.share_of(key) for key in keys}
        everyone_else = max(0.0, 1.0 - math.fsum(shares.values()))
        stages = range(1, len(policy.stages) + 1)
        tops = sorted({policy.opened(stage) for stage in stages} | {100.0})
        self._groups = {
            key: self._divided(share, tops) for key, share in {**shares, "": everyone_else}.items()
        }

    def forget(self) -> None:
        """Failing users are collected anew: everyone's next failure is the first."""
        for groups in self._groups.values():
            for group in groups:
                group.left = group.users

    def window(
        self, release: Release, moment: Moment, interval_ms: int
    ) -> tuple[StratumCounts, ...]:
        """What a window adds, by stratum, under the release's present openings."""
        world = self._world
        base = min(1.0, world.base(moment))
        bad = min(1.0, base * world.times(moment))
        operations = world.traffic(moment) * interval_ms / MINUTE
        chronic = world.chronic_share
        failures = operations * base * chronic / (1.0 - chronic) if chronic else 0.0
        openings = present_openings(release)
        tallies = {opening.stage: (Tally(), Tally()) for opening in openings}
        for segment, groups in self._groups.items():
            opening = _matching(openings, segment)
            if opening is None:
                continue
            arms = tallies[opening.stage]
            for group in groups:
                treated = group.top <= opening.percentage
                rate = bad if treated else base
                self._act(group, arms[treated], failures if group.chronic else operations, rate)
        return tuple(
            StratumCounts(
                opening.stage,
                opening.percentage / 100.0,
                *(tally.counts() for tally in tallies[opening.stage]),
            )
            for opening in openings
        )

    def _act(self, group: Group, tally: Tally, operations: float, rate: float) -> None:
        ended = poisson(self._chance, operations * group.weight)
        if not ended:
            return
        errors = ended if group.chronic else binomial(self._chance, ended, rate)
        tally.operations += ended
        tally.errors += errors
        if errors:
            first = newly_met(self._chance, errors, group.left, group.users)
            group.left -= first
            tally.failing += first

    def _divided(self, share: float, tops: list[float]) -> list[Group]:
        """The groups of a segment: the hash puts each of its users somewhere."""
        world = self._world
        found = []
        classes = [(1.0, 1.0)]
        if world.activity:
            classes = [(size, _mean_activity(world.activity, *of)) for size, *of in ACTIVITY]
        for size, activity in classes:
            for top, users in self._hashed(round(world.users * share * size), tops):
                found.append(Group(top, users * activity / world.users, users, users, False))
        if world.chronic:
            for top, users in self._hashed(round(world.chronic * share), tops):
                found.append(Group(top, users / world.chronic, users, users, True))
        return [group for group in found if group.users]

    def _hashed(self, users: int, tops: list[float]) -> list[tuple[float, int]]:
        found = []
        left, below = users, 0.0
        for top in tops:
            part = binomial(self._chance, left, (top - below) / (100.0 - below))
            found.append((top, part))
            left, below = left - part, top
        return found


def _matching(openings: tuple[Opening, ...], segment: str) -> Opening | None:
    """The opening with the highest percentage of those that match people in a segment."""
    found = [each for each in openings if not each.segments or segment in each.segments]
    return max(found, key=lambda each: each.percentage, default=None)


def _mean_activity(sigma: float, low: float, high: float) -> float:
    """The mean of a log-normal activity between two bounds, where its overall mean is 1."""

    def below(z: float) -> float:
        return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))

    return (below(high - sigma) - below(low - sigma)) / (below(high) - below(low))
