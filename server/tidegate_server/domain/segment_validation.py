"""Validates segments."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate_server.domain import references
from tidegate_server.domain.condition_validation import condition_problems
from tidegate_server.domain.field_problems import key_problems, raise_problems
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.errors import FieldProblem

MAX_KEYS = 10_000
"""Explicit keys of a segment. Every SDK holds them in memory and receives them again on change."""


def check_segment(segment: SegmentDefinition, documents: ProjectDocuments) -> None:
    """Raise ``Invalid`` with every problem of a segment."""
    raise_problems(f"segment {segment.key}", _segment_problems(segment, documents))


def _segment_problems(
    segment: SegmentDefinition, documents: ProjectDocuments
) -> Iterator[FieldProblem]:
    yield from key_problems(segment.key)
    # A new segment that names itself gets the message about the cycle instead.
    known = {*documents.segments, segment.key}
    if segment.when is not None:
        yield from condition_problems(segment.when, "/when", known)
    excluded = set(segment.excluded)
    for field, keys in (("included", segment.included), ("excluded", segment.excluded)):
        if len(keys) > MAX_KEYS:
            yield FieldProblem(
                f"/{field}",
                f"{len(keys)} keys are more than {MAX_KEYS}; use a condition on an attribute "
                "instead.",
            )
        for index, key in enumerate(keys):
            if not key:
                yield FieldProblem(f"/{field}/{index}", "A targeting key cannot be empty.")
            elif field == "included" and key in excluded:
                yield FieldProblem(
                    f"/included/{index}", f"{key!r} is excluded too; remove it from one list."
                )
    if path := references.find_cycle(segment.key, references.segments_named_by(documents, segment)):
        yield FieldProblem(
            "/when", f"The segment would contain itself: {' -> '.join(path)}. Remove one of them."
        )
