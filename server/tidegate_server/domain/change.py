"""A change: everything that one atomic commit writes, and the revisions it depends on.

Pure functions in this package return changes. ``tidegate_server.store`` applies each one
completely or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate import model

from tidegate_server.domain.evidence import Source
from tidegate_server.domain.kinds import Kind


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a document within its scope (a project, or the server itself)."""

    kind: Kind
    key: str
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Put:
    """Write a document; its present revision must be ``expected`` (0: it must not exist).

    ``before`` is the document at that revision, as it was read, for the audit log.
    """

    address: Address
    document: Any
    expected: int
    before: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a document; its present revision must be ``expected``. ``before`` as in ``Put``."""

    address: Address
    expected: int
    before: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Guard:
    """Write nothing; the document's present revision must be ``expected``."""

    address: Address
    expected: int


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of a scope: its latest notice, and the number and hash of its audit log's end.

    An empty notice: nothing was written yet.
    """

    notice: str = ""
    audited: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True)
class KindGuard:
    """Write nothing; no document of a kind may have been written since a moment.

    This guards also against documents that did not exist at that moment. It costs the same with
    any number of documents.
    """

    kind: Kind
    environment: str
    since: Moment


@dataclass(frozen=True, slots=True)
class Refresh:
    """An update of an environment's snapshot; None removes the flag or segment.

    Each one raises the environment's version by one and is one update on the streams.
    ``killed`` and ``restored`` name the flags whose kill receipts begin or end.
    """

    environment: str
    flags: Mapping[str, model.Flag | None] = field(default_factory=dict)
    segments: Mapping[str, model.Segment | None] = field(default_factory=dict)
    killed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangedDocument:
    """How a change changed one document, in JSON.

    Attributes:
        kind, key, environment: the document's address.
        revision_before: its revision before the change; 0: it did not exist.
        changes: for each changed field its ``pointer``, its name in words (``field``), and its
            values ``before`` and ``after``; one that did not exist is missing. ``shortened`` names
            those of which only the beginning of their JSON is kept, as a string.
        changes_left_out: how many more fields changed.
    """

    kind: Kind
    key: str
    environment: str
    revision_before: int
    changes: tuple[Mapping[str, Any], ...]
    changes_left_out: int = 0


@dataclass(frozen=True, slots=True)
class Audit:
    """One entry of the audit log: who did what, and why.

    ``action`` is ``noun.verb`` (``flag.kill``), ``target`` the document's key, ``details``
    more JSON scalars, ``documents`` what changed, ``address`` where the request came from.
    """

    actor: str
    action: str
    target: str
    environment: str = ""
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    documents: tuple[ChangedDocument, ...] = ()
    address: str = ""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A decision to append to the ledger of a release; ``entry`` is a dataclass."""

    environment: str
    release: str
    entry: Any


@dataclass(frozen=True, slots=True)
class SeriesReading:
    """A reading to keep in the series of a release, in each of these slots.

    It replaces what was in them. ``reading`` is a dataclass.
    """

    environment: str
    release: str
    slots: tuple[str, ...]
    reading: Any


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A message for a webhook, queued with the change; ``event`` is a ``ReleaseEvent``."""

    webhook: str
    event: Any


@dataclass(frozen=True, slots=True)
class EvidenceGeneration:
    """Count the release's failing users of one source from zero (for a new epoch or attempt)."""

    environment: str
    release: str
    generation: int
    source: Source = Source.SERVER


@dataclass(frozen=True, slots=True)
class EndedRelease:
    """Delete the evidence of a release that ends at this step.

    Its totals remain in its progress, and what each decision rested on in its ledger.
    """

    environment: str
    release: str
    step: int


@dataclass(frozen=True, slots=True)
class KeySetSwitch:
    """A list of a segment gets another key set; all of it, at the moment of the commit.

    Attributes:
        segment, list: whose key set: the list is ``included`` or ``excluded``.
        digest: the new key set; None: the list has none any more.
        before: the digest of the one before; None: it had none.
        draft: the id under which the new one was written; empty: it is kept from before.
        chunks: how many chunks the draft has.
    """

    segment: str
    list: str
    digest: str | None
    before: str | None
    draft: str = ""
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Fence:
    """The writer must still hold the policy job's lease with this number."""

    holder: str
    number: int


@dataclass(frozen=True, slots=True)
class Change:
    """One atomic commit.

    ``scope`` is a project's key, or ``""`` for the server itself. ``forgotten`` names webhooks
    whose messages are deleted, both queued and sent. ``more_audit`` continues ``audit`` where a
    change writes more documents than one entry should hold.
    """

    scope: str
    writes: tuple[Put | Delete | Guard, ...]
    refreshes: tuple[Refresh, ...] = ()
    kind_guards: tuple[KindGuard, ...] = ()
    audit: Audit | None = None
    more_audit: tuple[Audit, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    series: tuple[SeriesReading, ...] = ()
    generations: tuple[EvidenceGeneration, ...] = ()
    outgoing: tuple[WebhookMessage, ...] = ()
    forgotten: tuple[str, ...] = ()
    ended: tuple[EndedRelease, ...] = ()
    key_sets: tuple[KeySetSwitch, ...] = ()
    fence: Fence | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as read, with its revision and when it was last written (the store's time)."""

    document: Any
    revision: int
    updated_ms: int
