"""The users of a simulation: who makes a window's operations, and who fails for the first time.

Users are not simulated one by one. Users who are alike (in the same segment, opened at the
same percentage, equally active) form a group. A window draws for each group how many
operations ended, how many failed, how many failures were the first of their user, and how
many users were seen for the first time in this stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.counts import Counts, StratumCounts
from tidegate.model import Opening

from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.whatif.error_rates import ErrorRates
from tidegate_server.whatif.sampling import (
    RandomGenerator,
    binomial,
    distinct_users,
    first_failures,
    multinomial,
    poisson,
)
from tidegate_server.whatif.traffic_model import TrafficModel

RETRY_ERROR_RATE = 0.5
"""The share of the retries of a failed operation that fail again."""

SAMPLE_LIMIT = 4_096
"""The users that the store keeps of a stratum's sample before it halves the sample."""


@dataclass(slots=True)
class _UserGroup:
    """Users who are alike.

    Attributes:
        opened_at: the percentage that opens the treatment to them.
        weight: their share of the operations; for users who always fail, of the failures that
            such users cause.
        users: how many they are.
        unfailed: how many of them have not failed in this epoch.
        unseen: how many of them made no operation in this visit of the stage.
        always_fails: whether each of their operations fails.
    """

    opened_at: float
    weight: float
    users: int
    unfailed: int
    unseen: int
    always_fails: bool


@dataclass(slots=True)
class _ArmTotals:
    """What one arm did in a window."""

    operations: int = 0
    errors: int = 0
    failing: int = 0
    seen: int = 0

    def counts(self, sampled: int) -> Counts:
        return Counts(self.operations, self.operations, self.errors, self.failing, sampled=sampled)


@dataclass(slots=True)
class _Sample:
    """The users of one stratum that the check of the split counts, in one visit of a stage.

    Each user belongs to it with the probability ``2 ** -halvings``, as their hash decides.
    """

    halvings: int = 0
    kept: int = 0

    def draw(self, rng: RandomGenerator, seen: Sequence[int]) -> list[int]:
        """Return how many of the newly seen users of each arm belong to the sample.

        Users of all arms arrive mixed, so that a halving hits all arms alike.
        """
        left, sampled = list(seen), [0] * len(seen)
        while arriving := sum(left):
            share = 0.5**self.halvings
            part = min(1.0, (SAMPLE_LIMIT - self.kept) / share / arriving)
            for arm, users in enumerate(left):
                arrived = binomial(rng, users, part)
                added = binomial(rng, arrived, share)
                left[arm] -= arrived
                sampled[arm] += added
                self.kept += added
            while self.kept >= SAMPLE_LIMIT:
                self.halvings += 1
                self.kept = binomial(rng, self.kept, 0.5)
        return sampled


