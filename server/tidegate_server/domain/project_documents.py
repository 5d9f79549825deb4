"""A project's documents as they were read: what a change is checked against.

The reads need not be one atomic read. Every change guards the revisions of what it rested
on, so a commit that rests on something older than the store is refused as stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tidegate_server.domain.change import Address, Guard, Kind, Put, Stored
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.release import LIVE_STATES, Release
from tidegate_server.errors import NotFound, StaleRevision


@dataclass(frozen=True, slots=True)
class ProjectDocuments:
    """Everything that a project holds.

    Attributes:
        project: its key, the scope of its changes.
        environments, flags, segments, policies, webhooks: documents by key.
        targetings: by environment, then by flag.
        releases: by environment, then by id; those that have ended may be left out.
    """

    project: str
    environments: Mapping[str, Stored] = field(default_factory=dict)
    flags: Mapping[str, Stored] = field(default_factory=dict)
    segments: Mapping[str, Stored] = field(default_factory=dict)
    policies: Mapping[str, Stored] = field(default_factory=dict)
    webhooks: Mapping[str, Stored] = field(default_factory=dict)
    targetings: Mapping[str, Mapping[str, Stored]] = field(default_factory=dict)
    releases: Mapping[str, Mapping[str, Stored]] = field(default_factory=dict)

    def flag(self, key: str) -> Stored:
        """The flag's definition; raises ``NotFound``."""
        return _found(self.flags, key, f"There is no flag {key!r} in project {self.project!r}.")

    def segment(self, key: str) -> Stored:
        """The segment's definition; raises ``NotFound``."""
        return _found(
            self.segments, key, f"There is no segment {key!r} in project {self.project!r}."
        )

    def policy(self, key: str) -> Stored:
        """The policy; raises ``NotFound``."""
        return _found(self.policies, key, f"There is no policy {key!r} in {self.project!r}.")

    def webhook(self, key: str) -> Stored:
        """The webhook; raises ``NotFound``."""
        return _found(
            self.webhooks, key, f"There is no webhook {key!r} in project {self.project!r}."
        )

    def environment(self, key: str) -> Stored:
        """The environment; raises ``NotFound``."""
        return _found(
            self.environments, key, f"There is no environment {key!r} in project {self.project!r}."
        )

    def targeting(self, environment: str, flag: str) -> Stored:
        """The flag's targeting there; raises ``NotFound``."""
        return _found(
            self.targetings.get(environment, {}),
            flag,
            f"There is no flag {flag!r} in environment {environment!r} of {self.project!r}.",
        )

    def active_release(self, environment: str, flag: str) -> Stored | None:
        """The release that the flag's targeting names; None when it has none.

        A release that had ended when it was read is none: its end rewrote the targeting,
        so a commit that rests on this one is refused as stale.

        Raises:
            StaleRevision: the release was not read.
        """
        targeting: Targeting = self.targeting(environment, flag).document
        if targeting.release is None:
            return None
        stored = self.releases.get(environment, {}).get(targeting.release)
        if stored is None:
            raise StaleRevision(
                f"Release {targeting.release} of flag {flag} began at this moment; read again."
            )
        return stored if stored.document.state in LIVE_STATES else None

    def active_releases(self) -> Iterator[tuple[str, Stored]]:
        """Every active release, with its environment; raises as ``active_release`` does."""
        for environment, targetings in self.targetings.items():
            for flag in targetings:
                stored = self.active_release(environment, flag)
                if stored is not None:
                    yield environment, stored


def _found(documents: Mapping[str, Stored], key: str, message: str) -> Stored:
    try:
        return documents[key]
    except KeyError:
        raise NotFound(message) from None


def flag_address(key: str) -> Address:
    """Where a flag's definition is."""
    return Address(Kind.FLAG, key)


def segment_address(key: str) -> Address:
    """Where a segment is."""
    return Address(Kind.SEGMENT, key)


def policy_address(key: str) -> Address:
    """Where a policy is."""
    return Address(Kind.POLICY, key)


def webhook_address(key: str) -> Address:
    """Where a webhook is."""
    return Address(Kind.WEBHOOK, key)


def environment_address(key: str) -> Address:
    """Where an environment is."""
    return Address(Kind.ENVIRONMENT, key)


def targeting_address(environment: str, flag: str) -> Address:
    """Where a flag's targeting in an environment is."""
    return Address(Kind.TARGETING, flag, environment)


def release_address(environment: str, release: Release | str) -> Address:
    """Where a release is, given itself or its id."""
    key = release if isinstance(release, str) else release.id
    return Address(Kind.RELEASE, key, environment)


def guard(address: Address, stored: Stored) -> Guard:
    """Insist that a document is still as it was read."""
    return Guard(address, stored.revision)


def put(address: Address, stored: Stored, document: object) -> Put:
    """Replace a document as it was read."""
    return Put(address, document, stored.revision)
