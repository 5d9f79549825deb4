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
from tidegate.epochs import EpochBlocks, next_epoch, update_epoch
from tidegate.evaluation.results import ARMS, Arm
from tidegate.harm_evidence import (
    HarmEvidence,
    harm_limit,
    restart_epoch,
    update_harm_evidence,
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
        epochs: how many epochs each release has had in this process, by its id; every outage
            begins one. It is counted at the first window: before it nothing can be closed.
    """

    def __init__(
        self, releases: Mapping[str, ActiveRelease], ended: Ended, epochs: dict[str, int]
    ) -> None:
        self._releases = [
            _ReleaseEvidence(flag, release, epochs) for flag, release in releases.items()
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
        control, treatment = (
            evidence.count(max(0, total - earlier), failed.get((group, arm), ()))
            for arm, total, earlier in zip(ARMS, now, before, strict=True)
        )
        return control, treatment


class _ReleaseEvidence:
    """The evidence against one release."""

    def __init__(self, flag: str, release: ActiveRelease, epochs: dict[str, int]) -> None:
        self.flag = flag
        self.release = release
        self._epochs = epochs
        self._control = self._treatment = NOTHING
        self._users: set[str] = set()
        self._blocks = EpochBlocks()
        self._evidence = HarmEvidence()

    def count(self, ended: int, failing: Iterable[str]) -> Counts:
        """Return the counts of one arm in a window; users count once in an epoch.

        ``errors`` are the users who failed in this window, whenever they failed first.
        """
        present = set(failing)
        room = MAX_USERS - len(self._users)
        new = [user for user in present if user not in self._users][:room]
        self._users.update(new)
        return Counts(outcomes=ended, errors=len(present), failing=len(new))

    def add(self, strata: list[StratumCounts]) -> Trip | None:
        """Add a window to the evidence; return the trip when it is enough."""
        tolerance = self.release.local_breaker
        assert tolerance is not None
        if not self._evidence.bets:
            self._epochs[self.release.id] = self._epochs.get(self.release.id, 0) + 1
        self._evidence = update_harm_evidence(
            self._evidence, strata, 1.0 + tolerance.relative, tolerance.absolute, new_stage=False
        )
        for stratum in strata:
            if stratum.compared:
                self._control += stratum.control
                self._treatment += stratum.treatment
        trip = self._trip()
        if trip is None:
            self._end_epoch_if_over(strata)
        return trip

    def _trip(self) -> Trip | None:
        limit = harm_limit(FALSE_ALARM, epoch=self._epochs[self.release.id])
        enough = self._treatment.failing >= LEAST_FAILING
        if not enough or self._evidence.log_value < math.log(limit):
            return None
        return Trip(self.flag, self.release.id, self._control, self._treatment)

    def _end_epoch_if_over(self, strata: list[StratumCounts]) -> None:
        blocks = update_epoch(self._blocks, strata, self._evidence.log_value)
        if blocks is None:
            self._users = set()
            self._evidence = restart_epoch(self._evidence)
        self._blocks = next_epoch(self._blocks) if blocks is None else blocks
