"""Killing and restoring a flag, and the receipt of a kill."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Protocol

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import one_flag
from tidegate_server.domain import kill_switch as kills
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.store import Store
from tidegate_server.web.etags import check_if_match


class Edit(Protocol):
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
    ) -> Change:
        """Return the change of one flag."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far a kill has reached: of ``live`` instances, ``applied`` serve it already.

    The times are of those live ones that were there before the kill; None: of nobody yet.
    ``p95_ms`` is the time that 95 % of them took at most.
    """

    live: int
    applied: int
    waiting: tuple[str, ...]
    median_ms: float | None
    p95_ms: float | None
    slowest_ms: float | None


@dataclass(frozen=True, slots=True)
class TargetingView:
    """A targeting as stored, with the receipt of the kill in force."""

    stored: Stored
    receipt: Receipt | None


def kill(
    store: Store, project: str, environment: str, flag: str, *, actor: str, reason: str
) -> TargetingView:
    """Kill a flag, whatever else changes at the same time; raises ``NotFound``."""
    return _edit(kills.kill, store, project, environment, flag, actor=actor, reason=reason)


def restore(
    store: Store, project: str, environment: str, flag: str, *, actor: str, reason: str
) -> TargetingView:
    """End a kill; raises ``NotFound`` and ``NotPossible``."""
    return _edit(kills.restore, store, project, environment, flag, actor=actor, reason=reason)


def _edit(
    edit: Edit,
    store: Store,
    project: str,
    environment: str,
    flag: str,
    *,
    actor: str,
    reason: str,
) -> TargetingView:
    def make() -> Change:
        documents = one_flag(store, project, environment, flag)
        revision = documents.targeting(environment, flag).revision
        check_if_match(revision, f"flag {flag} in {environment}")
        return edit(
            documents,
            environment,
            flag,
            actor=actor,
            reason=reason,
            now_ms=store.now_ms(),
        )

    commit_with_retry(store, make)
    return targeting_view(store, project, environment, flag)


def targeting_view(store: Store, project: str, environment: str, flag: str) -> TargetingView:
    """A flag in an environment; raises ``NotFound``."""
    documents = one_flag(store, project, environment, flag)
    return with_receipt(store, project, environment, documents.targeting(environment, flag))


def with_receipt(store: Store, project: str, environment: str, stored: Stored) -> TargetingView:
    """A targeting with the present receipt of its kill, if there is one in force."""
    targeting = stored.document
    if targeting.kill is None:
        return TargetingView(stored, None)
    found = store.kill_receipt(project, environment, targeting.flag)
    if found is None:
        return TargetingView(stored, None)
    elapsed = sorted(found.elapsed_ms)
    receipt = Receipt(
        live=found.live,
        applied=found.applied,
        waiting=tuple(sorted(found.waiting)),
        median_ms=statistics.median(elapsed) if elapsed else None,
        p95_ms=elapsed[math.ceil(0.95 * len(elapsed)) - 1] if elapsed else None,
        slowest_ms=elapsed[-1] if elapsed else None,
    )
    return TargetingView(stored, receipt)
