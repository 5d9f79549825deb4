"""A project in memory, which applies changes as the store does.

Every commit also checks that the snapshot agrees with the documents.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidegate.model import Flag, Segment, Serve, Variant
from tidegate_server.domain import (
    flag_edits,
    kill_switch,
    policy_edits,
    project_edits,
    release_commits,
    segment_edits,
)
from tidegate_server.domain.change import Address, Audit, Change, Guard, Moment, Put, Stored
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.policy import Policy, Stage
from tidegate_server.domain.project_documents import ProjectDocuments, targeting_address
from tidegate_server.domain.projects import Environment
from tidegate_server.domain.release import Release
from tidegate_server.domain.release_start import start_release
from tidegate_server.domain.snapshot import snapshot_entry, snapshot_segment
from tidegate_server.errors import FieldProblem, Invalid, StaleRevision

ON = Variant("on", True)
OFF = Variant("off", False)
ANA = "ana"


def checkout(**changes: Any) -> FlagDefinition:
    """A boolean flag."""
    return replace(FlagDefinition("checkout", "boolean", (ON, OFF), salt=""), **changes)


def make_policy(*stages: Stage, **changes: Any) -> Policy:
    """A policy of 5, 50 and 100 % of everyone, or of the given stages."""
    usual = (Stage("few", 5), Stage("half", 50), Stage("all", 100))
    return replace(Policy("careful", stages or usual), **changes)


def problems(error: Invalid) -> dict[str, str]:
    """Return the detail of each field of an error."""
    return {each.pointer: each.detail for each in error.fields}


def pointers(error: Invalid) -> list[str]:
    """Return the pointers of the fields of an error."""
    assert all(isinstance(each, FieldProblem) for each in error.fields)
    return [each.pointer for each in error.fields]


class InMemoryStore:
    """The documents of a project by address, and the snapshots after each commit."""

    def __init__(self, *environments: str) -> None:
        self.stored: dict[Address, Stored] = {}
        self.flags: dict[str, dict[str, Flag]] = {}
        self.segments: dict[str, dict[str, Segment]] = {}
        self.versions: dict[str, int] = {}
        self.audits: list[Audit] = []
        self.now_ms = 1_000
        self.written_ms: dict[tuple[Kind, str], int] = {}
        for key in environments:
            self.commit(project_edits.new_environment(self.documents, Environment(key), actor=ANA))

    @property
    def documents(self) -> ProjectDocuments:
        """All documents, as a reader of the store gets them."""
        return ProjectDocuments(
            project="shop",
            environments=self._kind(Kind.ENVIRONMENT),
            flags=self._kind(Kind.FLAG),
            segments=self._kind(Kind.SEGMENT),
            policies=self._kind(Kind.POLICY),
            webhooks=self._kind(Kind.WEBHOOK),
            targetings={key: self._kind(Kind.TARGETING, key) for key in self.versions},
            releases={key: self._kind(Kind.RELEASE, key) for key in self.versions},
            read=Moment(str(self.now_ms)),
        )

    def _kind(self, kind: Kind, environment: str = "") -> dict[str, Stored]:
        return {
            address.key: stored
            for address, stored in self.stored.items()
            if address.kind is kind and address.environment == environment
        }

    def commit(self, change: Change) -> Change:
        """Apply a change completely, or raise ``StaleRevision`` and do nothing."""
        addresses = [write.address for write in change.writes]
        assert len(set(addresses)) == len(addresses), "a document is written or guarded once"
        for write in change.writes:
            present = self.stored.get(write.address)
            if write.expected != (present.revision if present is not None else 0):
                raise StaleRevision(f"{write.address} has changed")
        for each in change.kind_guards:
            if self.written_ms.get((each.kind, each.environment), 0) > int(each.since.notice):
                raise StaleRevision(f"Some {each.kind} has changed")
        self.now_ms += 1
        for write in change.writes:
            if not isinstance(write, Guard):
                place = (write.address.kind, write.address.environment)
                self.written_ms[place] = self.now_ms
            if isinstance(write, Put):
                stored = Stored(write.document, write.expected + 1, self.now_ms)
                self.stored[write.address] = stored
            elif not isinstance(write, Guard):
                del self.stored[write.address]
        for refresh in change.refreshes:
            where = refresh.environment
            self.versions[where] = self.versions.get(where, 0) + 1
            for key, flag in refresh.flags.items():
                _check_version(self.flags.get(where, {}).get(key), flag)
            _merge(self.flags.setdefault(where, {}), refresh.flags)
            _merge(self.segments.setdefault(where, {}), refresh.segments)
        if change.audit is not None:
            self.audits.append(change.audit)
        self._check_snapshots()
        return change

    def _check_snapshots(self) -> None:
        documents = self.documents
        for environment, targetings in documents.targetings.items():
            assert self.flags[environment] == {
                key: snapshot_entry(
                    documents.flag(key).document,
                    stored.document,
                    self.release(environment, key) if stored.document.release else None,
                    documents.flag(key).revision + stored.revision,
                )
                for key, stored in targetings.items()
                if documents.flag(key).document.archived is None
            }
            assert self.segments[environment] == {
                key: snapshot_segment(stored.document) for key, stored in documents.segments.items()
            }

    def release(self, environment: str = "production", flag: str = "checkout") -> Release:
        """Return the active release of a flag."""
        active = self.documents.active_release(environment, flag)
        assert active is not None
        found: Release = active.document
        return found

    def targeting(self, environment: str = "production", flag: str = "checkout") -> Targeting:
        """Return a flag's targeting."""
        found: Targeting = self.documents.targeting(environment, flag).document
        return found

    def add_flag(self, definition: FlagDefinition) -> None:
        """Create a flag."""
        self.commit(flag_edits.new_flag(self.documents, definition, actor=ANA))

    def add_segment(self, definition: SegmentDefinition) -> None:
        """Create or replace a segment."""
        self.commit(
            segment_edits.put_segment(self.documents, definition, actor=ANA, now_ms=self.now_ms)
        )

    def add_policy(self, policy: Policy) -> None:
        """Create or replace a policy."""
        self.commit(policy_edits.put_policy(self.documents, policy, actor=ANA))

    def edit_targeting(
        self, environment: str = "production", flag: str = "checkout", **to: Any
    ) -> Change:
        """Change fields of a flag's targeting."""
        after = replace(self.targeting(environment, flag), **to)
        return self.commit(
            flag_edits.edit_targeting(
                self.documents, environment, after, actor=ANA, now_ms=self.now_ms
            )
        )

    def start(self, environment: str = "production", **arguments: Any) -> Change:
        """Start a release of ``checkout`` to ``on`` under ``careful``."""
        usual = {"release_id": "rel_1", "flag": "checkout", "treatment": "on", "policy": "careful"}
        return self.commit(
            start_release(
                self.documents,
                environment,
                **{"actor": ANA, "now_ms": self.now_ms, **usual, **arguments},
            )
        )

    def move(self, after: Release, action: str = "release.move", **arguments: Any) -> Change:
        """Commit what a function of ``release_state_machine`` returned for a release."""
        documents = self.documents
        before = documents.releases["production"][after.id]
        return self.commit(
            release_commits.release_change(
                documents,
                "production",
                before,
                after,
                actor=ANA,
                action=action,
                **arguments,
            )
        )

    def kill(self, reason: str = "It burns.", actor: str = ANA, flag: str = "checkout") -> Change:
        """Kill a flag in production."""
        return self.commit(
            kill_switch.kill(
                self.documents, "production", flag, actor=actor, reason=reason, now_ms=self.now_ms
            )
        )

    def restore(self, reason: str = "Fixed.", flag: str = "checkout") -> Change:
        """Restore a flag in production."""
        return self.commit(
            kill_switch.restore(
                self.documents, "production", flag, actor=ANA, reason=reason, now_ms=self.now_ms
            )
        )


