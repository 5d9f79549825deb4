"""Keeps a segment from opening a release further than its policy or a person allows."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate_server.domain import references
from tidegate_server.domain.calendar import closed_because
from tidegate_server.domain.change import Stored
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.domain.release import Release, State
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.errors import FieldProblem

_FIX = "Complete the release or roll it back first, or use another segment."


def opened_segment_problems(
    before: SegmentDefinition,
    after: SegmentDefinition,
    documents: ProjectDocuments,
    now_ms: int,
    narrowed: str = "",
) -> Iterator[FieldProblem]:
    """Yield a problem for each field that would open an active release to more users.

    A stage may be open to a percentage of a segment. While it is, the segment's condition does
    not change. Single keys may join, unless a person or the policy keeps the release from
    opening further. Users may leave at any time, but not a segment within the segment, where
    leaving can mean joining.

    Args:
        before, after: the segment.
        documents: the project.
        now_ms: the present time.
        narrowed: the field of uploaded keys that lets nobody join; empty: none is known to.
    """
    if not _changed_fields(before, after):
        return
    for environment, stored in releases_that_open(documents, after.key):
        release: Release = stored.document
        stopped = _stopped_because(release, now_ms)
        direct = after.key in _segments_of(release)
        fields = _widened_fields(before, after) if direct else _changed_fields(before, after)
        for field in fields:
            if direct and field == narrowed:
                continue
            if field != "when" and stopped is None:
                continue
            why = f" and {stopped}" if stopped is not None else ""
            yield FieldProblem(
                f"/{field}",
                f"Release {release.id} in {environment} is open to this segment{why}; this would "
                f"open it to more users. {_FIX}",
            )


def releases_that_open(documents: ProjectDocuments, segment: str) -> Iterator[tuple[str, Stored]]:
    """Yield each active release that is, or was before a kill, open through a segment."""
    names = references.segments_named_by(documents)
    for environment, stored in documents.active_releases():
        if segment in references.reachable(_segments_of(stored.document), names):
            yield environment, stored


def _segments_of(release: Release) -> set[str]:
    return {key for each in present_openings(release) for key in each.segments}


def _changed_fields(before: SegmentDefinition, after: SegmentDefinition) -> list[str]:
    return [
        field
        for field, one, other in (
            ("when", before.when, after.when),
            ("included", set(before.included), set(after.included)),
            ("excluded", set(before.excluded), set(after.excluded)),
            ("included_set", before.included_set, after.included_set),
            ("excluded_set", before.excluded_set, after.excluded_set),
        )
        if one != other
    ]


def _widened_fields(before: SegmentDefinition, after: SegmentDefinition) -> list[str]:
    widened = []
    if after.when is not None and after.when != before.when:
        widened.append("when")
    if not set(after.included) <= set(before.included):
        widened.append("included")
    if not set(before.excluded) <= set(after.excluded):
        widened.append("excluded")
    if after.included_set not in (None, before.included_set):
        widened.append("included_set")
    if before.excluded_set not in (None, after.excluded_set):
        widened.append("excluded_set")
    return widened


def _stopped_because(release: Release, now_ms: int) -> str | None:
    """Return why a release may not open further now, or None if it may."""
    if release.state is State.KILLED:
        return "its flag is killed"
    if release.state is State.PAUSED:
        return "paused"
    if release.state is State.HOLDING:
        return "held"
    if release.current_stage.approval is not None:
        return "its stage needs an approval"
    closed = closed_because(release.policy.windows, now_ms)
    return None if closed is None else f"may not open further now ({closed})"
