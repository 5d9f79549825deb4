"""The CPU time of a policy job that evaluates every active release once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from tidegate.counts import Counts
from tidegate.model import Serve
from tidegate_server.domain.change import Address, Change, Delete, Put, Refresh
from tidegate_server.domain.evidence import GroupCounts
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.policy import Policy, Stage
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.domain.release import STATISTICS, Release, State
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from tidegate_server.store.reports import FailingUsers, Report

from scripts.bench.measure import Ratio, Result, benchmark, compare_values
from scripts.bench.places import store

MANY, FEW = 1_000, 250
CHUNK = 100
"""Releases in one commit or report."""

ROUNDS = 7
LIMIT_SECONDS = 1.0
LIMIT_GROWTH = 1.5
INTERVAL_MS = 30_000
PRODUCTION = "production"
POLICY = Policy(
    "slow",
    (Stage("few", 10.0, min_samples=10**9), Stage("all", 100.0)),
    interval_ms=INTERVAL_MS,
)


@benchmark
def tick() -> Iterator[Result]:
    """The CPU time of a tick that evaluates a thousand active releases with one check each."""
    with store() as url:
        opened = Store.connect(url)
        many = _Project(opened, "many", MANY)
        few = _Project(opened, "few", FEW)
        pairs = [(many.tick(), few.tick()) for _ in range(ROUNDS + 1)][1:]
        name, factor = f"tick of {MANY:,} releases, CPU", MANY // FEW
        seconds = median(seconds for seconds, _ in pairs)
        yield compare_values(name, seconds, "one second of a core", LIMIT_SECONDS)
        yield Ratio(
            name,
            f"{factor} x a tick of {FEW}",
            seconds,
            factor * median(seconds_few for _, seconds_few in pairs),
            median(seconds / (factor * seconds_few) for seconds, seconds_few in pairs),
            LIMIT_GROWTH,
        )
        opened.close()


class _Project:
    """A project with active releases, their traffic, and a policy job with a simulated clock."""

    def __init__(self, opened: Store, key: str, releases: int) -> None:
        self._store = opened
        self._key = key
        self._now_ms = opened.now_ms()
        self._ids = [f"rel_{number}" for number in range(releases)]
        self._sequence = 0
        opened.commit(
            Change(key, (Put(Address(Kind.ENVIRONMENT, PRODUCTION), Environment(PRODUCTION), 0),))
        )
        for first in range(0, releases, CHUNK):
            puts = tuple(
                put
                for id in self._ids[first : first + CHUNK]
                for put in (
                    Put(Address(Kind.RELEASE, id, PRODUCTION), self._release(id), 0),
                    Put(Address(Kind.TARGETING, f"flag-{id}", PRODUCTION), _targeting(id), 0),
                )
            )
            opened.commit(Change(key, puts, (Refresh(PRODUCTION),)), durable=False)
        self._job = PolicyJob(opened, f"bench-{key}", lambda: self._now_ms)

    def tick(self) -> float:
        """Report new traffic of every release, and return the CPU seconds of a tick."""
        self._report()
        self._now_ms += INTERVAL_MS
        # Only this project is stored during the tick, so that the job does not evaluate the other.
        self._store.commit(
            Change("", (Put(Address(Kind.PROJECT, self._key), Project(self._key), 0),))
        )
        began = time.process_time()
        evaluated = self._job.tick()
        seconds = time.process_time() - began
        address = Address(Kind.PROJECT, self._key)
        stored = self._store.get("", address)
        if evaluated != len(self._ids) or stored is None:
            raise RuntimeError(f"{evaluated} of {len(self._ids)} releases were evaluated")
        self._store.commit(Change("", (Delete(address, stored.revision),)))
        return seconds

    def _report(self) -> None:
        self._sequence += 1
        counts = GroupCounts(1, 1, self._totals(900, 9), self._totals(100, 1))
        for first in range(0, len(self._ids), CHUNK):
            groups = tuple((id, counts) for id in self._ids[first : first + CHUNK])
            self._store.evidence.add_report(
                self._key,
                PRODUCTION,
                Report(
                    f"{first:032x}",
                    self._sequence,
                    self._sequence > 1,
                    1,
                    10.0,
                    counts=groups,
                    failing=tuple(
                        (id, users)
                        for id in self._ids[first : first + CHUNK]
                        for users in self._failing_users()
                    ),
                ),
            )

    def _failing_users(self) -> Iterator[FailingUsers]:
        """Return the users who fail in this report: as many as operations do, and new ones."""
        users = tuple(f"{self._sequence:08x}{number:08x}" for number in range(10))
        yield FailingUsers(1, 1, "control", users[:9])
        yield FailingUsers(1, 1, "treatment", users[9:])

    def _totals(self, outcomes: int, errors: int) -> Counts:
        """Return the totals of an arm that counts this many in each report."""
        reports = self._sequence
        return Counts(
            outcomes * reports, outcomes * reports, errors * reports, microseconds=reports
        )

    def _release(self, id: str) -> Release:
        return Release(
            id=id,
            flag=f"flag-{id}",
            rule=None,
            control="off",
            treatment="on",
            salt=id,
            policy=POLICY,
            policy_revision=1,
            state=State.RUNNING,
            stage=1,
            step=1,
            reason="",
            started_by="bench",
            started_ms=self._now_ms,
            stage_entered_ms=self._now_ms,
            updated_ms=self._now_ms,
            statistics=STATISTICS,
        )


def _targeting(release: str) -> Targeting:
    return Targeting(f"flag-{release}", True, "off", Serve("off"), release=release)
