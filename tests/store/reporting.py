"""SDK instances whose reports a test composes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tidegate.counts import Counts
from tidegate_server.domain.change import Address, Kind, Put
from tidegate_server.domain.evidence import GroupCounts
from tidegate_server.store import Store
from tidegate_server.store.reports import FailingUsers, Report

from tests.policy_job.deployment import QUICK
from tests.store.changes import PRODUCTION, SHOP, change

RELEASE = "rel_1"
Arm = Literal["control", "treatment"]


def add_releases(store: Store, *releases: str) -> None:
    """Add releases to the store; the content of their documents does not matter."""
    for release in releases:
        where = Address(Kind.RELEASE, release, PRODUCTION)
        store.commit(change(Put(where, QUICK, 0)), durable=False)


def totals(exposures: int = 0, outcomes: int = 0, errors: int = 0, micros: int = 0) -> Counts:
    """Return one arm's totals."""
    return Counts(exposures, outcomes, errors, microseconds=micros)


def group(
    control: Counts,
    treatment: Counts,
    release: str = RELEASE,
    step: int = 1,
    stratum: int = 1,
) -> tuple[str, GroupCounts]:
    """Return both arms of one group of a release."""
    return release, GroupCounts(step, stratum, control, treatment)


def failing(
    *users: int, arm: Arm = "treatment", overflow: int = 0, release: str = RELEASE, step: int = 1
) -> tuple[str, FailingUsers]:
    """Return failing users, given by number."""
    names = tuple(f"{user * 0x9E3779B97F4A7C15 % 2**64:016x}" for user in users)
    return release, FailingUsers(step, 1, arm, names, overflow)


@dataclass
class Instance:
    """One instance and its last report."""

    store: Store
    id: str = "a" * 32
    last: Report = field(init=False)

    def __post_init__(self) -> None:
        self.last = Report(self.id, 0, False, 1, 1.0, "python/1", "web-1", 42)

    def next(self, *counts: tuple[str, GroupCounts], **more: Any) -> Report:
        """Return the report after the last one."""
        self.last = replace(
            self.last, sequence=self.last.sequence + 1, counts=counts, **({"failing": ()} | more)
        )
        return self.last

    def send(self, report: Report) -> int:
        """Send a report, also one that was sent before."""
        return self.store.evidence.add_report(SHOP, PRODUCTION, report)

    def send_next(self, *counts: tuple[str, GroupCounts], **more: Any) -> int:
        """Make the next report and send it."""
        return self.send(self.next(*counts, **more))
