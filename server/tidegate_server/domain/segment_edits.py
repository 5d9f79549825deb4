"""Commits of edits to segments, which hold in every environment of a project."""

from __future__ import annotations

from tidegate_server.domain import references, validation
from tidegate_server.domain.change import Audit, Change, Delete, Guard, Put, Refresh
from tidegate_server.domain.field_differences import changed_fields, same
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    guard,
    policy_address,
    segment_address,
)
from tidegate_server.domain.snapshot import segment_of
from tidegate_server.errors import NotPossible


def put_segment(
    documents: ProjectDocuments, segment: SegmentDefinition, *, actor: str, reason: str = ""
) -> Change:
    """Create a segment, or replace the one with its key, in every environment at once.

    Raises:
        Invalid: the segment cannot be, or would contain itself.
    """
    validation.check_segment(segment, documents)
    before = documents.segments.get(segment.key)
    where = segment_address(segment.key)
    if before is not None and same(before.document, segment):
        return Change(scope=documents.project, writes=(guard(where, before),))
    writes: list[Put | Delete | Guard] = [
        Put(where, segment, before.revision if before is not None else 0),
        *references.guards_of_segment(documents, segment),
    ]
    shown = segment_of(segment)
    unseen = before is not None and same(segment_of(before.document), shown)
    details: dict[str, object] = {
        "included": len(segment.included),
        "excluded": len(segment.excluded),
    }
    if before is not None:
        details["changed"] = changed_fields(before.document, segment)
    return Change(
        scope=documents.project,
        writes=tuple(writes),
        refreshes=()
        if unseen
        else tuple(
            Refresh(environment, segments={segment.key: shown})
            for environment in documents.environments
        ),
        audit=Audit(
            actor,
            "segment.create" if before is None else "segment.edit",
            segment.key,
            "",
            reason,
            details,
        ),
    )


def delete_segment(
    documents: ProjectDocuments, key: str, *, actor: str, reason: str = ""
) -> Change:
    """Remove a segment.

    Raises:
        NotPossible: a rule, a segment, a policy or an active release names it.
    """
    before = documents.segment(key)
    users = references.users_of_segment(documents, key)
    if users:
        raise NotPossible(f"Segment {key!r} is used by {', '.join(users)}. End that first.")
    # Whatever could have begun to name it meanwhile must stop this.
    rests_on = [
        *references.guards_of_other_targetings(documents),
        *(
            guard(segment_address(name), held)
            for name, held in documents.segments.items()
            if name != key
        ),
        *(guard(policy_address(name), held) for name, held in documents.policies.items()),
    ]
    return Change(
        scope=documents.project,
        writes=(Delete(segment_address(key), before.revision), *rests_on),
        refreshes=tuple(
            Refresh(environment, segments={key: None}) for environment in documents.environments
        ),
        audit=Audit(actor, "segment.delete", key, "", reason),
    )
