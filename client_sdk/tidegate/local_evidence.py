"""What an instance makes of its own releases while the server is away.

The evidence is the policy job's (``tidegate.harm_evidence``), drawn from what this process counted
alone, window by window. A release is closed here on a stricter threshold than the job's: the
treatment must fail far beyond what the release's policy tolerates.
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
"""How many users of the treatment must have failed here before it is closed."""

ROOM_FOR_USERS = 10_000
"""How many failing users of a release are told apart; those beyond are no evidence."""

Ended: TypeAlias = Mapping[Group, tuple[int, int]]
"""Operations that ended, in the control and in the treatment."""

Failed: TypeAlias = Mapping[tuple[Group, Arm], Iterable[str]]
"""Hashes of the users that failed."""


@dataclass(frozen=True, slots=True)
class Trip:
    """A release that is to be closed here, with what the outage showed of it."""

    flag: str
    release: str
    control: Counts
    treatment: Counts


def watched(releases: Mapping[str, ActiveRelease]) -> dict[str, ActiveRelease]:
    """Return the releases, by flag, that ask for a local breaker and have a control group."""
    return {
        flag: release
        for flag, release in releases.items()
        if release.local_breaker is not None
        and any(0 < opening.percentage < 100 for opening in release.openings)
    }


class Outage:
    """The evidence of one outage, against the releases that ask for a breaker.

    Args:
        releases: by flag, as ``watched`` gives them.
        ended: what had ended before it began.
        spent: how many parts of the false-alarm budget each release has spent; what this
            outage spends is added, once it lasts a window: before, nothing can be closed.
    """

    def __init__(
        self, releases: Mapping[str, ActiveRelease], ended: Ended, spent: dict[str, int]
    ) -> None:
        self._cases = [_Case(flag, release, spent) for flag, release in releases.items()]
        self._ended = dict(ended)

    def close_window(self, ended: Ended, failed: Failed) -> list[Trip]:
        """Count what happened since the last window; return what is to be closed now.

        Args:
            ended: totals of the process.
            failed: who failed since the last window.
        """
        trips = []
        for case in list(self._cases):
            case.turn()
            strata = [
                StratumCounts(
                    opening.stage,
                    opening.percentage / 100.0,
                    *self._arms(case, opening.stage, ended, failed),
                )
                for opening in case.release.openings
            ]
            trip = case.count(strata)
            if trip is not None:
                trips.append(trip)
                self._cases.remove(case)
        self._ended = dict(ended)
        return trips

    def _arms(
        self, case: _Case, stratum: int, ended: Ended, failed: Failed
    ) -> tuple[Counts, Counts]:
        group = (case.release.id, case.release.step, stratum)
        now, before = ended.get(group, (0, 0)), self._ended.get(group, (0, 0))
        control, treatment = (max(0, total - then) for total, then in zip(now, before, strict=True))
        return (
            Counts(outcomes=control, failing=case.new(failed.get((group, "control"), ()))),
            Counts(outcomes=treatment, failing=case.new(failed.get((group, "treatment"), ()))),
        )


class _Case:
    """The evidence against one release."""

    def __init__(self, flag: str, release: ActiveRelease, spent: dict[str, int]) -> None:
        self.flag = flag
        self.release = release
        self._spent = spent
        self._control = self._treatment = NOTHING
        self._guard = VarianceGuard()
        self._begin()

    def _begin(self) -> None:
        """Begin an epoch: users who failed may fail again."""
        self._known: set[str] = set()
        self._evidence = Mixture()
        self._windows = 0

    def turn(self) -> None:
        """Begin another epoch when the present one is over."""
        if self._windows == EPOCH_WINDOWS:
            self._begin()

    def new(self, users: Iterable[str]) -> int:
        """Return how many of these users have not failed before in this epoch."""
        before = len(self._known)
        for user in users:
            if len(self._known) >= ROOM_FOR_USERS:
                break
            self._known.add(user)
        return len(self._known) - before

    def count(self, strata: list[StratumCounts]) -> Trip | None:
        """Add a window to the evidence; return the trip when it is enough."""
        tolerance = self.release.local_breaker
        assert tolerance is not None
        if self._windows == 0:
            self._spent[self.release.id] = self._spent.get(self.release.id, 0) + 1
        before = self._guard
        self._guard = update_guard(before, strata, new_stage=False)
        mass = onset_mass(self._windows, first=self._windows == 0, new_stage=False)
        bets = begin_bets(self._evidence, mass)
        gains = increments(strata, 1.0 + tolerance.relative, tolerance.absolute)
        self._evidence = add_increments(bets, gains, before.phi, self._guard.phi)
        self._windows += 1
        for each in strata:
            if each.compared:
                self._control += each.control
                self._treatment += each.treatment
        return self._trip()

    def _trip(self) -> Trip | None:
        limit = threshold(FALSE_ALARM, spending=self._spent[self.release.id], checks=1)
        if self._treatment.failing < LEAST_FAILING or log_value(self._evidence) < math.log(limit):
            return None
        return Trip(self.flag, self.release.id, self._control, self._treatment)
