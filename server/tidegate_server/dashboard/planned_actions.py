"""Operations that are made later: what each does in words, and whom it affects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidegate_server.dashboard import api
from tidegate_server.dashboard.api import ApiProblem
from tidegate_server.dashboard.differences import FieldDifference, field_differences
from tidegate_server.dashboard.document_addresses import Document, present_page_of

PREVIEWED: Final = re.compile(
    r"/api/v1/projects/(?P<project>[^/?]+)/environments/(?P<environment>[^/?]+)"
    r"/flags/(?P<flag>[^/?]+)$"
)
"""The path of a targeting, of which the API says who would change sides."""

IMPERATIVES: Final[Mapping[str, str]] = {
    "targeting.edit": "change who gets {target}",
    "flag.create": "make the flag {target}",
    "flag.kill": "kill {target}",
    "flag.restore": "restore {target}",
    "release.start": "start a release of {flag}",
}
"""What an action does, in words; others are read from their name."""


def action_sentence(action: Mapping[str, Any]) -> str:
    """Return what a planned action does, such as "change who gets checkout in production"."""
    noun, _, verb = str(action["action"]).partition(".")
    verb = {"edit": "change", "create": "make"}.get(verb, verb.replace("_", " "))
    sentence = IMPERATIVES.get(action["action"], f"{verb} the {noun.replace('_', ' ')} {{target}}")
    flag = action["details"].get("flag", action["target"])
    says = sentence.format_map({"target": action["target"], "flag": flag})
    return f"{says} in {action['environment']}" if action["environment"] else says


def changed_documents(
    changes: Sequence[Mapping[str, Any]], project: str
) -> list[tuple[Mapping[str, Any], list[FieldDifference], str | None]]:
    """Return the documents that a plan changes, what changes in each, and where its page is.

    Args:
        changes: as the API lists them.
        project: whose documents they are; empty: the server's.
    """
    return [
        (
            each,
            field_differences(each["changes"]),
            present_page_of(Document.of(each, project)) if each["revision_before"] else None,
        )
        for each in changes
    ]


def affected_users(operations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in words whom operations affect of the recently seen users, as the API says it."""
    found = []
    for each in operations:
        match = PREVIEWED.match(each["path"])
        if match is None or each["method"] != "PUT" or each["body"] is None:
            continue
        path = ("projects", match["project"], "environments", match["environment"])
        address = api.path(*path, "flags", match["flag"], "preview")
        try:
            preview = api.ask("POST", address, body=each["body"]).body
        except ApiProblem:  # what the request would do now is refused, which the page says
            continue
        found.append(f"{match['flag']} in {match['environment']}: {preview['text']}")
    return found
