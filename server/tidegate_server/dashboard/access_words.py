"""Who may do what, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tidegate_server.domain.permissions import Permission

PERMISSION_WORDS: Final = (
    (Permission.READ, "see everything but secrets"),
    (Permission.WRITE, "change flags, who gets them, segments, policies, webhooks and hooks"),
    (Permission.RELEASE, "start releases, open their stages, complete them"),
    (Permission.APPROVE, "approve changes, and that a release leaves a stage"),
    (Permission.KILL, "kill and restore flags, pause releases and roll them back"),
    (Permission.ADMINISTER, "manage people, roles, tokens, projects and environments"),
    (Permission.CODE, "report where code uses flags"),
)
"""What each permission allows; those of applications are left out."""

ROLE_WORDS: Final = {
    "admin": "everything, people and settings included",
    "release_manager": "everything but people and settings",
    "developer": "changes flags, segments and policies",
    "responder": "kills, pauses and rolls back",
    "viewer": "sees everything, changes nothing",
}
"""What each built-in role of people is for."""


def role_name(role: str) -> str:
    """Return a role as a person says it."""
    return role.replace("_", " ")


def place_name(grant: Mapping[str, Any]) -> str:
    """Return where a grant or a token holds."""
    if grant["project"] is None:
        return "the whole server"
    if grant["environment"] is None:
        return f"all of {grant['project']}"
    return f"{grant['environment']} of {grant['project']}"


def grant_name(grant: Mapping[str, Any]) -> str:
    """Return a role with its place."""
    return f"{role_name(grant['role'])} in {place_name(grant)}"
