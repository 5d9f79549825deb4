"""Changes to segments. A segment is the same in every environment of its project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tidegate_server.domain import references
from tidegate_server.domain.change import Change, Guard, KeySetSwitch, Refresh
from tidegate_server.domain.condition_validation import misspelled_key_problems
from tidegate_server.domain.document_changes import (
    delete_document_change,
    put_document_change,
    unchanged,
)
from tidegate_server.domain.field_differences import same
from tidegate_server.domain.field_problems import raise_problems
from tidegate_server.domain.flags import KeySet, SegmentDefinition
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.open_segments import opened_segment_problems, releases_that_open
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    guard,
    kind_guards,
    release_address,
    segment_address,
)
from tidegate_server.domain.segment_validation import check_segment, depth_problems
from tidegate_server.domain.snapshot import snapshot_segment
from tidegate_server.errors import StaleRevision

LISTS = ("included", "excluded")
"""The lists of a segment that keys can be uploaded to."""


@dataclass(frozen=True, slots=True)
class UploadedKeys:
    """What an upload makes of a list of a segment.

    Attributes:
        list: ``included`` or ``excluded``.
        before: the key set that it was compared with.
        after: the new one; None: no keys are left.
        chunks: in how many chunks the store keeps it.
        added, removed: how many keys join and leave.
    """

    list: str
    before: KeySet | None
    after: KeySet | None
    chunks: int
    added: int
    removed: int

    @property
    def narrowed(self) -> str:
        """The list's field of the segment if nobody joins by this change; else empty."""
        joining = self.added if self.list == "included" else self.removed
        return "" if joining else set_field(self.list)


def set_field(list: str) -> str:
    """Return the field of a segment with the key set of a list."""
    return f"{list}_set"


def key_set_of(segment: SegmentDefinition, list: str) -> KeySet | None:
    """Return the key set of a list of a segment; None: it has none."""
    found: KeySet | None = getattr(segment, set_field(list))
    return found


def put_segment(
    documents: ProjectDocuments,
    segment: SegmentDefinition,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
) -> Change:
    """Create a segment, or replace the one with its key, in every environment.

    The uploaded keys stay as they are.

    Raises:
        Invalid: the segment is not valid, would contain itself, or would open an active release
            further than its policy or a person allows.
    """
    before = documents.segments.get(segment.key)
    sets = (None, None)
    if before is not None:
        sets = (before.document.included_set, before.document.excluded_set)
    segment = replace(segment, included_set=sets[0], excluded_set=sets[1])
    return _put_segment(documents, segment, actor=actor, now_ms=now_ms, reason=reason)


def restore_segment(
    documents: ProjectDocuments,
    segment: SegmentDefinition,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
) -> Change:
    """Make a segment what it was in an earlier version, its uploaded keys included.

    The commit fails if these are no longer kept. Raises as ``put_segment`` does.
    """
    return _put_segment(documents, segment, actor=actor, now_ms=now_ms, reason=reason)


def upload_keys(
    documents: ProjectDocuments,
    key: str,
    uploaded: UploadedKeys,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
) -> Change:
    """Give a list of a segment other uploaded keys, in every environment.

    Raises:
        NotFound: there is no such segment.
        StaleRevision: the list has other keys by now.
        Invalid: the project would have too many keys, or an active release would open further
            than its policy or a person allows.
    """
    before = documents.segment(key)
    if key_set_of(before.document, uploaded.list) != uploaded.before:
        raise StaleRevision(f"The {uploaded.list} keys of segment {key!r} have changed.")
    if uploaded.before == uploaded.after:
        return unchanged(documents.project, segment_address(key), before)
    return _put_segment(
        documents,
        replace(before.document, **{set_field(uploaded.list): uploaded.after}),
        actor=actor,
        now_ms=now_ms,
        reason=reason,
        uploaded=uploaded,
    )


def _put_segment(
    documents: ProjectDocuments,
    segment: SegmentDefinition,
    *,
    actor: str,
    now_ms: int,
    reason: str,
    uploaded: UploadedKeys | None = None,
) -> Change:
    before = documents.segments.get(segment.key)
    check_segment(segment, documents)
    if segment.when is not None and (before is None or before.document.when != segment.when):
        raise_problems(f"segment {segment.key}", misspelled_key_problems(segment.when, "/when"))
        raise_problems(f"segment {segment.key}", depth_problems(segment, documents))
    opened: list[Guard] = []
    if before is not None:
        narrowed = "" if uploaded is None else uploaded.narrowed
        raise_problems(
            f"segment {segment.key}",
            opened_segment_problems(before.document, segment, documents, now_ms, narrowed),
        )
        opened = [
            guard(release_address(environment, stored.document), stored)
            for environment, stored in releases_that_open(documents, segment.key)
        ]
    compiled = snapshot_segment(segment)
    # A change of its name alone does not reach the snapshots.
    shown = before is None or not same(snapshot_segment(before.document), compiled)
    details: dict[str, object] = {
        "included": len(segment.included),
        "excluded": len(segment.excluded),
    }
    if uploaded is not None:
        details = {"list": uploaded.list, "added": uploaded.added, "removed": uploaded.removed}
    change = put_document_change(
        documents.project,
        segment_address(segment.key),
        before,
        segment,
        actor=actor,
        reason=reason,
        details=details,
        writes=[*references.guards_of_segment(documents, segment), *opened],
        refreshes=[
            Refresh(environment, segments={segment.key: compiled})
            for environment in documents.environments
            if shown
        ],
        kind_guards=kind_guards(documents, Kind.ENVIRONMENT) if shown else (),
        action="segment.upload" if uploaded is not None else "",
    )
    old = None if before is None else before.document
    return replace(change, key_sets=tuple(_switches(segment.key, old, segment, uploaded)))


def _switches(
    key: str,
    before: SegmentDefinition | None,
    after: SegmentDefinition | None,
    uploaded: UploadedKeys | None = None,
) -> Iterator[KeySetSwitch]:
    """Yield the switches from the key sets of one segment to those of another."""
    for each in LISTS:
        old = None if before is None else key_set_of(before, each)
        new = None if after is None else key_set_of(after, each)
        if old == new:
            continue
        yield KeySetSwitch(
            segment=key,
            list=each,
            digest=None if new is None else new.digest,
            before=None if old is None else old.digest,
            chunks=0 if uploaded is None else uploaded.chunks,
        )


def delete_segment(
    documents: ProjectDocuments, key: str, *, actor: str, reason: str = ""
) -> Change:
    """Delete a segment.

    Raises:
        NotPossible: a rule, a segment, a policy or an active release uses it.
    """
    before = documents.segment(key)
    change = delete_document_change(
        documents.project,
        segment_address(key),
        before,
        actor=actor,
        reason=reason,
        used_by=[use.text for use in references.uses_of_segment(documents, key)],
        # Guard everything that could start to use the segment at this moment.
        kind_guards=kind_guards(
            *(documents, Kind.TARGETING, Kind.SEGMENT, Kind.POLICY, Kind.ENVIRONMENT)
        ),
        refreshes=[
            Refresh(environment, segments={key: None}) for environment in documents.environments
        ],
    )
    return replace(change, key_sets=tuple(_switches(key, before.document, None)))
