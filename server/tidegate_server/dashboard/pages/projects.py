"""The projects of the server: where a reader may go, and a new one."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, make_response, redirect, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import FormState, attempt, done, refuse, typed
from tidegate_server.dashboard.shell import Place
from tidegate_server.documents.fields import PATH_KEY
from tidegate_server.domain.permissions import Permission

USUAL_ENVIRONMENTS: Final = "development, production"
"""What the form of a new project proposes; a server begins with the same ones."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule("/", view_func=start)
    blueprint.add_url_rule("/projects", view_func=projects, methods=["GET", "POST"])
    blueprint.add_url_rule("/p/<key:project>", view_func=open_project)


def start() -> Response:
    """Lead to the only project of the reader, or to the list of several."""
    found = api.all_of("projects")
    if len(found) == 1:
        return open_project(found[0]["key"])
    if found or _may_make():
        return _lead("/projects")
    return shell.render("nothing.html", shell.Shell(None))


def open_project(project: str) -> Response:
    """Lead to the place of a project where the reader was last, or to its first one.

    A project without a flag explains how to begin.
    """
    places = shell.places(project)
    if not places:
        return _lead(f"/p/{project}/settings/environments")
    last = shell.last_place()
    chosen = next(
        (each for each in places if (each.project, each.environment) == last),
        shell.first_of(places),
    )
    page = "flags" if _has_flags(chosen) else "begin"
    return _lead(f"{chosen.address}/{page}")


def _has_flags(place: Place) -> bool:
    here = ("projects", place.project, "environments", place.environment, "flags")
    found = api.get_if_allowed(*here, limit=1)
    return found is None or bool(found["totals"]["all"])


def _lead(address: str) -> Response:
    return make_response(redirect(address, HTTPStatus.SEE_OTHER))


def _may_make() -> bool:
    return api.reader().allows(Permission.ADMINISTER, None, None)


def projects() -> Response:
    """Show the projects with their environments; make a project with its environments."""

    def show(form: FormState) -> Response:
        lines = [(each, shell.places(each["key"])) for each in api.all_of("projects")]
        return shell.render(
            "projects.html",
            shell.open_server(),
            lines=lines,
            last=shell.last_place(),
            may_make=_may_make(),
            usual=USUAL_ENVIRONMENTS,
            form=form,
        )

    if request.method == "GET":
        return show(FormState())
    key = typed("key")
    environments = [each.strip() for each in typed("environments").split(",") if each.strip()]
    # Before the project is made: a project with half of its environments helps nobody.
    wrong = [each for each in environments if not re.fullmatch(PATH_KEY, each)]
    if wrong or not environments:
        what = f"{wrong[0]} is no key: use" if wrong else "Name at least one, of"
        return refuse(show, {"environments": f"{what} letters, digits, and . _ - between them."})

    def act() -> Answer:
        body: dict[str, Any] = {"key": key, "name": typed("name")}
        answer = api.ask("POST", api.path("projects"), body=body)
        for each in dict.fromkeys(environments):
            path = api.path("projects", key, "environments")
            api.ask("POST", path, body={"key": each})
        return answer

    return attempt(act, show, lambda: done(f"/p/{key}", f"{key} is made."))
