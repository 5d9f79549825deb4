"""Settings: roles, which are named sets of permissions."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, confirmation
from tidegate_server.dashboard.access_words import PERMISSION_WORDS, ROLE_WORDS
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.confirmation import Question
from tidegate_server.dashboard.forms import FormState, attempt, done, typed
from tidegate_server.dashboard.grant_forms import chosen_permissions
from tidegate_server.dashboard.object_history import latest_changes
from tidegate_server.dashboard.pages.settings import BASE, render_tab
from tidegate_server.domain.people import PEOPLES_ROLES
from tidegate_server.domain.people_edits import may_give
from tidegate_server.domain.permissions import PERMISSIONS, Grant, Permission, in_order

ROLE = f"{BASE}/roles/<key:role>"

Json = dict[str, Any]


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    both = ["GET", "POST"]
    blueprint.add_url_rule(f"{BASE}/roles", view_func=roles, methods=both)
    blueprint.add_url_rule(ROLE, view_func=show_role, methods=both)
    blueprint.add_url_rule(f"{ROLE}/delete", view_func=delete_role, methods=both)


def roles(project: str) -> Response:
    """Show the roles; make one."""

    def show(form: FormState) -> Response:
        return render_tab(
            "settings_roles.html",
            project,
            "roles",
            built_in=[
                (role.value, ROLE_WORDS[role.value], in_order(PERMISSIONS[role]))
                for role in PEOPLES_ROLES
            ],
            items=api.all_of("roles"),
            permissions=_permissions_to_give(),
            chosen=chosen_permissions(),
            form=form,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        body = {"key": typed("key"), **_typed()}
        return api.ask("POST", api.path("roles"), body=body, reason=typed("reason"))

    address = f"/p/{project}/settings/roles"
    return attempt(act, show, lambda: done(address, f"{typed('key')} is made."))


def show_role(project: str, role: str) -> Response:
    """Show a custom role, and who has it; change it."""

    def show(form: FormState) -> Response:
        found = api.ask("GET", api.path("roles", role))
        posted = request.method == "POST"
        return render_tab(
            "settings_role.html",
            project,
            "roles",
            role=found.body,
            etag=form.etag(found.etag),
            words=PERMISSION_WORDS,
            permissions=_permissions_to_give(),
            chosen=chosen_permissions() if posted else found.body["permissions"],
            changeable=_may_change(found.body),
            people=_holders("people", role),
            groups=_holders("groups", role),
            history=latest_changes("role", role),
            form=form,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        address = api.path("roles", role)
        return api.ask(
            "PUT", address, body=_typed(), if_match=typed("etag") or "*", reason=typed("reason")
        )

    return attempt(act, show, lambda: done(_address(project, role), "Saved."))


def delete_role(project: str, role: str) -> Response:
    """Ask whether to delete a role that nobody has; do it."""
    here = _address(project, role)
    question = Question(
        f"Delete the role {role}?",
        (("people", "Nobody has it, so nobody loses anything."),),
        "Delete",
        "x",
        here,
        ((f"/p/{project}/settings/roles", "Roles"), (here, role)),
        f"/p/{project}/settings/roles",
        f"{role} is deleted.",
    )
    return confirmation.ask_to_delete(project, question, "roles", role)


def _typed() -> Json:
    return {
        "name": typed("name"),
        "description": typed("description"),
        "permissions": chosen_permissions(),
    }


def _permissions_to_give() -> list[tuple[str, str]]:
    """Return the permissions that the reader may put into a role, and what each allows."""
    reader = api.reader()
    return [
        (permission.value, says)
        for permission, says in PERMISSION_WORDS
        if may_give(reader, Grant(frozenset({permission})))
    ]


def _may_change(role: Json) -> bool:
    return may_give(api.reader(), Grant(frozenset(map(Permission, role["permissions"]))))


def _holders(kind: str, role: str) -> list[Json]:
    return [
        each for each in api.all_of(kind) if any(grant["role"] == role for grant in each["grants"])
    ]


def _address(project: str, role: str) -> str:
    return f"/p/{project}/settings/roles/{role}"
