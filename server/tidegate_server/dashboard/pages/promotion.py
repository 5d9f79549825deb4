"""Bringing what a flag serves to another environment, and copying a flag under another key."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.differences import field_differences
from tidegate_server.dashboard.forms import FormState, attempt, done, typed
from tidegate_server.dashboard.sides import sides
from tidegate_server.dashboard.typed_numbers import whole_number


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    flag = "/p/<key:project>/e/<key:environment>/flags/<key:flag>"
    for action, view in (("promote", promote), ("copy", copy)):
        blueprint.add_url_rule(f"{flag}/{action}", view_func=view, methods=["GET", "POST"])


def promote(project: str, environment: str, flag: str) -> Response:
    """Show what would change in another environment; change it."""
    frame = shell.open_place(project, environment, "flags")
    shell.check_may("write")
    base = f"/p/{project}/e/{environment}/flags/{flag}"
    api.get("projects", project, "environments", environment, "flags", flag)
    targets = [each for each in frame.places if each.environment != environment]
    wanted = request.values.get("to", "")
    target = next((each for each in targets if each.environment == wanted), None)
    if target is None and len(targets) == 1:
        [target] = targets
    there = target.environment if target else environment
    where = api.path("projects", project, "environments", there, "promote")
    body: dict[str, Any] = {"from": environment, "flags": [flag]}

    def show(form: FormState) -> Response:
        plan, problem = None, ""
        if target is not None:
            try:
                plan = api.ask("POST", where, query={"plan": "true"}, body=body).body
            except ApiProblem as error:
                if error.status == HTTPStatus.UNAUTHORIZED:
                    raise
                problem = error.detail
        planned = plan["flags"][0] if plan else None
        return shell.render(
            "promote.html",
            frame,
            flag=flag,
            base=base,
            targets=targets,
            target=target,
            plan=plan,
            planned=planned,
            changes=field_differences(planned["changes"]) if planned else [],
            sides=sides(plan["preview"], flag) if plan and plan["preview"] else None,
            problem=problem,
            form=form,
        )

    if request.method == "GET" or target is None:
        return show(FormState())

    def act() -> Answer:
        ends = {"from": typed("from"), "to": typed("to_revision")}
        planned = {flag: {end: whole_number(text) or 0 for end, text in ends.items()}}
        return api.ask("POST", where, body={**body, "revisions": planned}, reason=typed("reason"))

    says = f"{flag} serves the same in {target.environment} as in {environment}."
    return attempt(act, show, lambda: done(f"{target.address}/flags/{flag}", says))


def copy(project: str, environment: str, flag: str) -> Response:
    """Make a flag under another key that serves what this one serves."""
    frame = shell.open_place(project, environment, "flags")
    shell.check_may("write", shared=True)
    place = f"/p/{project}/e/{environment}/flags"
    api.get("projects", project, "flags", flag)

    def show(form: FormState) -> Response:
        return shell.render("copy.html", frame, flag=flag, base=f"{place}/{flag}", form=form)

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        body = {
            "key": typed("key"),
            "name": typed("name") or None,
            "same_buckets": request.form.get("same_buckets") == "yes",
        }
        where = api.path("projects", project, "flags", flag, "copy")
        return api.ask("POST", where, body=body, reason=typed("reason"))

    says = f"{typed('key')} is made; it serves what {flag} serves."
    return attempt(act, show, lambda: done(f"{place}/{typed('key')}", says))
