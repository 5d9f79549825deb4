"""Segments: reusable, named sets of contexts."""

from __future__ import annotations

from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.segments.schemas import (
    SegmentAnswer,
    SegmentBody,
    SegmentPage,
    SegmentUpdate,
)
from tidegate_server.domain import segment_edits
from tidegate_server.domain.change import Change
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import Blueprint

blueprint = Blueprint("segments", __name__, description="Named sets of contexts")


def restore_segment(
    documents: ProjectDocuments, segment: SegmentDefinition, *, actor: str, reason: str
) -> Change:
    """Return the change that makes a segment what it was in an earlier version."""
    now_ms = backend().store.now_ms()
    return segment_edits.restore_segment(
        documents, segment, actor=actor, now_ms=now_ms, reason=reason
    )


def put_segment(
    documents: ProjectDocuments, segment: SegmentDefinition, *, actor: str, reason: str
) -> Change:
    """Return the change that creates or replaces a segment now."""
    now_ms = backend().store.now_ms()
    return segment_edits.put_segment(documents, segment, actor=actor, now_ms=now_ms, reason=reason)


segments = DocumentResource(blueprint, Kind.SEGMENT, SegmentAnswer, SegmentPage)
segments.serve_list("List the segments of a project.")
segments.serve_create(SegmentBody, put_segment, "Create a segment.")
segments.serve_get("Get a segment.")
segments.serve_replace(
    SegmentUpdate, put_segment, "Replace a segment, at once for everything that uses it."
)
segments.serve_history(restore_segment, restore_segment)
segments.serve_delete(segment_edits.delete_segment, "Delete a segment that nothing uses.")
