"""A project's documents as they were read, and their addresses.

The documents need not come from one atomic read. Every change guards the revisions of the
documents that it depends on, so the store refuses a commit based on an older one as stale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tidegate_server.domain.change import Address, Guard, KindGuard, Moment, Put, Stored
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.release import LIVE_STATES, Release
from tidegate_server.domain.targeting_index import TargetingIndex, index_targetings
from tidegate_server.errors import NotFound, StaleRevision
from tidegate_server.near_misses import similar


@dataclass(frozen=True, slots=True)
class ProjectDocuments:
    """The documents of a project, or those of them that a change needs.

    Attributes:
        project: the project's key, which is the scope of its changes.
        environments, flags, segments, policies, webhooks, hooks, contexts: documents by key.
        targetings: by environment, then by flag.
        releases: by environment, then by id; releases that have ended may be missing.
        indexes: by environment, the index of its targetings, where it is known.
        read: a moment before all of this was read.
    """

    project: str
    environments: Mapping[str, Stored] = field(default_factory=dict)
    flags: Mapping[str, Stored] = field(default_factory=dict)
    segments: Mapping[str, Stored] = field(default_factory=dict)
    policies: Mapping[str, Stored] = field(default_factory=dict)
    webhooks: Mapping[str, Stored] = field(default_factory=dict)
    hooks: Mapping[str, Stored] = field(default_factory=dict)
    contexts: Mapping[str, Stored] = field(default_factory=dict)
    targetings: Mapping[str, Mapping[str, Stored]] = field(default_factory=dict)
    releases: Mapping[str, Mapping[str, Stored]] = field(default_factory=dict)
    indexes: Mapping[str, TargetingIndex] = field(default_factory=dict)
    read: Moment = Moment()

    def get(self, address: Address) -> Stored | None:
        """Return the document at an address that has no environment, or None."""
        return self.of(address.kind).get(address.key)

    def of(self, kind: Kind) -> Mapping[str, Stored]:
        """Return the documents of a kind that has no environment, by key."""
        documents = {
            Kind.ENVIRONMENT: self.environments,
            Kind.FLAG: self.flags,
            Kind.SEGMENT: self.segments,
            Kind.POLICY: self.policies,
            Kind.WEBHOOK: self.webhooks,
            Kind.HOOK: self.hooks,
            Kind.CONTEXT: self.contexts,
        }
        return documents[kind]

    def flag(self, key: str) -> Stored:
        """Return a flag's definition; raises ``NotFound``."""
        return self._require(Address(Kind.FLAG, key))

    def segment(self, key: str) -> Stored:
        """Return a segment; raises ``NotFound``."""
        return self._require(Address(Kind.SEGMENT, key))

    def policy(self, key: str) -> Stored:
        """Return a policy; raises ``NotFound``."""
        return self._require(Address(Kind.POLICY, key))

    def webhook(self, key: str) -> Stored:
        """Return a webhook; raises ``NotFound``."""
        return self._require(Address(Kind.WEBHOOK, key))

    def hook(self, id: str) -> Stored:
        """Return a hook; raises ``NotFound``."""
        return self._require(Address(Kind.HOOK, id))

    def context(self, key: str) -> Stored:
        """Return a saved context; raises ``NotFound``."""
        return self._require(Address(Kind.CONTEXT, key))

    def environment(self, key: str) -> Stored:
        """Return an environment; raises ``NotFound``."""
        return self._require(Address(Kind.ENVIRONMENT, key))

    def _require(self, address: Address) -> Stored:
        stored = self.get(address)
        if stored is None:
            raise NotFound(
                f"There is no {address.kind} {address.key!r} in project {self.project!r}.",
                similar(address.key, self.of(address.kind)),
            )
        return stored

    def targeting(self, environment: str, flag: str) -> Stored:
        """Return a flag's targeting in an environment; raises ``NotFound``."""
        stored = self.targetings.get(environment, {}).get(flag)
        if stored is None:
            raise NotFound(
                f"There is no flag {flag!r} in environment {environment!r} of {self.project!r}.",
                similar(flag, self.targetings.get(environment, {})),
            )
        return stored

    def index(self, environment: str) -> TargetingIndex:
        """Return what the targetings of an environment name."""
        found = self.indexes.get(environment)
        return index_targetings(self.targetings.get(environment, {})) if found is None else found

    def active_release(self, environment: str, flag: str) -> Stored | None:
        """Return the release that a flag's targeting names, or None.

        None also if the release had ended when it was read: its end rewrote the targeting, so
        a commit based on this targeting is refused as stale.

        Raises:
            StaleRevision: the targeting names a release that was not read.
        """
        targeting: Targeting = self.targeting(environment, flag).document
        if targeting.release is None:
            return None
        stored = self.releases.get(environment, {}).get(targeting.release)
        if stored is None:
            raise StaleRevision(
                f"Release {targeting.release} of flag {flag} has just started; read it again."
            )
        return stored if stored.document.state in LIVE_STATES else None

    def active_releases(self) -> Iterator[tuple[str, Stored]]:
        """Yield each active release with its environment; raises as ``active_release`` does."""
        for environment in self.targetings:
            for flag in sorted(self.index(environment).released):
                stored = self.active_release(environment, flag)
                if stored is not None:
                    yield environment, stored


