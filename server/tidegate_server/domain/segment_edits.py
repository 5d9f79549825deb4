"""Changes to segments. A segment is the same in every environment of its project."""

from __future__ import annotations

from tidegate_server.domain import references
from tidegate_server.domain.change import Change, Guard, Refresh
from tidegate_server.domain.condition_validation import misspelled_key_problems
from tidegate_server.domain.document_changes import delete_document_change, put_document_change
from tidegate_server.domain.field_differences import same
from tidegate_server.domain.field_problems import raise_problems
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.open_segments import opened_segment_problems, releases_that_open
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    guard,
    guards,
    policy_address,
    release_address,
    segment_address,
)
from tidegate_server.domain.segment_validation import check_segment
from tidegate_server.domain.snapshot import snapshot_segment


def put_segment(
    documents: ProjectDocuments,
    segment: SegmentDefinition,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
) -> Change:
    """Create a segment, or replace the one with its key, in every environment.

    Raises:
        Invalid: the segment is not valid, would contain itself, or would open an active release
            further than its policy or a person allows.
    """
    check_segment(segment, documents)
    before = documents.segments.get(segment.key)
    if segment.when is not None and (before is None or before.document.when != segment.when):
        raise_problems(f"segment {segment.key}", misspelled_key_problems(segment.when, "/when"))
    opened: list[Guard] = []
    if before is not None:
        raise_problems(
            f"segment {segment.key}",
            opened_segment_problems(before.document, segment, documents, now_ms),
        )
        opened = [
            guard(release_address(environment, stored.document), stored)
            for environment, stored in releases_that_open(documents, segment.key)
        ]
    compiled = snapshot_segment(segment)
    # A change of its name alone does not reach the snapshots.
    shown = before is None or not same(snapshot_segment(before.document), compiled)
    return put_document_change(
        documents.project,
        segment_address(segment.key),
        before,
        segment,
        actor=actor,
        reason=reason,
        details={"included": len(segment.included), "excluded": len(segment.excluded)},
        writes=[*references.guards_of_segment(documents, segment), *opened],
        refreshes=[
            Refresh(environment, segments={segment.key: compiled})
            for environment in documents.environments
            if shown
        ],
    )


def delete_segment(
    documents: ProjectDocuments, key: str, *, actor: str, reason: str = ""
) -> Change:
    """Delete a segment.

    Raises:
        NotPossible: a rule, a segment, a policy or an active release uses it.
    """
    before = documents.segment(key)
    return delete_document_change(
        documents.project,
        segment_address(key),
        before,
        actor=actor,
        reason=reason,
        used_by=references.users_of_segment(documents, key),
        # Guard everything that could start to use the segment at this moment.
        writes=[
            *references.guards_of_other_targetings(documents),
            *guards(segment_address, documents.segments, documents.segments.keys() - {key}),
            *guards(policy_address, documents.policies),
        ],
        refreshes=[
            Refresh(environment, segments={key: None}) for environment in documents.environments
        ],
    )