def _check_version(before: Flag | None, after: Flag | None) -> None:
    """Check that a flag's version never decreases, and that the same version has the same flag."""
    if before is None or after is None:
        return
    assert after.version >= before.version
    if after.version == before.version:
        assert replace(after, release=None) == replace(before, release=None)
        assert before.release is not None
        assert after.release is not None
        assert after.release.step > before.release.step


def _merge(snapshot: dict[str, Any], updates: Any) -> None:
    for key, value in updates.items():
        if value is None:
            snapshot.pop(key, None)
        else:
            snapshot[key] = value


def store_with_checkout() -> InMemoryStore:
    """Return a store with two environments, the flag ``checkout`` and the policy ``careful``."""
    store = InMemoryStore("production", "staging")
    store.add_flag(checkout())
    store.add_policy(make_policy())
    return store


def guarded(change: Change) -> set[Address]:
    """Return the addresses that a change guards."""
    return {write.address for write in change.writes if isinstance(write, Guard)}


def guarded_kinds(change: Change) -> set[tuple[Kind, str]]:
    """Return the kinds that a change guards as a whole, with their environments."""
    return {(each.kind, each.environment) for each in change.kind_guards}


def written(change: Change) -> set[Address]:
    """Return the addresses that a change writes."""
    return {write.address for write in change.writes if isinstance(write, Put)}


def serving(variant: str) -> Serve:
    """Serve one variant to everyone."""
    return Serve(variant=variant)


CHECKOUT_IN_PRODUCTION = targeting_address("production", "checkout")
