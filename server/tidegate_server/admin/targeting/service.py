"""Change what a flag serves in an environment, kill it and restore it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_history import with_restored_revision
from tidegate_server.admin.document_reader import read_flag_documents, read_project_documents
from tidegate_server.admin.evaluation_counts.service import targeting_activity
from tidegate_server.admin.ladders import read_ladders
from tidegate_server.domain import flag_edits
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.ladder import Rung
from tidegate_server.domain.project_documents import ProjectDocuments, targeting_address
from tidegate_server.domain.stale import Stale
from tidegate_server.store import Store
from tidegate_server.store.evaluations import Evaluated
from tidegate_server.web.etags import IfMatch


class KillSwitch(Protocol):
    """``kill_switch.kill`` or ``kill_switch.restore``."""

    def __call__(
        self,
        documents: ProjectDocuments,
        environment: str,
        flag: str,
        *,
        actor: str,
        reason: str,
        now_ms: int,
        url: str = "",
    ) -> Change:
        """Return the change of one flag."""


class TagSwitch(Protocol):
    """``kill_switch.kill_tagged`` or ``kill_switch.restore_tagged``."""

    def __call__(
        self,
        documents: ProjectDocuments,
        environment: str,
        tag: str,
        *,
        actor: str,
        reason: str,
        now_ms: int,
        url: str = "",
    ) -> Change:
        """Return the change of all flags with a tag."""


@dataclass(frozen=True, slots=True)
class SwitchedFlags:
    """Flags that were killed or restored together, since a version of their environment."""

    tag: str
    flags: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many of the live SDK instances have applied a kill, and how long each took.

    The times are of live instances that already ran when the flag was killed; None if no
    such instance has applied it yet. 95 % of them took at most ``p95_ms``.
    """

    live: int
    applied: int
    waiting: tuple[str, ...]
    median_ms: float | None
    p95_ms: float | None
    slowest_ms: float | None


@dataclass(frozen=True, slots=True)
class TargetingWithReceipt(Stored):
    """A targeting as stored, with the receipt of its kill and what decides what it serves.

    ``evaluated`` says how the flag was evaluated here, ``stale`` why it is stale here.
    """

    receipt: Receipt | None
    ladder: tuple[Rung, ...]
    evaluated: Evaluated
    stale: Stale | None


def read_targeting(store: Store, project: str, environment: str, flag: str) -> TargetingWithReceipt:
    """Return what a flag serves in an environment; raises ``NotFound``."""
    documents = read_flag_documents(store, project, environment, flag)
    return with_receipt(store, project, environment, documents.targeting(environment, flag))


def replace_targeting(
    store: Store,
    project: str,
    environment: str,
    targeting: Targeting,
    actor: str,
    reason: str,
    if_match: IfMatch,
    restored_revision: int | None = None,
) -> TargetingWithReceipt:
    """Change what a flag serves in an environment. Its kill and its release stay.

    ``restored_revision`` is the revision that ``targeting`` comes from, for the audit log.

    Raises:
        NotFound: there is no such environment or flag.
        RevisionRequired, StaleRevision: ``if_match`` does not accept the revision.
        Invalid: the targeting is not valid, or changes the rule of an active release.
    """
    flag = targeting.flag

    def make_change() -> Change:
        documents = read_project_documents(store, project)
        documents.environment(environment)
        before = documents.targeting(environment, flag)
        if_match.require(before.revision, f"flag {flag} in {environment}")
        change = flag_edits.edit_targeting(
            documents,
            environment,
            targeting,
            actor=actor,
            now_ms=store.now_ms(),
            reason=reason,
        )
        if restored_revision is None:
            return change
        return with_restored_revision(change, restored_revision)

    stored = commit_with_retry(store, make_change).stored(targeting_address(environment, flag))
    return with_receipt(store, project, environment, stored)


def switch_flag(
    switch: KillSwitch,
    store: Store,
    project: str,
    environment: str,
    flag: str,
    *,
    actor: str,
    reason: str,
    if_match: IfMatch,
    url: str = "",
) -> TargetingWithReceipt:
    """Kill or restore a flag, whatever else changes at the same time.

    Raises:
        NotFound: there is no such environment or flag.
        StaleRevision: ``if_match`` names another revision.
        NotPossible: the flag to restore is not killed.
    """

    def make_change() -> Change:
        documents = read_flag_documents(store, project, environment, flag)
        revision = documents.targeting(environment, flag).revision
        if_match.check(revision, f"flag {flag} in {environment}")
        return switch(
            documents,
            environment,
            flag,
            actor=actor,
            reason=reason,
            now_ms=store.now_ms(),
            url=url,
        )

    commit_with_retry(store, make_change)
    return read_targeting(store, project, environment, flag)


def switch_tagged(
    switch: TagSwitch,
    store: Store,
    project: str,
    environment: str,
    tag: str,
    *,
    actor: str,
    reason: str,
    url: str,
) -> SwitchedFlags:
    """Kill or restore all flags with a tag in one commit.

    Raises:
        NotFound: there is no such environment, or no flag has the tag.
        NotPossible: nothing is killed with the tag.
    """

    def make_change() -> Change:
        documents = read_project_documents(store, project)
        documents.environment(environment)
        return switch(
            documents,
            environment,
            tag,
            actor=actor,
            reason=reason,
            now_ms=store.now_ms(),
            url=url,
        )

    committed = commit_with_retry(store, make_change)
    flags = tuple(
        sorted(
            write.address.key
            for write in committed.change.writes
            if write.address.kind is Kind.TARGETING
        )
    )
    version = committed.versions.get(environment) or store.version(project, environment)
    return SwitchedFlags(tag, flags, version)


def with_receipt(
    store: Store, project: str, environment: str, stored: Stored
) -> TargetingWithReceipt:
    """Return a targeting with the current receipt of its kill, and its ladder."""
    [only] = with_receipts(store, project, environment, [stored])
    return only


def with_receipts(
    store: Store, project: str, environment: str, targetings: Sequence[Stored]
) -> list[TargetingWithReceipt]:
    """Return targetings as ``with_receipt`` does."""
    ladders = read_ladders(store, project, environment, targetings)
    activity = targeting_activity(store, project, environment, targetings)
    return [
        TargetingWithReceipt(
            each.document,
            each.revision,
            each.updated_ms,
            kill_receipt(store, project, environment, each.document.flag)
            if each.document.kill is not None
            else None,
            rungs,
            evaluated,
            verdict,
        )
        for each, rungs, (evaluated, verdict) in zip(targetings, ladders, activity, strict=True)
    ]


def kill_receipt(store: Store, project: str, environment: str, flag: str) -> Receipt | None:
    """Return how far the kill of a flag has reached; None if it is not killed."""
    times = store.instances.kill_receipt(project, environment, flag)
    if times is None:
        return None
    elapsed_ms = sorted(times.elapsed_ms)
    return Receipt(
        live=times.live,
        applied=times.applied,
        waiting=tuple(sorted(times.waiting)),
        median_ms=statistics.median(elapsed_ms) if elapsed_ms else None,
        p95_ms=elapsed_ms[math.ceil(0.95 * len(elapsed_ms)) - 1] if elapsed_ms else None,
        slowest_ms=elapsed_ms[-1] if elapsed_ms else None,
    )
