"""The updates of snapshots that an import makes: one for each environment, with all of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tidegate import model

from tidegate_server.domain.change import Address, Delete, Put, Refresh, Stored
from tidegate_server.domain.field_differences import same
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    flag_address,
    release_address,
    targeting_address,
)
from tidegate_server.domain.snapshot import snapshot_entry, snapshot_segment

Written = Mapping[Address, Put | Delete]


def import_refreshes(present: ProjectDocuments, written: Written) -> Iterator[Refresh]:
    """Yield one update for each environment whose snapshot changes.

    Args:
        present: the project before the import.
        written: what the import writes and deletes.
    """
    changed: dict[str, set[str]] = defaultdict(set)
    created = [each.key for each in written if each.kind is Kind.ENVIRONMENT]
    environments = list(dict.fromkeys((*present.environments, *created)))
    for address in written:
        if address.kind is Kind.FLAG:
            for environment in environments:
                changed[environment].add(address.key)
        elif address.kind is Kind.TARGETING:
            changed[address.environment].add(address.key)
    for environment in environments:
        is_new = environment not in present.environments
        segments = dict(_changed_segments(present, written, everything=is_new))
        refresh = _refresh(present, written, environment, changed[environment], segments)
        if refresh.flags or refresh.segments or is_new:
            yield refresh


def _changed_segments(
    present: ProjectDocuments, written: Written, *, everything: bool
) -> Iterator[tuple[str, model.Segment | None]]:
    for key, stored in present.segments.items() if everything else ():
        yield key, snapshot_segment(stored.document)
    for address, write in written.items():
        if address.kind is not Kind.SEGMENT:
            continue
        if isinstance(write, Delete):
            yield address.key, None
            continue
        compiled = snapshot_segment(write.document)
        # A change of its name alone does not reach the snapshots.
        if write.before is None or not same(snapshot_segment(write.before), compiled):
            yield address.key, compiled


def _refresh(
    present: ProjectDocuments,
    written: Written,
    environment: str,
    flags: set[str],
    segments: Mapping[str, model.Segment | None],
) -> Refresh:
    entries: dict[str, model.Flag | None] = {}
    killed, restored = [], []
    for key in sorted(flags):
        entries[key] = entry = _snapshot_entry(present, written, environment, key)
        before = present.targetings.get(environment, {}).get(key)
        if before is None or before.document.kill is None:
            continue
        was: FlagDefinition = present.flags[key].document
        if entry is None and was.archived is None:
            restored.append(key)
        elif entry is not None and was.archived is not None:
            killed.append(key)
    return Refresh(environment, entries, segments, tuple(killed), tuple(restored))


def _snapshot_entry(
    present: ProjectDocuments, written: Written, environment: str, key: str
) -> model.Flag | None:
    targetings = present.targetings.get(environment, {})
    definition = _after(written, flag_address(key), present.flags.get(key))
    targeting = _after(written, targeting_address(environment, key), targetings.get(key))
    if definition is None or targeting is None:
        return None
    release = None
    if targeting.document.release is not None:
        address = release_address(environment, targeting.document.release)
        active = present.releases.get(environment, {}).get(address.key)
        after = _after(written, address, active)
        release = None if after is None else after.document
    version = definition.revision + targeting.revision
    return snapshot_entry(definition.document, targeting.document, release, version)


def _after(written: Written, address: Address, before: Stored | None) -> Stored | None:
    """Return a document after the import; None: there is none."""
    write = written.get(address)
    if write is None:
        return before
    if isinstance(write, Delete):
        return None
    document: Any = write.document
    return Stored(document, write.expected + 1, 0)
