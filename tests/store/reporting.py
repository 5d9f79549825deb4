"""SDK instances whose reports a test composes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import redis
from tidegate.counts import Counts
from tidegate_server.domain.change import Address, Put
from tidegate_server.domain.evidence import GroupCounts
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store, keys
from tidegate_server.store.reports import FailingUsers, Report, Reported

from tests.decisions.simulated_release import SEGMENT, policy, release
from tests.store.changes import PRODUCTION, SHOP, change

RELEASE = "rel_1"
Arm = Literal["control", "treatment"]


TWO_STRATA = policy(60, 50, 100, segments={1: (SEGMENT,)})


def add_releases(store: Store, *ids: str, **changes: Any) -> None:
    """Add releases to the store: at step 2, with the strata 1 and 2 open."""
    for id in ids:
        document = release(TWO_STRATA, **({"id": id, "stage": 2, "step": 2} | changes))
        where = Address(Kind.RELEASE, id, PRODUCTION)
        known = store.get(SHOP, where)
        revision = 0 if known is None else known.revision
        store.commit(change(Put(where, document, revision)), durable=False)


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


def set_seen(raw: redis.Redis, id: str, seen_ms: int) -> None:
    """Change when an instance was seen last."""
    where = keys.instance_descriptions(SHOP, PRODUCTION)
    version, _, rest = cast(bytes, raw.hget(where, id)).split(b" ", 2)
    raw.hset(where, id, b" ".join([version, str(seen_ms).encode(), rest]))


@dataclass
class Instance:
    """One instance and its last report."""

    store: Store
    id: str = "a" * 32
    last: Report = field(init=False)
    errors: Counter[tuple[str, int, int, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.last = Report(self.id, 0, False, 1, 1.0, "python/1", "web-1", 42)

    def next(self, *counts: tuple[str, GroupCounts], **more: Any) -> Report:
        """Return the report after the last one.

        Failing users without counts get an error each, as an SDK would count it.
        """
        failing = more.pop("failing", ())
        self.last = replace(
            self.last,
            sequence=self.last.sequence + 1,
            counts=counts or self._errors_of(failing),
            failing=failing,
            **more,
        )
        return self.last

    def _errors_of(
        self, failing: tuple[tuple[str, FailingUsers], ...]
    ) -> tuple[tuple[str, GroupCounts], ...]:
        for id, each in failing:
            self.errors[id, each.step, each.stratum, each.arm] += len(each.users)
        groups = {key[:3]: [Counts(), Counts()] for key in self.errors}
        for (*place, arm), errors in self.errors.items():
            groups[tuple(place)][arm == "treatment"] = Counts(errors, errors, errors)  # type: ignore[index]
        return tuple(
            (release, GroupCounts(step, stratum, *arms))
            for (release, step, stratum), arms in groups.items()
        )

    def send(self, report: Report) -> Reported:
        """Send a report, also one that was sent before."""
        return self.store.evidence.add_report(SHOP, PRODUCTION, report)

    def send_next(self, *counts: tuple[str, GroupCounts], **more: Any) -> Reported:
        """Make the next report and send it."""
        return self.send(self.next(*counts, **more))
