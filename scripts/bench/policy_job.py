"""What it costs to evaluate every active release once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from tidegate.counts import Counts
from tidegate_server.domain.change import Address, Change, Delete, Kind, Put, Refresh
from tidegate_server.domain.evidence import GroupCounts
from tidegate_server.domain.policy import Policy, Stage
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.domain.release import Release, State
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from tidegate_server.store.reports import Report

from scripts.bench.measure import Found, Ratio, benchmark
from scripts.bench.places import store

MANY, FEW = 1_000, 250
ROUNDS = 7
LIMIT_SECONDS = 1.0
LIMIT_GROWTH = 1.5
INTERVAL_MS = 30_000
PRODUCTION = "production"
UNDER = Policy(
    "slow",
    (Stage("few", 10.0, min_samples=10**9), Stage("all", 100.0)),
    interval_ms=INTERVAL_MS,
)


@benchmark
def tick() -> Iterator[Found]:
    """A thousand active releases with a check each, evaluated in one tick; CPU seconds."""
    with store() as url:
        opened = Store.connect(url)
        many = _Project(opened, "many", MANY)
        few = _Project(opened, "few", FEW)
        pairs = [(many.tick(), few.tick()) for _ in range(ROUNDS + 1)][1:]
        took = median(taken for taken, _ in pairs)
        less = median(taken for _, taken in pairs)
        yield Ratio(
            f"tick of {MANY:,} releases, CPU",
            "one second of a core",
            took,
            LIMIT_SECONDS,
            took / LIMIT_SECONDS,
            1.0,
        )
        yield Ratio(
            f"tick of {MANY:,} releases, CPU",
            f"{MANY // FEW} x a tick of {FEW}",
            took,
            less * (MANY // FEW),
            median(taken / (MANY // FEW * other) for taken, other in pairs),
            LIMIT_GROWTH,
        )
        opened.close()


class _Project:
    """A project with active releases, traffic in all of them, and a job on a clock of its own."""

    def __init__(self, opened: Store, key: str, amount: int) -> None:
        self._store = opened
        self._key = key
        self._now_ms = opened.now_ms()
        self._ids = [f"rel_{number}" for number in range(amount)]
        self._sequence = 0
        opened.commit(
            Change(key, (Put(Address(Kind.ENVIRONMENT, PRODUCTION), Environment(PRODUCTION), 0),))
        )
        for first in range(0, amount, 100):
            puts = tuple(
                Put(Address(Kind.RELEASE, id, PRODUCTION), self._release(id), 0)
                for id in self._ids[first : first + 100]
            )
            opened.commit(Change(key, puts, (Refresh(PRODUCTION),)), durable=False)
        self._job = PolicyJob(opened, f"bench-{key}", lambda: self._now_ms)

    def tick(self) -> float:
        """Report new traffic of every release and evaluate all of them; CPU seconds."""
        self._report()
        self._now_ms += INTERVAL_MS
        # Only this project is there while its job looks: the other one's releases are not due.
        self._store.commit(
            Change("", (Put(Address(Kind.PROJECT, self._key), Project(self._key), 0),))
        )
        began = time.process_time()
        evaluated = self._job.tick()
        took = time.process_time() - began
        address = Address(Kind.PROJECT, self._key)
        stored = self._store.get("", address)
        if evaluated != len(self._ids) or stored is None:
            raise RuntimeError(f"{evaluated} of {len(self._ids)} releases were evaluated")
        self._store.commit(Change("", (Delete(address, stored.revision),)))
        return took

    def _report(self) -> None:
        self._sequence += 1
        control, treatment = (
            Counts(900, 900, 9, microseconds=1),
            Counts(100, 100, 1, microseconds=1),
        )
        for first in range(0, len(self._ids), 100):
            groups = tuple(
                (
                    id,
                    GroupCounts(
                        1, 1, _times(control, self._sequence), _times(treatment, self._sequence)
                    ),
                )
                for id in self._ids[first : first + 100]
            )
            self._store.report(
                self._key,
                PRODUCTION,
                Report(f"{first:032x}", self._sequence, self._sequence > 1, 1, 10.0, counts=groups),
            )

    def _release(self, id: str) -> Release:
        return Release(
            id=id,
            flag=f"flag-of-{id}",
            rule=None,
            control="off",
            treatment="on",
            salt=id,
            policy=UNDER,
            policy_revision=1,
            state=State.RUNNING,
            stage=1,
            step=1,
            reason="",
            started_by="bench",
            started_ms=self._now_ms,
            stage_entered_ms=self._now_ms,
            updated_ms=self._now_ms,
        )


def _times(totals: Counts, many: int) -> Counts:
    return Counts(
        totals.exposures * many,
        totals.outcomes * many,
        totals.errors * many,
        microseconds=totals.microseconds * many,
    )