class UserPopulation:
    """The users of a model in the groups that a policy divides them into.

    Args:
        policy: its stages divide the users.
        model: how many users there are, and what they do.
        rng: the random generator.
    """

    def __init__(self, policy: Policy, model: TrafficModel, rng: RandomGenerator) -> None:
        self._retries = model.retries
        self._failing_share = model.always_failing_share
        self._rng = rng
        keys = dict.fromkeys(key for stage in policy.stages for key in stage.segments)
        shares = {key: model.segment_share(key) for key in keys}
        shares[""] = max(0.0, 1.0 - math.fsum(shares.values()))
        stages = range(1, len(policy.stages) + 1)
        self._percentages = sorted({policy.opened(stage) for stage in stages} | {100.0})
        self._groups: dict[str, list[_UserGroup]] = {key: [] for key in shares}
        for users, weight in model.activity.classes(model.users):
            self._add_class(shares, users, weight / users, always_fails=False)
        if failing := model.always_failing_users:
            self._add_class(shares, failing, 1.0 / failing, always_fails=True)
        self._step = 0
        self._samples: dict[int, _Sample] = {}

    def start_epoch(self) -> None:
        """Count the next failure of each user as the first again."""
        for groups in self._groups.values():
            for group in groups:
                group.unfailed = group.users

    def draw_window(
        self, release: Release, operations: float, rates: ErrorRates
    ) -> tuple[StratumCounts, ...]:
        """Draw the counts of a window, by stratum, under the release's openings.

        Args:
            release: says who is open; each of its steps is a new visit of a stage.
            operations: how many everyone makes on average in this window, without retries.
            rates: how often they fail.
        """
        if release.step != self._step:
            self._start_visit(release.step)
        share = self._failing_share
        always_failing = operations * rates.control * share / (1.0 - share) if share else 0.0
        openings = present_openings(release)
        totals = {opening.stage: (_ArmTotals(), _ArmTotals()) for opening in openings}
        for segment, groups in self._groups.items():
            opening = widest_opening(openings, segment)
            if opening is None:
                continue
            arms = totals[opening.stage]
            for group in groups:
                treated = group.opened_at <= opening.percentage
                rate = rates.treatment if treated else rates.control
                expected = always_failing if group.always_fails else operations
                self._draw_group(group, arms[treated], expected, rate)
        return tuple(
            StratumCounts(
                opening.stage,
                opening.percentage / 100.0,
                *self._arm_counts(opening.stage, totals[opening.stage]),
            )
            for opening in openings
        )

    def _start_visit(self, step: int) -> None:
        self._step = step
        self._samples = {}
        for groups in self._groups.values():
            for group in groups:
                group.unseen = group.users

    def _arm_counts(self, stratum: int, arms: Sequence[_ArmTotals]) -> list[Counts]:
        sample = self._samples.setdefault(stratum, _Sample())
        sampled = sample.draw(self._rng, [arm.seen for arm in arms])
        return [arm.counts(number) for arm, number in zip(arms, sampled, strict=True)]

    def _draw_group(
        self, group: _UserGroup, arm: _ArmTotals, operations: float, rate: float
    ) -> None:
        rng = self._rng
        ended = poisson(rng, operations * group.weight)
        if not ended:
            return
        errors = ended if group.always_fails else binomial(rng, ended, rate)
        if group.unseen:
            seen = distinct_users(rng, ended, group.unseen, group.users)
            group.unseen -= seen
            arm.seen += seen
        if errors:
            first = first_failures(rng, errors, group.unfailed, group.users)
            group.unfailed -= first
            arm.failing += first
            if self._retries:
                tries, failed = self._retry(errors, 1.0 if group.always_fails else RETRY_ERROR_RATE)
                ended += tries
                errors += failed
        arm.operations += ended
        arm.errors += errors

    def _retry(self, failed: int, rate: float) -> tuple[int, int]:
        """Draw how often users try failed operations again, and how many of the tries fail."""
        tries = errors = 0
        for _ in range(self._retries):
            tries += failed
            failed = binomial(self._rng, failed, rate)
            errors += failed
            if not failed:
                break
        return tries, errors

    def _add_class(
        self, shares: dict[str, float], users: int, weight: float, *, always_fails: bool
    ) -> None:
        """Add equally active users to the groups; each user's segment and bucket are drawn.

        ``weight`` is the share of the operations that each of the users makes.
        """
        keys = list(shares)
        whole = math.fsum(shares.values())
        for number, part in multinomial(self._rng, users, enumerate(shares.values()), whole):
            for opened_at, same in self._bucket(part):
                if same:
                    self._groups[keys[number]].append(
                        _UserGroup(opened_at, same * weight, same, same, same, always_fails)
                    )

    def _bucket(self, users: int) -> list[tuple[float, int]]:
        """Draw how many users each percentage opens that the ones below it do not."""
        opened = []
        left, below = users, 0.0
        for percentage in self._percentages:
            part = binomial(self._rng, left, (percentage - below) / (100.0 - below))
            opened.append((percentage, part))
            left, below = left - part, percentage
        return opened


def widest_opening(openings: Sequence[Opening], segment: str) -> Opening | None:
    """Return the opening with the highest percentage of those that reach a segment."""
    reaching = [each for each in openings if not each.segments or segment in each.segments]
    return max(reaching, key=lambda each: each.percentage, default=None)
