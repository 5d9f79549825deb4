"""The evidence of harm that one process gathers while the server is away.

It is the policy job's evidence (``tidegate.harm_evidence``), computed window by window from what
this process alone counted. Its threshold is stricter than the job's: the treatment must fail far
beyond what the release's policy tolerates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tidegate.counts import NOTHING, Counts, StratumCounts
from tidegate.evaluation.results import Arm
from tidegate.harm_evidence import (
    EPOCH_WINDOWS,
    Mixture,
    VarianceGuard,
    add_increments,
    begin_bets,
    increments,
    log_value,
    onset_mass,
    threshold,
    update_guard,
)
from tidegate.model import ActiveRelease
from tidegate.reporting import Group

FALSE_ALARM = 0.001
"""The probability, over all outages of a process, that it closes a release within tolerance."""

LEAST_FAILING = 5
"""How many users of the treatment must have failed here before the release is closed."""

MAX_USERS = 10_000
"""How many failing users of a release are remembered; more of them are no evidence."""

Ended: TypeAlias = Mapping[Group, tuple[int, int]]
"""Operations that ended, in the control and in the treatment."""

Failed: TypeAlias = Mapping[tuple[Group, Arm], Iterable[str]]
"""Hashes of the users who failed."""


@dataclass(frozen=True, slots=True)
class Trip:
    """A release to close here, with what both arms counted during the outage."""

    flag: str
    release: str
    control: Counts
    treatment: Counts


def watched_releases(releases: Mapping[str, ActiveRelease]) -> dict[str, ActiveRelease]:
    """Return the releases, by flag, that ask for a local breaker and have a control group."""
    return {
        flag: release
        for flag, release in releases.items()
        if release.local_breaker is not None
        and any(0 < opening.percentage < 100 for opening in release.openings)
    }


class OutageEvidence:
    """The evidence of one outage against the releases that ask for a local breaker.

    Args:
        releases: by flag, as ``watched_releases`` returns them.
        ended: what had ended before the outage began.
        budget_spent: how many parts of the false-alarm budget each release has spent, by its
            id. The first window of this outage adds one: before it nothing can be closed.
    """

    def __init__(
        self, releases: Mapping[str, ActiveRelease], ended: Ended, budget_spent: dict[str, int]
    ) -> None:
        self._releases = [
            _ReleaseEvidence(flag, release, budget_spent) for flag, release in releases.items()
        ]
        self._ended = dict(ended)

    def add_window(self, ended: Ended, failed: Failed) -> list[Trip]:
        """Add what happened since the last window; return the releases to close now.

        Args:
            ended: totals of the process.
            failed: who failed since the last window.
        """
        trips = []
        for evidence in list(self._releases):
            evidence.begin_window()
            strata = [
                StratumCounts(
                    opening.stage,
                    opening.percentage / 100.0,
                    *self._arms(evidence, opening.stage, ended, failed),
                )
                for opening in evidence.release.openings
            ]
            trip = evidence.add(strata)
            if trip is not None:
                trips.append(trip)
                self._releases.remove(evidence)
        self._ended = dict(ended)
        return trips

    def _arms(
        self, evidence: _ReleaseEvidence, stratum: int, ended: Ended, failed: Failed
    ) -> tuple[Counts, Counts]:
        group = (evidence.release.id, evidence.release.step, stratum)
        now, before = ended.get(group, (0, 0)), self._ended.get(group, (0, 0))
        arms: tuple[Arm, Arm] = ("control", "treatment")
        control, treatment = (
            Counts(
                outcomes=max(0, total - earlier),
                failing=evidence.add_users(failed.get((group, arm), ())),
            )
            for arm, total, earlier in zip(arms, now, before, strict=True)
        )
        return control, treatment


class _ReleaseEvidence:
    """The evidence against one release."""

    def __init__(self, flag: str, release: ActiveRelease, budget_spent: dict[str, int]) -> None:
        self.flag = flag
        self.release = release
        self._budget_spent = budget_spent
        self._control = self._treatment = NOTHING
        self._guard = VarianceGuard()
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._users: set[str] = set()
        self._evidence = Mixture()
        self._windows = 0

    def begin_window(self) -> None:
        """Begin another epoch when the present one is over: users count again."""
        if self._windows == EPOCH_WINDOWS:
            self._begin_epoch()

    def add_users(self, users: Iterable[str]) -> int:
        """Return how many of these users fail for the first time in this epoch."""
        before = len(self._users)
        for user in users:
            if len(self._users) >= MAX_USERS:
                break
            self._users.add(user)
        return len(self._users) - before

    def add(self, strata: list[StratumCounts]) -> Trip | None:
        """Add a window to the evidence; return the trip when it is enough."""
        tolerance = self.release.local_breaker
        assert tolerance is not None
        if self._windows == 0:
            self._budget_spent[self.release.id] = self._budget_spent.get(self.release.id, 0) + 1
        before = self._guard
        self._guard = update_guard(before, strata, new_stage=False)
        mass = onset_mass(self._windows, first=self._windows == 0, new_stage=False)
        bets = begin_bets(self._evidence, mass)
        gains = increments(strata, 1.0 + tolerance.relative, tolerance.absolute)
        self._evidence = add_increments(bets, gains, before.factor, self._guard.factor)
        self._windows += 1
        for stratum in strata:
            if stratum.compared:
                self._control += stratum.control
                self._treatment += stratum.treatment
        return self._trip()

    def _trip(self) -> Trip | None:
        spent = self._budget_spent[self.release.id]
        limit = threshold(FALSE_ALARM, spending=spent, checks=1)
        if self._treatment.failing < LEAST_FAILING or log_value(self._evidence) < math.log(limit):
            return None
        return Trip(self.flag, self.release.id, self._control, self._treatment)
