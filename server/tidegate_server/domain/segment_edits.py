"""Changes to segments. A segment is the same in every environment of its project."""

from __future__ import annotations

from tidegate_server.domain import references
from tidegate_server.domain.change import Change, Refresh
from tidegate_server.domain.document_changes import delete_document, put_document
from tidegate_server.domain.field_differences import same
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    guards,
    policy_address,
    segment_address,
)
from tidegate_server.domain.segment_validation import check_segment
from tidegate_server.domain.snapshot import snapshot_segment


def put_segment(
    documents: ProjectDocuments, segment: SegmentDefinition, *, actor: str, reason: str = ""
) -> Change:
    """Create a segment, or replace the one with its key, in every environment.

    Raises:
        Invalid: the segment is not valid, or would contain itself.
    """
    check_segment(segment, documents)
    before = documents.segments.get(segment.key)
    compiled = snapshot_segment(segment)
    # A change of its name alone does not reach the snapshots.
    shown = before is None or not same(snapshot_segment(before.document), compiled)
    return put_document(
        documents.project,
        segment_address(segment.key),
        before,
        segment,
        actor=actor,
        reason=reason,
        details={"included": len(segment.included), "excluded": len(segment.excluded)},
        writes=references.guards_of_segment(documents, segment),
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
    return delete_document(
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
