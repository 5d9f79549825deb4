"""What a flag was at a time: the part of that time's snapshot that an evaluation of it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tidegate.evaluation.conditions import segments_in
from tidegate.model import Flag, Segment, Snapshot

from tidegate_server.domain.change import Address
from tidegate_server.domain.project_documents import (
    flag_address,
    release_address,
    segment_address,
    targeting_address,
)
from tidegate_server.domain.snapshot import snapshot_flag, snapshot_segment
from tidegate_server.errors import Invalid
from tidegate_server.store import Store
from tidegate_server.store.commit import VERSIONS_KEPT
from tidegate_server.store.history import Version

MAX_DOCUMENTS = 500
"""How many documents one evaluation reads: the flag, its prerequisites and their segments."""

MAX_LATER = 100
"""How many later versions are listed."""


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """A version of a document, with the document's address."""

    address: Address
    version: Version


@dataclass(frozen=True, slots=True)
class PastSnapshot:
    """A part of a snapshot, and the versions that it was made of."""

    snapshot: Snapshot
    used: tuple[DocumentVersion, ...]


def snapshot_at(
    store: Store, project: str, environment: str, flag: str, at_ms: int
) -> PastSnapshot:
    """Return a flag with everything that it depended on at a time.

    A flag that did not exist then is not in the snapshot.

    Raises:
        NotKept: a version of that time is not kept.
        Invalid: the flag depends on too much.
    """
    reader = _Reader(store, project, environment, at_ms)
    reader.add_flag(flag)
    return PastSnapshot(
        Snapshot(project, environment, 0, reader.flags, reader.segments), tuple(reader.used)
    )


def later_versions(
    store: Store, project: str, addresses: Iterable[Address], at_ms: int
) -> list[DocumentVersion]:
    """Return the versions of documents since a time that are kept, the latest first."""
    found = [
        DocumentVersion(address, version)
        for address in addresses
        for version in store.history.versions(project, address, None, VERSIONS_KEPT)[0]
        if version.at_ms > at_ms
    ]
    found.sort(key=lambda each: each.version.at_ms, reverse=True)
    return found


@dataclass(slots=True)
class _Reader:
    """Reads what a flag depends on, each document once."""

    store: Store
    project: str
    environment: str
    at_ms: int
    flags: dict[str, Flag] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    used: list[DocumentVersion] = field(default_factory=list)
    _seen: set[Address] = field(default_factory=set)

    def add_flag(self, key: str) -> None:
        waiting = [key]
        while waiting:
            flag = self._flag(waiting.pop())
            # Of a flag that is killed or disabled, nothing else is evaluated.
            if flag is None or flag.killed is not None or not flag.enabled:
                continue
            waiting += [each.flag for each in flag.prerequisites]
            for segment in _segments_of(flag):
                self._add_segment(segment)

    def _flag(self, key: str) -> Flag | None:
        if flag_address(key) in self._seen:
            return None
        definition = self._read(flag_address(key))
        targeting = self._read(targeting_address(self.environment, key))
        if definition is None or targeting is None:
            return None
        if definition.document.archived is not None:
            return None
        document = targeting.document
        release = None
        if document.release is not None:
            release = self._read(release_address(self.environment, document.release))
        self.flags[key] = snapshot_flag(
            definition.document,
            document,
            None if release is None else release.document,
            # A flag that was created again has another revision, but begins at version 2.
            2
            if definition.created and targeting.created
            else definition.revision + targeting.revision,
        )
        return self.flags[key]

    def _add_segment(self, key: str) -> None:
        waiting = [key]
        while waiting:
            address = segment_address(waiting.pop())
            if address in self._seen:
                continue
            version = self._read(address)
            if version is not None:
                segment = self.segments[address.key] = snapshot_segment(version.document)
                waiting += segments_in(segment.when)

    def _read(self, address: Address) -> Version | None:
        self._seen.add(address)
        if len(self._seen) > MAX_DOCUMENTS:
            raise Invalid(
                f"The flag depends on more than {MAX_DOCUMENTS} flags, segments and releases; "
                "evaluate its prerequisites one by one."
            )
        version = self.store.history.version_at(self.project, address, self.at_ms)
        if version is not None:
            self.used.append(DocumentVersion(address, version))
        return version


def _segments_of(flag: Flag) -> Iterator[str]:
    for rule in flag.rules:
        yield from segments_in(rule.when)
    if flag.release is not None:
        for opening in flag.release.openings:
            yield from opening.segments
