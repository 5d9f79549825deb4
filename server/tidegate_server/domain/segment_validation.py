"""Validates segments."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.model import All, AnyOf, Condition, NoneOf
from tidegate.wire import MAX_DEPTH

from tidegate_server.domain import references
from tidegate_server.domain.condition_validation import condition_problems
from tidegate_server.domain.field_problems import key_problems, raise_problems
from tidegate_server.domain.flags import MAX_PROJECT_KEYS, SegmentDefinition
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.errors import FieldProblem

MAX_KEYS = 10_000
"""Listed keys of a segment. Every SDK holds them in memory and receives them again on change."""

LEVELS_AROUND = 2
"""How many levels of conditions ``snapshot_segment`` puts around those of a segment."""

MAX_SEGMENT_DEPTH = 10
"""How many segments deep a condition may lead: a segment, one that it names, and so on."""


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
                "instead, or upload the keys.",
            )
        for index, key in enumerate(keys):
            if not key:
                yield FieldProblem(f"/{field}/{index}", "A targeting key cannot be empty.")
            elif field == "included" and key in excluded:
                yield FieldProblem(
                    f"/included/{index}", f"{key!r} is excluded too; remove it from one list."
                )
    yield from _uploaded_keys_problems(segment, documents)
    if path := references.find_cycle(segment.key, references.segments_named_by(documents, segment)):
        yield FieldProblem(
            "/when", f"The segment would contain itself: {' -> '.join(path)}. Remove one of them."
        )


def _uploaded_keys_problems(
    segment: SegmentDefinition, documents: ProjectDocuments
) -> Iterator[FieldProblem]:
    if segment.included_set is None and segment.excluded_set is None:
        return
    if segment.when is not None and _levels(segment.when) > MAX_DEPTH - LEVELS_AROUND:
        yield FieldProblem(
            "/when",
            f"Conditions beside uploaded keys can be nested {MAX_DEPTH - LEVELS_AROUND} levels "
            "deep; use a segment instead.",
        )
    others = [each.document for key, each in documents.segments.items() if key != segment.key]
    total = sum(
        keys.count
        for each in (*others, segment)
        for keys in (each.included_set, each.excluded_set)
        if keys is not None
    )
    if total > MAX_PROJECT_KEYS:
        yield FieldProblem(
            "",
            f"The segments of project {documents.project!r} would have {total:,} uploaded keys "
            f"together, and {MAX_PROJECT_KEYS:,} are possible. Remove some first.",
        )


def depth_problems(
    segment: SegmentDefinition, documents: ProjectDocuments
) -> Iterator[FieldProblem]:
    """Yield a problem if segments would name each other too deep, through this one."""
    named = references.segments_named_by(documents, segment)
    below = references.longest_path(segment.key, named)
    naming: dict[str, list[str]] = {}
    for key in documents.segments:
        for each in named(key):
            naming.setdefault(each, []).append(key)
    above = references.longest_path(segment.key, lambda key: naming.get(key, ()))
    path = [*reversed(above), *below[1:]]
    if len(path) > MAX_SEGMENT_DEPTH:
        yield FieldProblem(
            "/when",
            f"Segments can name each other {MAX_SEGMENT_DEPTH} deep; this would be {len(path)}: "
            f"{' -> '.join(path)}. Name one of the last directly.",
        )


def _levels(condition: Condition) -> int:
    """Return how deep conditions nest."""
    match condition:
        case All(parts) | AnyOf(parts) | NoneOf(parts):
            return 1 + max(map(_levels, parts), default=0)
    return 0
