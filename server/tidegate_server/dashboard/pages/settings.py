"""Settings of a project: the parts that they have, and the frame around each."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, make_response, redirect

from tidegate_server.dashboard import api, confirmation, shell
from tidegate_server.dashboard.confirmation import Question
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import Forbidden

BASE = "/p/<key:project>/settings"

TABS: Final = (
    ("environments", "Environments"),
    ("people", "People"),
    ("groups", "Groups"),
    ("roles", "Roles"),
    ("sessions", "Sessions"),
    ("tokens", "Tokens"),
    ("identity-providers", "Sign-in"),
    ("webhooks", "Webhooks"),
    ("hooks", "Hooks"),
    ("project", "Project"),
    ("you", "You"),
)
"""The name and the title of each part of the settings."""

OF_ADMINS: Final = ("people", "groups", "roles", "sessions", "tokens")
"""The parts that only people who administer something in the project can use."""


OF_OWNERS: Final = ("identity-providers",)
"""The parts that only who administers the whole server can use."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(BASE, view_func=show_settings)


def show_settings(project: str) -> Response:
    """Lead to the first part of the settings."""
    api.reader()
    return make_response(redirect(f"/p/{project}/settings/environments", 303))


def render_tab(template: str, project: str, tab: str, **values: Any) -> Response:
    """Return a part of the settings of a project."""
    frame = shell.open_project(project, "settings")
    administers = api.reader().has_anywhere(Permission.ADMINISTER, project)
    owns = api.reader().allows(Permission.ADMINISTER, None, None)
    hidden = (*(() if administers else OF_ADMINS), *(() if owns else OF_OWNERS))
    tabs = [each for each in TABS if each[0] not in hidden]
    return shell.render(template, frame, project=project, tab=tab, tabs=tabs, **values)


def check_administers(project: str) -> None:
    """Raises ``Forbidden`` unless the reader administers something in a project."""
    if not api.reader().has_anywhere(Permission.ADMINISTER, project):
        raise Forbidden("This needs the permission to administer something in the project.")


def ask_to_delete(project: str, tab: str, key: str, what: str, effect: str) -> Response:
    """Ask whether to delete a document that a part of the settings of a project has; delete it.

    Args:
        project: its project.
        tab: the part, and the API's name of such documents: ``webhooks``.
        key: of the document.
        what: the document in words.
        effect: what goes with it.
    """
    listed = f"/p/{project}/settings/{tab}"
    here = f"{listed}/{key}"
    question = Question(
        f"Delete {what}?",
        (("x", effect),),
        "Delete",
        "x",
        here,
        ((listed, dict(TABS)[tab]), (here, key)),
        listed,
        f"{what[0].upper()}{what[1:]} is deleted.",
    )
    return confirmation.ask_to_delete(project, question, "projects", project, tab, key)
