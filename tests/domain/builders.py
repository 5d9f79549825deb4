"""A project on a shelf: carries changes out as the store promises to, in a dictionary.

Every commit also checks that the snapshot it leaves says what the documents say.
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
from tidegate_server.domain.change import Address, Audit, Change, Guard, Kind, Put, Stored
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.policy import Policy, Stage
from tidegate_server.domain.project_documents import ProjectDocuments, targeting_address
from tidegate_server.domain.projects import Environment
from tidegate_server.domain.release import Release
from tidegate_server.domain.release_start import start_release
from tidegate_server.domain.snapshot import snapshot_flag, snapshot_segment
from tidegate_server.errors import FieldProblem, Invalid, StaleRevision

ON = Variant("on", True)
OFF = Variant("off", False)
ANA = "ana"


def checkout(**changes: Any) -> FlagDefinition:
    """A boolean flag."""
    return replace(FlagDefinition("checkout", "boolean", (ON, OFF), salt=""), **changes)


def ladder(*stages: Stage, **changes: Any) -> Policy:
    """A policy of 5, 50 and 100 % of everyone, or of the given stages."""
    usual = (Stage("few", 5), Stage("half", 50), Stage("all", 100))
    return replace(Policy("careful", stages or usual), **changes)


def problems(error: Invalid) -> dict[str, str]:
    """What an error says of each field."""
    return {each.pointer: each.detail for each in error.fields}


def pointers(error: Invalid) -> list[str]:
    """The fields that an error names."""
    assert all(isinstance(each, FieldProblem) for each in error.fields)
    return [each.pointer for each in error.fields]


class Shelf:
    """Documents by address, and the snapshots that commits made of them."""

    def __init__(self, *environments: str) -> None:
        self.stored: dict[Address, Stored] = {}
        self.flags: dict[str, dict[str, Flag]] = {}
        self.segments: dict[str, dict[str, Segment]] = {}
        self.versions: dict[str, int] = {}
        self.audits: list[Audit] = []
        self.now_ms = 1_000
        for key in environments:
            self.commit(project_edits.new_environment(self.documents, Environment(key), actor=ANA))

    @property
    def documents(self) -> ProjectDocuments:
        """Everything, as it would be read."""
        return ProjectDocuments(
            project="shop",
            environments=self._kind(Kind.ENVIRONMENT),
            flags=self._kind(Kind.FLAG),
            segments=self._kind(Kind.SEGMENT),
            policies=self._kind(Kind.POLICY),
            webhooks=self._kind(Kind.WEBHOOK),
            targetings={key: self._kind(Kind.TARGETING, key) for key in self.versions},
            releases={key: self._kind(Kind.RELEASE, key) for key in self.versions},
        )

    def _kind(self, kind: Kind, environment: str = "") -> dict[str, Stored]:
        return {
            address.key: stored
            for address, stored in self.stored.items()
            if address.kind is kind and address.environment == environment
        }

    def commit(self, change: Change) -> Change:
        """Carry a change out whole, or raise ``StaleRevision`` and do nothing."""
        addresses = [write.address for write in change.writes]
        assert len(set(addresses)) == len(addresses), "a document is written or guarded once"
        for write in change.writes:
            held = self.stored.get(write.address)
            if write.expected != (held.revision if held is not None else 0):
                raise StaleRevision(f"{write.address} has changed")
        self.now_ms += 1
        for write in change.writes:
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
                key: snapshot_flag(
                    documents.flag(key).document,
                    stored.document,
                    self.release(environment, key) if stored.document.release else None,
                    documents.flag(key).revision + stored.revision,
                )
                for key, stored in targetings.items()
            }
            assert self.segments[environment] == {
                key: snapshot_segment(stored.document) for key, stored in documents.segments.items()
            }

    def release(self, environment: str = "production", flag: str = "checkout") -> Release:
        """The active release of a flag."""
        active = self.documents.active_release(environment, flag)
        assert active is not None
        found: Release = active.document
        return found

    def targeting(self, environment: str = "production", flag: str = "checkout") -> Targeting:
        """A flag's targeting."""
        found: Targeting = self.documents.targeting(environment, flag).document
        return found

    def add_flag(self, definition: FlagDefinition) -> None:
        """Create a flag."""
        self.commit(flag_edits.new_flag(self.documents, definition, actor=ANA))

    def add_segment(self, definition: SegmentDefinition) -> None:
        """Create or replace a segment."""
        self.commit(segment_edits.put_segment(self.documents, definition, actor=ANA))

    def add_policy(self, policy: Policy) -> None:
        """Create or replace a policy."""
        self.commit(policy_edits.put_policy(self.documents, policy, actor=ANA))

    def retarget(
        self, environment: str = "production", flag: str = "checkout", **to: Any
    ) -> Change:
        """Change fields of a flag's targeting."""
        after = replace(self.targeting(environment, flag), **to)
        return self.commit(flag_edits.edit_targeting(self.documents, environment, after, actor=ANA))

    def start(self, environment: str = "production", **asked: Any) -> Change:
        """Start a release of ``checkout`` to ``on`` under ``careful``."""
        usual = {"release_id": "rel_1", "flag": "checkout", "treatment": "on", "policy": "careful"}
        return self.commit(
            start_release(
                self.documents,
                environment,
                **{"actor": ANA, "now_ms": self.now_ms, **usual, **asked},
            )
        )

    def move(self, after: Release, action: str = "release.move", **told: Any) -> Change:
        """Commit what a function of ``releases`` made of the active release."""
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
                **told,
            )
        )

    def kill(self, reason: str = "It burns.", actor: str = ANA, flag: str = "checkout") -> Change:
        """Kill a flag in production."""
        return self.commit(
            kill_switch.kill(
                self.documents, "production", flag, actor=actor, reason=reason, now_ms=self.now_ms
            )
        )

    def restore(self, reason: str = "Mended.", flag: str = "checkout") -> Change:
        """Restore a flag in production."""
        return self.commit(
            kill_switch.restore(
                self.documents, "production", flag, actor=ANA, reason=reason, now_ms=self.now_ms
            )
        )


def _check_version(before: Flag | None, after: Flag | None) -> None:
    """A flag's version never goes back; under the same one only its release moves."""
    if before is None or after is None:
        return
    assert after.version >= before.version
    if after.version == before.version:
        assert replace(after, release=None) == replace(before, release=None)
        assert before.release is not None
        assert after.release is not None
        assert after.release.step > before.release.step


def _merge(held: dict[str, Any], refreshed: Any) -> None:
    for key, value in refreshed.items():
        if value is None:
            held.pop(key, None)
        else:
            held[key] = value


def stocked() -> Shelf:
    """A shelf with two environments, the flag ``checkout`` and the policy ``careful``."""
    shelf = Shelf("production", "staging")
    shelf.add_flag(checkout())
    shelf.add_policy(ladder())
    return shelf


def guarded(change: Change) -> set[Address]:
    """What a change insists on without writing it."""
    return {write.address for write in change.writes if isinstance(write, Guard)}


def written(change: Change) -> set[Address]:
    """What a change writes."""
    return {write.address for write in change.writes if isinstance(write, Put)}


def serving(variant: str) -> Serve:
    """One variant for all."""
    return Serve(variant=variant)


CHECKOUT_IN_PRODUCTION = targeting_address("production", "checkout")
