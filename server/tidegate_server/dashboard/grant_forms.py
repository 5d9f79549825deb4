"""Forms that give a role in a place: what a reader may give to others, and what they chose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from flask import request

from tidegate_server.dashboard import api
from tidegate_server.dashboard.access_words import ROLE_WORDS, role_name
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.forms import typed
from tidegate_server.domain.people import PEOPLES_ROLES
from tidegate_server.domain.people_edits import may_give
from tidegate_server.domain.permissions import PERMISSIONS, Grant, Permission

WHOLE_SERVER: Final = "*"
"""How a form names the whole server; other places are ``project`` or ``project/environment``."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An option of a form: its value, and what it says."""

    value: str
    says: str


def parse_place(text: str) -> tuple[str | None, str | None]:
    """Return the project and the environment of a place that a form names."""
    if text == WHOLE_SERVER:
        return None, None
    project, _, environment = text.partition("/")
    return project or None, environment or None


def place_value(project: str | None, environment: str | None) -> str:
    """Return how a form names a place."""
    return "/".join(filter(None, (project, environment))) or WHOLE_SERVER


def places_to_give(project: str) -> list[Choice]:
    """Return the places in which the reader may give roles, the smallest first.

    Other projects are left out: each has settings of its own.
    """
    reader = api.reader()
    found = [
        Choice(f"{project}/{each['key']}", f"{each['key']} of {project}")
        for each in api.all_of("projects", project, "environments")
    ]
    found += [Choice(project, f"all of {project}"), Choice(WHOLE_SERVER, "the whole server")]
    return [each for each in found if reader.holds(Permission.ADMINISTER, *parse_place(each.value))]


def roles_to_give(places: Iterable[Choice]) -> list[Choice]:
    """Return the roles that the reader may give in one of some places."""
    reader, where = api.reader(), [parse_place(each.value) for each in places]
    roles = [
        *(
            (role.value, ROLE_WORDS[role.value], PERMISSIONS[role])
            for role in reversed(PEOPLES_ROLES)
        ),
        *(
            (each["key"], each["name"], frozenset(map(Permission, each["permissions"])))
            for each in api.all_of("roles")
        ),
    ]
    return [
        Choice(key, f"{role_name(key)}: {says}" if says else role_name(key))
        for key, says, permissions in roles
        if any(may_give(reader, Grant(permissions, *place)) for place in where)
    ]


def may_give_role(grant: Mapping[str, Any], roles: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the reader may give and withdraw a role in its place.

    Args:
        grant: the role and its place.
        roles: the custom roles.
    """
    permissions = next(
        (PERMISSIONS[role] for role in PEOPLES_ROLES if role.value == grant["role"]),
        frozenset(
            Permission(name)
            for each in roles
            if each["key"] == grant["role"]
            for name in each["permissions"]
        ),
    )
    return may_give(api.reader(), Grant(permissions, grant["project"], grant["environment"]))


def named_grant() -> dict[str, Any]:
    """Return the grant that the address of a page names."""
    return {
        "role": request.args.get("role", ""),
        "project": request.args.get("project"),
        "environment": request.args.get("environment"),
    }


def typed_grant() -> dict[str, Any]:
    """Return the grant that a form names."""
    project, environment = parse_place(typed("where"))
    return {"role": typed("role"), "project": project, "environment": environment}


@contextmanager
def beside_fields() -> Iterator[None]:
    """Name what the API refuses in this block after the fields of a form: a role, and where."""
    try:
        yield
    except ApiProblem as problem:
        problem.fields = {_field(each): says for each, says in problem.fields.items()}
        raise


def change(
    where: tuple[str, ...],
    fields: Iterable[str],
    edit: Callable[[dict[str, Any]], dict[str, Any]],
    etag: str = "",
) -> Answer:
    """Change a document that gives roles.

    Args:
        where: its path in the API.
        fields: those that a change sends.
        edit: returns them as they are to be.
        etag: of the document as its reader saw it; empty: as it is now.

    Raises:
        ApiProblem: the API refused it.
    """
    now = api.ask("GET", api.path(*where))
    body = edit({name: now.body[name] for name in fields})
    with beside_fields():
        return api.ask(
            "PUT", api.path(*where), body=body, if_match=etag or now.etag, reason=typed("reason")
        )


def _field(pointer: str) -> str:
    last = pointer.rpartition("/")[2]
    if last in ("project", "environment", "whole_server"):
        return "/where"
    return "/role" if last == "role" else pointer


def chosen_permissions() -> list[str]:
    """Return the permissions that a form names."""
    return [each for each in request.form.getlist("permissions") if each]
