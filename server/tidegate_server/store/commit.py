"""Translates a change to the arguments of the commit script, and the reply to its outcome."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate_server.domain.audit_chain import content_digest
from tidegate_server.domain.change import (
    Address,
    Audit,
    Change,
    Delete,
    EndedRelease,
    EvidenceGeneration,
    Guard,
    KeySetSwitch,
    KindGuard,
    LedgerEntry,
    Put,
    Refresh,
    SeriesReading,
    WebhookMessage,
)
from tidegate_server.domain.deletions import WHOLE_PROJECT
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import LeaseLost, NotKept, StaleRevision
from tidegate_server.store import documents, keys
from tidegate_server.store.report_acceptance import recent_steps

CHANGES_KEPT = 1_000
"""How many changes an environment's stream keeps; a client that missed more needs a snapshot."""

RECEIPT_SECONDS = 30 * 24 * 60 * 60
"""How long the receipt of a version is kept: when it was committed, and how fast it arrived."""

LARGEST_UPDATE = 1_000_000
"""The longest update of a snapshot, in bytes. The stream of changes keeps a thousand, and every
subscription queues them; a longer one only says that there is another snapshot to read."""

LEDGER_KEPT = 20_000
"""How many decisions a release's ledger keeps."""

ACTIVITY_KEPT = 5_000
"""How many notices of a project's activity are kept; who missed more reads everything again."""

AUDIT_KEPT = 1_000_000
"""How many entries an audit log keeps."""

INCARNATION_BYTES = 8

ID_BYTES = 4
"""Length of the random end of a message's id, which makes it unique across stores."""


VERSIONED = frozenset(
    {
        *(Kind.ENVIRONMENT, Kind.FLAG, Kind.TARGETING, Kind.SEGMENT, Kind.POLICY, Kind.CONTEXT),
        *(Kind.WEBHOOK, Kind.HOOK, Kind.RELEASE, Kind.PERSON, Kind.GROUP, Kind.ROLE),
        Kind.IDENTITY_PROVIDER,
    }
)
"""The kinds of documents whose versions are kept."""

VERSIONS_KEPT = 100
"""How many versions of a document are kept; fewer of a large one, so that they fit into
``VERSION_BYTES``, but never fewer than ``FEWEST_VERSIONS``."""

VERSION_BYTES = 4_000_000
FEWEST_VERSIONS = 5
FORGOTTEN_SECONDS = 90 * 24 * 60 * 60
"""How long the versions of a deleted document are kept, and those of a release since it changed."""


KEY_SETS_KEPT = 3
"""How many earlier key sets of a segment's list are kept, so that they can be restored."""

KEY_SET_SECONDS = 7 * 24 * 60 * 60
"""How long an earlier key set is kept."""


def new_incarnation() -> str:
    """Return a new incarnation of a store (``keys.incarnation``)."""
    return secrets.token_hex(INCARNATION_BYTES)


