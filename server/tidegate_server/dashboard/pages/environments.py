"""Settings: the environments of a project, and the project itself."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import FormState, attempt, done, refuse, typed
from tidegate_server.dashboard.pages.settings import BASE, render_tab
from tidegate_server.dashboard.typed_numbers import whole_number

EMPTY_ROWS: Final = 2
"""How many empty rows for freezes a form has."""

DEFAULT_DAYS: Final = {"stale_after_days": 30, "deletable_after_days": 7}


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    both = ["GET", "POST"]
    blueprint.add_url_rule(f"{BASE}/environments", view_func=environments, methods=both)
    blueprint.add_url_rule(
        f"{BASE}/environments/<key:environment>", view_func=edit_environment, methods=both
    )
    item = f"{BASE}/environments/<key:environment>"
    blueprint.add_url_rule(f"{item}/key", view_func=context_key, methods=both)
    blueprint.add_url_rule(f"{item}/delete", view_func=delete_environment, methods=both)
    blueprint.add_url_rule(f"{BASE}/project", view_func=edit_project, methods=both)


def environments(project: str) -> Response:
    """Show the environments of a project; make one."""
    where = ("projects", project, "environments")

    def show(form: FormState) -> Response:
        items = api.all_of(*where)
        return render_tab(
            "settings_environments.html", project, "environments", items=items, form=form
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        body = {"key": typed("key"), "name": typed("name")}
        return api.ask("POST", api.path(*where), body=body, reason=typed("reason"))

    address = f"/p/{project}/settings/environments"
    return attempt(act, show, lambda: done(address, f"{typed('key')} is made."))


def edit_environment(project: str, environment: str) -> Response:
    """Show what changes of an environment need, and what is not made there; change it."""
    where = ("projects", project, "environments", environment)

    def show(form: FormState) -> Response:
        found = api.ask("GET", api.path(*where))
        freezes = _typed_freezes() if request.method == "POST" else found.body["freezes"]
        empty = [{"from": "", "to": "", "reason": ""}] * EMPTY_ROWS
        return render_tab(
            "settings_environment.html",
            project,
            "environments",
            environment=found.body,
            chosen=request.form if request.method == "POST" else _chosen(found.body),
            freezes=[*freezes, *empty],
            etag=form.etag(found.etag),
            form=form,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        body: dict[str, Any] = {
            **{name: typed(name) for name in ("name", "description")},
            "timezone": typed("timezone") or "UTC",
            "allowed_origins": typed("allowed_origins").split(),
            "require_reason": request.form.get("require_reason") == "yes",
            "report_seen_users": request.form.get("report_seen_users") == "yes",
            "required_approvals": _number("required_approvals", 0),
            "freezes": _typed_freezes(),
        }
        etag = request.form.get("etag")
        return api.ask("PUT", api.path(*where), body=body, if_match=etag, reason=typed("reason"))

    return attempt(act, show, lambda: done(request.path, "Saved."))


def context_key(project: str, environment: str) -> Response:
    """Say what the context key of an environment is for; make another, which is shown once."""
    shell.check_may("administer")
    where = ("projects", project, "environments", environment)
    api.get(*where)
    made: dict[str, Any] = {}

    def show(form: FormState) -> Response:
        return render_tab(
            "settings_environment_key.html",
            project,
            "environments",
            environment=environment,
            made=made,
            form=form,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        answer = api.ask("POST", api.path(*where, "rotate-key"), reason=typed("reason"))
        made.update(answer.body)
        return answer

    return attempt(act, show, lambda: show(FormState()))


def delete_environment(project: str, environment: str) -> Response:
    """Say what goes with an environment; delete it once its key is typed."""
    shell.check_may("administer")
    where = ("projects", project, "environments", environment)
    answer = api.ask("GET", api.path(*where))
    back = f"/p/{project}/settings/environments"

    def show(form: FormState) -> Response:
        return render_tab(
            "settings_environment_delete.html",
            project,
            "environments",
            environment=environment,
            etag=form.etag(answer.etag),
            form=form,
        )

    if request.method == "GET":
        return show(FormState())
    if typed("confirm") != environment:
        return refuse(show, {"confirm": f"Type {environment} to delete it."})
    forced = {"force": "true", "confirm": environment} if typed("force") == "yes" else {}

    def act() -> Answer:
        return api.ask(
            "DELETE",
            api.path(*where),
            query=forced,
            if_match=typed("etag"),
            reason=typed("reason"),
        )

    return attempt(act, show, lambda: done(back, f"{environment} is deleted."))


def _chosen(environment: dict[str, Any]) -> dict[str, str]:
    """Return which boxes are ticked: ``yes`` or nothing."""
    return {
        name: "yes" if environment[name] else "" for name in ("require_reason", "report_seen_users")
    }


def _typed_freezes() -> list[dict[str, str]]:
    """Return the freezes as they were typed, without empty rows."""
    columns = [request.form.getlist(f"freeze-{name}") for name in ("from", "to", "reason")]
    rows = [[cell.strip() for cell in row] for row in zip(*columns, strict=False)]
    return [
        {"from": begins, "to": ends, "reason": reason}
        for begins, ends, reason in rows
        if begins or ends
    ]


def _number(name: str, empty: int) -> int | str:
    """Return a whole number as it was typed; the API says what is wrong with anything else."""
    number = whole_number(typed(name))
    return (typed(name) or empty) if number is None else number


def edit_project(project: str) -> Response:
    """Show the name of a project, and when its flags are stale; change it."""
    where = ("projects", project)

    def show(form: FormState) -> Response:
        found = api.ask("GET", api.path(*where))
        return render_tab(
            "settings_project.html",
            project,
            "project",
            found=found.body,
            etag=form.etag(found.etag),
            form=form,
        )

    if request.method == "GET":
        return show(FormState())
    shell.check_may("administer")

    def act() -> Answer:
        body: dict[str, Any] = {name: typed(name) for name in ("name", "description")}
        body |= {name: _number(name, days) for name, days in DEFAULT_DAYS.items()}
        etag = request.form.get("etag")
        return api.ask("PUT", api.path(*where), body=body, if_match=etag, reason=typed("reason"))

    return attempt(act, show, lambda: done(request.path, "Saved."))
