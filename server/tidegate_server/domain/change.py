"""A change: everything that one atomic commit writes, and what it may rest on.

Pure functions in this package make changes; ``tidegate_server.store`` carries them out
whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tidegate import model


class Kind(StrEnum):
    """What a document is. Targeting, releases and progress belong to an environment."""

    PROJECT = "project"
    ENVIRONMENT = "environment"
    FLAG = "flag"
    SEGMENT = "segment"
    POLICY = "policy"
    WEBHOOK = "webhook"
    HOOK = "hook"
    TARGETING = "targeting"
    RELEASE = "release"
    PROGRESS = "progress"
    TOKEN = "token"  # noqa: S105 - the word, not a secret


@dataclass(frozen=True, slots=True)
class Address:
    """Where a document is within its scope (a project, or the server itself)."""

    kind: Kind
    key: str
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Put:
    """Write a document whose present revision is ``expected`` (0: it must not exist)."""

    address: Address
    document: Any
    expected: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a document whose present revision is ``expected``."""

    address: Address
    expected: int


@dataclass(frozen=True, slots=True)
class Guard:
    """Write nothing, but insist that the document still has the ``expected`` revision."""

    address: Address
    expected: int


@dataclass(frozen=True, slots=True)
class Refresh:
    """What an environment's snapshot gains (None: loses) with this change.

    Every refresh raises its environment's version by one and is one stream event.
    ``killed`` and ``restored`` name flags whose kill receipts begin or end here.
    """

    environment: str
    flags: Mapping[str, model.Flag | None] = field(default_factory=dict)
    segments: Mapping[str, model.Segment | None] = field(default_factory=dict)
    killed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Audit:
    """Who did what to what, and why; ``details`` are JSON scalars worth reading later.

    ``action`` is ``noun.verb`` (``flag.kill``), ``target`` the thing's key.
    """

    actor: str
    action: str
    target: str
    environment: str = ""
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One decision of a release, appended to its ledger; ``entry`` is a dataclass."""

    environment: str
    release: str
    entry: Any


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A message for a webhook, queued with the change; ``event`` is a ``ReleaseEvent``."""

    webhook: str
    event: Any


@dataclass(frozen=True, slots=True)
class EvidenceGeneration:
    """From now on the release's failing users are collected anew (a new epoch or attempt)."""

    environment: str
    release: str
    generation: int


@dataclass(frozen=True, slots=True)
class Fence:
    """The writer must still hold the policy job's lease under this number."""

    holder: str
    number: int


@dataclass(frozen=True, slots=True)
class Change:
    """One atomic commit.

    ``scope`` is a project's key, or ``""`` for the server itself. ``forgotten`` names
    webhooks whose messages, waiting and sent, are dropped.
    """

    scope: str
    writes: tuple[Put | Delete | Guard, ...]
    refreshes: tuple[Refresh, ...] = ()
    audit: Audit | None = None
    ledger: tuple[LedgerEntry, ...] = ()
    generations: tuple[EvidenceGeneration, ...] = ()
    outgoing: tuple[WebhookMessage, ...] = ()
    forgotten: tuple[str, ...] = ()
    fence: Fence | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as read: its revision, and when it was last written (ms, store clock)."""

    document: Any
    revision: int
    updated_ms: int
