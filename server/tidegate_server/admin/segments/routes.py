"""Segments: reusable, named sets of contexts."""

from __future__ import annotations

from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.segments.schemas import (
    SegmentAnswer,
    SegmentBody,
    SegmentPage,
    SegmentUpdate,
)
from tidegate_server.domain.change import Kind
from tidegate_server.domain.segment_edits import delete_segment, put_segment
from tidegate_server.web.blueprint import Blueprint

blueprint = Blueprint("segments", __name__, description="Named sets of contexts")

segments = DocumentResource(blueprint, Kind.SEGMENT, SegmentAnswer, SegmentPage)
segments.serve_list("List the segments of a project.")
segments.serve_create(SegmentBody, put_segment, "Create a segment.")
segments.serve_get("Get a segment.")
segments.serve_replace(
    SegmentUpdate, put_segment, "Replace a segment, at once for everything that uses it."
)
segments.serve_delete(delete_segment, "Delete a segment that nothing uses.")