def versions_kept(size: int) -> int:
    """Return how many versions of a document of this size, in bytes, are kept."""
    return max(FEWEST_VERSIONS, min(VERSIONS_KEPT, VERSION_BYTES // max(size, 1)))


@dataclass(frozen=True, slots=True)
class Committed:
    """The result of a commit.

    Attributes:
        revisions: the new revision of each written document; 0 if it was deleted.
        versions: the new version of each environment whose snapshot changed.
        at_ms: the store's time of the commit.
    """

    revisions: Mapping[Address, int]
    versions: Mapping[str, int]
    at_ms: int


class CommitRequest:
    """A change as the arguments of the commit script.

    Raises:
        StaleRevision: the change expects one document at two revisions.
    """

    def __init__(self, change: Change) -> None:
        self._change = change
        self._numbers: dict[str, int] = {}
        # A document may be both guarded and written; its revision is checked once.
        self.guarded: dict[Address, int] = {}
        for write in change.writes:
            if self.guarded.setdefault(write.address, write.expected) != write.expected:
                raise StaleRevision(
                    _stale_message(
                        write.address, *sorted((self.guarded[write.address], write.expected))
                    )
                )
        self.written = [write for write in change.writes if not isinstance(write, Guard)]
        self.argument = msgspec.msgpack.encode(self._packed())

    @property
    def keys(self) -> list[str]:
        """The keys that the script uses, in the order of their numbers."""
        return list(self._numbers)

    def outcome(self, reply: list[Any]) -> Committed:
        """Return the result that the script replied with.

        Raises:
            StaleRevision: a document is not at the revision that the change expects.
            LeaseLost: the writer no longer holds its lease.
            NotKept: a key set of a segment is no longer kept.
        """
        if reply[0] == b"done":
            return Committed(
                revisions=dict(
                    zip((write.address for write in self.written), reply[2], strict=True)
                ),
                versions={
                    refresh.environment: version
                    for refresh, version in zip(self._change.refreshes, reply[3], strict=True)
                },
                at_ms=reply[1],
            )
        if reply[0] == b"keys gone":
            switch = self._change.key_sets[reply[1] - 1]
            raise NotKept(
                f"The {switch.list} keys that segment {switch.segment!r} had are no longer kept. "
                "Upload them again."
            )
        if reply[0] == b"deposed":
            raise LeaseLost("This policy job no longer holds the lease; nothing was written.")
        if reply[0] == b"deleted":
            raise StaleRevision("This was deleted meanwhile, with all that belongs to it.")
        if reply[0] == b"written":
            raise StaleRevision(_written_message(self._change.kind_guards[reply[1] - 1]))
        address = list(self.guarded)[reply[1] - 1]
        raise StaleRevision(_stale_message(address, self.guarded[address], reply[2]))

    def _key(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def _packed(self) -> dict[str, Any]:
        change = self._change
        scope = change.scope
        guards = [
            (self._key(keys.documents_at(scope, address)), address.key, expected)
            for address, expected in self.guarded.items()
        ]
        packed: dict[str, Any] = {
            "deleted": self._key(keys.deleted_revisions(scope)),
            "deleted_floor": self._key(keys.deleted_floor(scope)),
            "deletions": (self._key(keys.documents(scope, Kind.DELETION)), self._places()),
            "guards": guards,
            "chain": self._key(keys.audit_chain(scope)),
            "kind_guards": [self._kind_guard(each) for each in change.kind_guards],
            "writes": [self._packed_write(write) for write in self.written],
            "author": self._author(),
            "activity": self._activity(),
            "refreshes": [self._refresh(refresh) for refresh in change.refreshes],
            "ledger": [self._ledger(entry) for entry in change.ledger],
            "series": [self._series(each) for each in change.series],
            "generations": [self._generation(each) for each in change.generations],
            "outgoing": [self._outgoing(message) for message in change.outgoing],
            "key_sets": [self._key_set(switch) for switch in change.key_sets],
            "forgotten": [
                self._key(name)
                for webhook in change.forgotten
                for name in keys.webhook_keys(scope, webhook)
            ]
            + [self._key(name) for each in change.ended for name in self._evidence_keys(each)],
        }
        if change.fence is not None:
            lease = self._key(keys.lease(scope))
            packed["fence"] = (lease, change.fence.holder, change.fence.number)
        if change.audit is not None:
            packed["audit"] = (
                self._key(keys.audit(scope)),
                self._key(keys.audit_chain(scope)),
                AUDIT_KEPT,
                [_audit_entry(each) for each in (change.audit, *change.more_audit)],
            )
        return packed

    def _kind_guard(self, guard: KindGuard) -> tuple[str, str, str, int, str]:
        since = guard.since
        return guard.kind, guard.environment, since.notice, since.audited, since.hash

    def _places(self) -> list[str]:
        """Return the keys of the deletions that would make this change impossible.

        What deletes, and what deletes the deletion itself, is always possible.
        """
        written = [write for write in self.written if isinstance(write, Put)]
        places = {write.address.environment for write in written}
        places |= {write.address.key for write in written if write.address.kind is Kind.ENVIRONMENT}
        if not self._change.scope or all(w.address.kind is Kind.DELETION for w in written):
            return []
        ended = {w.address.key for w in self.written if w.address.kind is Kind.DELETION}
        return sorted({WHOLE_PROJECT, *filter(None, places)} - ended)

    def _author(self) -> tuple[str, str, str]:
        audit = self._change.audit
        return ("", "", "") if audit is None else (audit.actor, audit.action, audit.reason)

    def _activity(self) -> tuple[int, str, str, int]:
        actor, action, _ = self._author()
        return self._key(keys.activity(self._change.scope)), action, actor, ACTIVITY_KEPT

    def _packed_write(
        self, write: Put | Delete
    ) -> tuple[int, str, str | bool, int | bool, int, int, str]:
        scope, address = self._change.scope, write.address
        # The script decodes MessagePack strings only, not its binary type.
        json = documents.encode(write.document).decode() if isinstance(write, Put) else False
        versions = address.kind in VERSIONED and self._key(keys.versions(scope, address))
        forget = isinstance(write, Delete) or address.kind is Kind.RELEASE
        return (
            self._key(keys.documents_at(scope, address)),
            address.key,
            json,
            versions,
            versions_kept(len(json) if isinstance(json, str) else 0),
            FORGOTTEN_SECONDS if forget else 0,
            # The script adds the revision.
            documents.encode((address.kind, address.environment, address.key)).decode()[:-1] + ",",
        )

    def _refresh(self, refresh: Refresh) -> dict[str, Any]:
        project, environment = self._change.scope, refresh.environment
        flags = {key: documents.encode(flag) for key, flag in refresh.flags.items()}
        segments = {key: documents.encode(part) for key, part in refresh.segments.items()}
        fields = {f"flag:{key}": json for key, json in flags.items()}
        fields |= {f"segment:{key}": json for key, json in segments.items()}
        body = b'"flags":' + json_object(flags) + b',"segments":' + json_object(segments) + b"}"
        return {
            "version": self._key(keys.version(project, environment)),
            "incarnation": self._key(keys.incarnation(project)),
            "new_incarnation": new_incarnation(),
            "snapshot": self._key(keys.snapshot(project, environment)),
            "changes": self._key(keys.changes(project, environment)),
            "kills": self._key(keys.kills(project, environment)),
            "receipts": self._key(keys.receipts(project, environment)),
            "body": body.decode() if len(body) <= LARGEST_UPDATE else False,
            "put": {field: json.decode() for field, json in fields.items() if json != b"null"},
            "remove": [field for field, json in fields.items() if json == b"null"],
            "killed": refresh.killed,
            "restored": refresh.restored,
            "kept": CHANGES_KEPT,
            "receipts_kept": RECEIPT_SECONDS,
        }

    def _key_set(self, switch: KeySetSwitch) -> dict[str, Any]:
        project = self._change.scope

        def key(digest: str | None) -> int | bool:
            return digest is not None and self._key(keys.key_set(project, digest))

        draft = bool(switch.draft) and self._key(keys.key_set_draft(project, switch.draft))
        return {
            "set": key(switch.digest),
            "before": key(switch.before),
            "draft": draft,
            "chunks": switch.chunks,
            "retired": self._key(keys.retired_key_sets(project, switch.segment, switch.list)),
            "kept": KEY_SETS_KEPT,
            "seconds": KEY_SET_SECONDS,
        }

    def _ledger(self, entry: LedgerEntry) -> tuple[int, str, int]:
        key = keys.ledger(self._change.scope, entry.environment, entry.release)
        return self._key(key), documents.encode(entry.entry).decode(), LEDGER_KEPT

    def _series(self, each: SeriesReading) -> tuple[int, tuple[str, ...], str]:
        key = keys.series(self._change.scope, each.environment, each.release)
        return self._key(key), each.slots, documents.encode(each.reading).decode()

    def _outgoing(self, message: WebhookMessage) -> tuple[int, int, int, str, str]:
        scope, webhook = self._change.scope, message.webhook
        # The script inserts the time before the rest of the record.
        rest = documents.encode({"notice": message.event}).decode()[1:]
        return (
            self._key(keys.queue(scope, webhook)),
            self._key(keys.deliveries(scope, webhook)),
            self._key(keys.message_counter(scope)),
            secrets.token_hex(ID_BYTES),
            rest,
        )

    def _evidence_keys(self, ended: EndedRelease) -> tuple[str, ...]:
        # The values of still earlier steps are deleted by the policy job, or they expire.
        steps = recent_steps(ended.step)
        return keys.release_evidence(self._change.scope, ended.environment, ended.release, steps)

    def _generation(self, new: EvidenceGeneration) -> tuple[int, int, int, int]:
        release = (self._change.scope, new.environment, new.release, new.source)
        return (
            self._key(keys.evidence(*release)),
            self._key(keys.failing(*release)),
            self._key(keys.failing_filter(*release)),
            new.generation,
        )


def _audit_entry(audit: Audit) -> tuple[str, str]:
    json = documents.encode(audit)
    return json.decode(), content_digest(msgspec.json.decode(json))


def json_object(parts: Mapping[str, bytes]) -> bytes:
    """Join encoded JSON values into one JSON object."""
    encode = msgspec.json.encode
    return b"{" + b",".join(encode(key) + b":" + json for key, json in parts.items()) + b"}"


def _written_message(guard: KindGuard) -> str:
    where = f" of {guard.environment}" if guard.environment else ""
    return f"Something changed among the {guard.kind.words}s{where}; read again."


def _stale_message(address: Address, expected: int, present: int) -> str:
    where = f" in {address.environment}" if address.environment else ""
    name = f"The {address.kind.words} {address.key!r}{where}"
    if expected == 0:
        return f"{name} already exists, at revision {present}; read it again."
    if present == 0:
        return f"{name} was deleted; it was at revision {expected} when you read it."
    return f"{name} is now at revision {present}, not {expected}; read it again."
