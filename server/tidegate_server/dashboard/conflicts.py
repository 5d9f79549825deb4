"""Two people changed one document at once: who, when, what each did, and both changes together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import request

from tidegate_server.dashboard import api
from tidegate_server.dashboard.differences import FieldDifference, field_differences
from tidegate_server.domain.json_differences import Absent, Difference, differences
from tidegate_server.domain.json_merge import SamePart, merge

SERVED: Final = frozenset({"killed", "release", "archived", "included_set", "excluded_set"})
"""Fields of versions that no form has: other acts change them."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """What somebody else saved while a form was open.

    Attributes:
        who: who saved it.
        at: when, as the API writes it.
        reason: why; may be empty.
        theirs, mine: what each changed in the document that both began with.
        both: the document with the changes of both; None: they have changed the same part.
    """

    who: str
    at: str
    reason: str
    theirs: list[FieldDifference]
    mine: list[FieldDifference]
    both: dict[str, Any] | None


def find_conflict(
    where: tuple[str, ...], revision: str, mine: Mapping[str, Any]
) -> Conflict | None:
    """Return what came between a form and its document; None: it cannot be told any more.

    Args:
        where: the path of the document in the API.
        revision: the document's when the form was opened.
        mine: the document as the form describes it.
    """
    latest = api.get_if_allowed(*where, "history", limit=1)
    opened = api.get_if_allowed(*where, "history", revision) if revision.isdecimal() else None
    if not latest or not latest["items"] or opened is None:
        return None
    newest = latest["items"][0]
    present = api.get_if_allowed(*where, "history", str(newest["revision"]))
    if present is None:
        return None
    before, theirs = (set_fields(each["document"]) for each in (opened, present))
    made = set_fields(mine)
    try:
        both = merge(before, made, theirs)
    except SamePart:
        both = None
    return Conflict(
        newest["actor"],
        newest["at"],
        newest["reason"],
        shown(differences(before, theirs)),
        shown(differences(before, made)),
        both,
    )


def with_theirs(where: tuple[str, ...], mine: dict[str, Any], button: str) -> dict[str, Any]:
    """Return what a form saves: with the other's changes, if its reader pressed that button."""
    if button != "both":
        return mine
    found = find_conflict(where, request.form.get("revision", ""), mine)
    return mine if found is None or found.both is None else found.both


def set_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people set of a document, without what is null, which is the same as nothing."""
    return {
        name: value for name, value in document.items() if name not in SERVED and value is not None
    }


def shown(found: list[Difference]) -> list[FieldDifference]:
    """Return the differences of two documents as pages show them."""
    return field_differences(
        {
            "field": each.field,
            **({} if isinstance(each.before, Absent) else {"before": each.before}),
            **({} if isinstance(each.after, Absent) else {"after": each.after}),
        }
        for each in found
    )
