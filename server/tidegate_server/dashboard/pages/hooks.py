"""Settings: hooks, by which alerts kill, pause or roll back."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import FormState, attempt, done, typed
from tidegate_server.dashboard.pages.settings import BASE, ask_to_delete, render_tab
from tidegate_server.domain.permissions import Permission

KINDS: Final = (
    ("alertmanager", "Alertmanager"),
    ("datadog", "Datadog"),
    ("grafana", "Grafana"),
    ("generic", "anything else"),
)

ACTIONS: Final = (
    ("hold", "pauses the release"),
    ("rollback", "rolls the release back"),
    ("kill", "kills the flag"),
)
"""What a firing alert does to each flag."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    item = f"{BASE}/hooks/<key:hook>"
    both = ["GET", "POST"]
    blueprint.add_url_rule(f"{BASE}/hooks", view_func=hooks, methods=both)
    blueprint.add_url_rule(item, view_func=show_hook, methods=both)
    blueprint.add_url_rule(f"{item}/delete", view_func=delete_hook, methods=both)


def hooks(project: str) -> Response:
    """Show the hooks of a project; make one, whose secret only the answer shows."""
    where = ("projects", project, "hooks")
    made: dict[str, Any] = {}

    def show(form: FormState) -> Response:
        return render_tab(
            "settings_hooks.html",
            project,
            "hooks",
            items=api.all_of(*where),
            hook={},
            form=form,
            made=made,
            origin=request.host_url.rstrip("/"),
            **_choices(project),
        )

    if request.method == "GET":
        return show(FormState())
    _check_may_write(project)

    def act() -> Answer:
        answer = api.ask("POST", api.path(*where), body=_body(), reason=typed("reason"))
        made.update(answer.body)
        return answer

    return attempt(act, show, lambda: show(FormState()))


def show_hook(project: str, hook: str) -> Response:
    """Show a hook with the last alerts and what each did; change it."""
    where = ("projects", project, "hooks", hook)

    def show(form: FormState) -> Response:
        found = api.ask("GET", api.path(*where))
        return render_tab(
            "settings_hook.html",
            project,
            "hooks",
            hook=found.body,
            etag=form.etag(found.etag),
            alerts=api.get(*where, "alerts")["items"],
            form=form,
            origin=request.host_url.rstrip("/"),
            **_choices(project),
        )

    if request.method == "GET":
        return show(FormState())
    _check_may_write(project)

    def act() -> Answer:
        body = {**_body(), "enabled": request.form.get("enabled") == "yes"}
        return api.ask("PUT", api.path(*where), body=body, if_match=request.form.get("etag"))

    return attempt(act, show, lambda: done(request.path, "Saved."))


def _check_may_write(project: str) -> None:
    """Refuse a form of somebody who may do nowhere what a hook does, whatever they typed.

    Raises:
        Forbidden: they may not.
    """
    shell.check_may("write")
    if not _choices(project)["environments"]:
        shell.check_may("kill")


def _choices(project: str) -> dict[str, Any]:
    """Return what a hook may be; its environment: where the reader may do what it does."""
    reader = api.reader()
    environments = [
        each["key"]
        for each in api.all_of("projects", project, "environments")
        if reader.allows(Permission.KILL, project, each["key"])
    ]
    return {"kinds": KINDS, "actions": ACTIONS, "environments": environments}


def _body() -> dict[str, Any]:
    return {
        **{name: typed(name) for name in ("name", "kind", "action", "environment", "description")},
        "flags": typed("flags").replace(",", " ").split(),
    }


def delete_hook(project: str, hook: str) -> Response:
    """Ask whether to delete a hook; delete it."""
    shell.check_may("write")
    found = api.get("projects", project, "hooks", hook)
    says = "Its secret stops working at once: alerts are refused, and do nothing."
    return ask_to_delete(project, "hooks", hook, f"hook {found['name']}", says)