def flag_address(key: str) -> Address:
    """Return the address of a flag's definition."""
    return Address(Kind.FLAG, key)


def segment_address(key: str) -> Address:
    """Return the address of a segment."""
    return Address(Kind.SEGMENT, key)


def policy_address(key: str) -> Address:
    """Return the address of a policy."""
    return Address(Kind.POLICY, key)


def webhook_address(key: str) -> Address:
    """Return the address of a webhook."""
    return Address(Kind.WEBHOOK, key)


def context_address(key: str) -> Address:
    """Return the address of a saved context."""
    return Address(Kind.CONTEXT, key)


def environment_address(key: str) -> Address:
    """Return the address of an environment."""
    return Address(Kind.ENVIRONMENT, key)


def targeting_address(environment: str, flag: str) -> Address:
    """Return the address of a flag's targeting in an environment."""
    return Address(Kind.TARGETING, flag, environment)


def release_address(environment: str, release: Release | str) -> Address:
    """Return the address of a release, given the release or its id."""
    key = release if isinstance(release, str) else release.id
    return Address(Kind.RELEASE, key, environment)


def progress_address(environment: str, release_id: str) -> Address:
    """Return the address of the policy job's progress on a release."""
    return Address(Kind.PROGRESS, release_id, environment)


def guard(address: Address, stored: Stored) -> Guard:
    """Guard a document: the commit fails if it is no longer as it was read."""
    return Guard(address, stored.revision)


def put(address: Address, stored: Stored, document: object) -> Put:
    """Replace a document that is still as it was read."""
    return Put(address, document, stored.revision, before=stored.document)


def put_or_guard(address: Address, stored: Stored, document: object) -> Put | Guard:
    """Replace a document if it changed; otherwise guard it."""
    if document == stored.document:
        return guard(address, stored)
    return put(address, stored, document)


def kind_guards(documents: ProjectDocuments, *kinds: Kind) -> list[KindGuard]:
    """Guard all documents of these kinds; those of targetings in every environment.

    For a change that depends on what no document names: none may start to name it meanwhile.
    """
    return [
        KindGuard(kind, environment, documents.read)
        for kind in kinds
        for environment in (documents.targetings if kind is Kind.TARGETING else ("",))
    ]


def guards(
    address_of: Callable[[str], Address],
    documents: Mapping[str, Stored],
    keys: Iterable[str] | None = None,
) -> list[Guard]:
    """Guard several documents of one kind.

    Args:
        address_of: returns the address of a key.
        documents: documents by key.
        keys: which of them; None: all.
    """
    chosen = documents if keys is None else set(keys)
    return [guard(address_of(key), documents[key]) for key in sorted(chosen)]
