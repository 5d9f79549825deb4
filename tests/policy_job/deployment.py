"""A project in a real store with a release in it, reported on as an SDK would."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import msgspec
import pytest
from tidegate.counts import Counts
from tidegate.model import Variant
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain import flag_edits, project_edits, release_commits, segment_edits
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.change import Address, Change, Put, Stored
from tidegate_server.domain.evidence import GroupCounts, Trips
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.kill_switch import kill, restore
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    targeting_address,
)
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.domain.release import Release
from tidegate_server.domain.release_start import start_release
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.ledger.entry import Entry
from tidegate_server.store import Store
from tidegate_server.store.logs import LedgerRecord
from tidegate_server.store.reports import FailingUsers, Report

from tests.decisions.simulated_release import SEGMENT, policy

ENVIRONMENT = "production"
QUICK = policy(10, 50, 100, interval_ms=1_000, bake_ms=3_000, min_samples=10)
HEALTHY = {1: ((900, 2), (100, 0)), 2: ((500, 2), (500, 1)), 3: ((0, 0), (1_000, 2))}
"""By stage, what control and treatment report of a harmless release: operations, failing users."""

_users = itertools.count()


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Sdk:
    """One SDK instance: its totals, and its reports.

    Attributes:
        interval: seconds between its reports; it counts as live for a few of them.
    """

    store: Store
    project: str
    id: str
    sequence: int = 0
    interval: float = 1.0
    totals: dict[tuple[str, int, int], list[list[int]]] = field(default_factory=dict)
    trips: tuple[tuple[str, Trips], ...] = ()

    def report(
        self,
        release: Release,
        control: tuple[int, int],
        treatment: tuple[int, int],
        failed_again: int = 0,
    ) -> None:
        """Report (operations, failing users) in the newest stratum of the present step.

        ``failed_again``: operations of control that failed for users who had failed before.
        """
        key = (release.id, release.step, release.stage)
        totals = self.totals.setdefault(key, [[0, 0], [0, 0]])
        failing = []
        for name, arm, (operations, failed) in zip(
            ("control", "treatment"), totals, (control, treatment), strict=True
        ):
            arm[0] += operations
            arm[1] += failed
            if name == "control":
                arm[1] += failed_again
            users = tuple(f"{next(_users):016x}" for _ in range(failed))
            if users:
                failed_users = FailingUsers(release.step, release.stage, name, users)  # type: ignore[arg-type]
                failing.append((release.id, failed_users))
        self._send(tuple(failing))

    def leave(self) -> None:
        """Send the last report, so that the instance is no longer live."""
        self._send((), leaving=True)

    def _send(
        self, failing: tuple[tuple[str, FailingUsers], ...], *, leaving: bool = False
    ) -> None:
        self.sequence += 1
        self.store.evidence.add_report(
            self.project,
            ENVIRONMENT,
            Report(
                instance=self.id,
                sequence=self.sequence,
                continues=self.sequence > 1,
                version=1,
                interval=self.interval,
                counts=tuple(
                    (id, GroupCounts(step, stratum, *(Counts(n, n, e) for n, e in arms)))
                    for (id, step, stratum), arms in self.totals.items()
                ),
                failing=failing,
                trips=self.trips,
                leaving=leaving,
            ),
        )


@pytest.fixture
def deployment(store: Store) -> Deployment:
    return Deployment(store)


class Deployment:
    """A project whose flags ``checkout`` and ``search`` may be released."""

    def __init__(self, store: Store, project: str = "shop") -> None:
        self.store = store
        self.project = project
        self.sdk = Sdk(store, project, "a" * 32)
        store.commit(project_edits.new_project(Project(project), actor="dana"))
        contents = ProjectDocuments(project)
        store.commit(
            project_edits.new_environment(contents, Environment(ENVIRONMENT), actor="dana")
        )
        for flag in ("checkout", "search"):
            definition = FlagDefinition(
                flag, "boolean", (Variant("on", True), Variant("off", False)), ""
            )
            store.commit(flag_edits.new_flag(self.contents(), definition, actor="dana"))
            self.commit_targeting(flag)
        store.commit(
            segment_edits.put_segment(
                self.contents(), SegmentDefinition(SEGMENT), actor="dana", now_ms=0
            )
        )

    def commit_targeting(self, flag: str) -> None:
        """Turn the flag on, still serving ``off`` to everyone."""
        contents = self.contents()
        before: Targeting = contents.targeting(ENVIRONMENT, flag).document
        self.store.commit(
            flag_edits.edit_targeting(
                contents, ENVIRONMENT, replace(before, enabled=True), actor="dana", now_ms=0
            )
        )

    def contents(self) -> ProjectDocuments:
        """The project as it is now."""
        moment, everything = self.store.moment(self.project), self.store.all
        return ProjectDocuments(
            self.project,
            read=moment,
            environments=everything(self.project, Kind.ENVIRONMENT),
            flags=everything(self.project, Kind.FLAG),
            segments=everything(self.project, Kind.SEGMENT),
            policies=everything(self.project, Kind.POLICY),
            webhooks=everything(self.project, Kind.WEBHOOK),
            targetings={
                ENVIRONMENT: everything(self.project, Kind.TARGETING, ENVIRONMENT)
                if everything(self.project, Kind.ENVIRONMENT)
                else {}
            },
            releases={ENVIRONMENT: everything(self.project, Kind.RELEASE, ENVIRONMENT)},
        )

    def start(self, by: Policy = QUICK, flag: str = "checkout", now_ms: int | None = None) -> str:
        """Start a release of a flag to ``on`` and return its id."""
        address = Address(Kind.POLICY, by.key)
        known = self.store.get(self.project, address)
        revision = known.revision if known else 0
        self.store.commit(Change(self.project, (Put(address, by, revision),)))
        self.store.commit(
            start_release(
                self.contents(),
                ENVIRONMENT,
                release_id=f"rel_{flag}",
                flag=flag,
                treatment="on",
                policy=by.key,
                actor="dana",
                now_ms=self.store.now_ms() if now_ms is None else now_ms,
            )
        )
        return f"rel_{flag}"

    def stored(self, release: str = "rel_checkout") -> Stored:
        """The release's document with its revision."""
        stored = self.store.get(self.project, Address(Kind.RELEASE, release, ENVIRONMENT))
        assert stored is not None
        return stored

    def release(self, release: str = "rel_checkout") -> Release:
        """The release as it stands."""
        document: Release = self.stored(release).document
        return document

    def progress(self, release: str = "rel_checkout") -> Progress | None:
        """What the policy job knows of the release."""
        stored = self.store.get(self.project, Address(Kind.PROGRESS, release, ENVIRONMENT))
        return stored.document if stored else None

    def ledger(self, release: str = "rel_checkout") -> list[Entry]:
        """Every decision of the release, the first one first."""
        records: list[LedgerRecord] = []
        cursor = None
        while True:
            page, cursor = self.store.logs.ledger(self.project, ENVIRONMENT, release, cursor)
            records += page
            if cursor is None:
                return [msgspec.convert(each.entry, Entry) for each in reversed(records)]

    def serves(self, flag: str = "checkout") -> str | None:
        """The variant that the flag's default rule serves."""
        stored = self.store.get(self.project, targeting_address(ENVIRONMENT, flag))
        assert stored is not None
        variant: str | None = stored.document.default.variant
        return variant

    def move(self, after: Release, action: str) -> None:
        """Commit what a person did to a release."""
        before = self.stored(after.id)
        self.store.commit(
            release_commits.release_change(
                self.contents(), ENVIRONMENT, before, after, actor="dana", action=action
            )
        )

    def pause(self, release: str = "rel_checkout") -> None:
        """A person pauses the release."""
        now = self.store.now_ms()
        self.move(
            machine.pause(self.release(release), now, "wait", by=Initiator.PERSON),
            "release.pause",
        )

    def resume(self, release: str = "rel_checkout") -> None:
        """A person resumes the release."""
        now = self.store.now_ms()
        self.move(machine.resume(self.release(release), now, "go"), "release.resume")

    def kill(self, flag: str = "checkout") -> None:
        """A person kills the flag."""
        self._latch(kill, flag)

    def restore(self, flag: str = "checkout") -> None:
        """A person restores the flag."""
        self._latch(restore, flag)

    def _latch(self, latch: object, flag: str) -> None:
        assert callable(latch)
        self.store.commit(
            latch(
                self.contents(),
                ENVIRONMENT,
                flag,
                actor="dana",
                reason="customers cannot pay",
                now_ms=self.store.now_ms(),
            )
        )
