"""The latest changes of one object, from the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate_server.dashboard import api
from tidegate_server.dashboard.audit_sentences import AuditLine, audit_line

LATEST = 12
"""How many entries a page shows."""

FLAG_ENTRIES = 20
"""How many entries of a flag are read, of an environment and of what it is everywhere: some of
them are about other things of its key, or about other environments."""

OF_FLAGS = ("flag", "targeting")


def latest_changes(kind: str, key: str, project: str = "") -> list[AuditLine] | None:
    """Return the latest entries about something in the audit log of a project, or of the server.

    The newest comes first. None: the reader may not read the whole log.
    """
    scope = ("projects", project) if project else ()
    page = api.get_if_allowed(*scope, "audit", object=kind, key=key, limit=LATEST)
    return None if page is None else [audit_line(each) for each in page["items"]]


def latest_changes_of_flag(project: str, environment: str, flag: str) -> list[AuditLine] | None:
    """Return what happened to a flag and its releases in an environment, as ``latest_changes``."""
    found: dict[str, dict[str, Any]] = {}
    for narrowed in ({"environment": environment}, {"object": "flag"}):
        where = ("projects", project, "audit")
        page = api.get_if_allowed(*where, key=flag, limit=FLAG_ENTRIES, **narrowed)
        if page is None:
            return None
        found |= {each["id"]: each for each in page["items"]}
    places = ("", environment)
    return [
        audit_line(each)
        for each in sorted(found.values(), key=_place_in_log, reverse=True)
        if each["environment"] in places and _is_about_flag(each, flag, places)
    ]


def _place_in_log(entry: Mapping[str, Any]) -> list[int]:
    return [int(part) for part in entry["id"].split("-")]


def _is_about_flag(entry: Mapping[str, Any], flag: str, places: tuple[str, ...]) -> bool:
    """Return whether an entry is about a flag here, and not about something else of this key."""
    if entry["action"].startswith("tag."):
        return False  # each of its flags has an entry of its own
    if entry["details"].get("flag") == flag:
        return True
    if not entry["documents"]:
        return entry["target"] == flag and entry["action"].partition(".")[0] in OF_FLAGS
    return any(
        each["key"] == flag and each["kind"] in OF_FLAGS and each["environment"] in places
        for each in entry["documents"]
    )
