"""Scheduled changes: made at a time, once or again and again."""

from __future__ import annotations

from typing import Any, Final
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell, words
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import (
    FormState,
    attempt,
    done,
    refuse,
    schedule_operations,
    typed,
)
from tidegate_server.dashboard.planned_actions import (
    action_sentence,
    changed_documents,
    every_words,
    planned_releases,
)
from tidegate_server.dashboard.rule_sentences import serve_words
from tidegate_server.documents.line_numbers import line_of, lines_of
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_yaml

PAGE: Final = 50

STATES: Final = (
    ("", "Everything"),
    ("scheduled", "To come"),
    ("done", "Done"),
    ("failed", "Failed"),
    ("missed", "Missed"),
    ("cancelled", "Cancelled"),
)

CHIPS: Final = {
    "scheduled": ("run", "clock", "Scheduled"),
    "done": ("good", "check", "Done"),
    "failed": ("bad", "warn", "Failed"),
    "missed": ("warn", "silent", "Missed"),
    "cancelled": ("draft", "x", "Cancelled"),
}
"""The class, the icon and the word of each state, also of a run."""

TARGETING: Final[tuple[str, ...]] = (
    *("enabled", "off_variant", "kill_variant", "default", "rules", "prerequisites"),
)
"""The fields of a targeting that people set."""


EXAMPLE: Final = """\
reason: Nobody is there to watch it.
every: {{time: "22:00", days: [fri]}}
timezone: UTC
operations:
- method: PUT
  path: /api/v1/projects/{project}/environments/production/flags/checkout
  body: {{enabled: false, off_variant: "off", default: {{variant: "off"}}}}
  if_match: "*"
"""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    base = "/p/<key:project>/schedules"
    blueprint.add_url_rule(base, view_func=list_schedules)
    blueprint.add_url_rule(f"{base}/new", view_func=new_schedule, methods=["GET", "POST"])
    blueprint.add_url_rule(f"{base}/new/yaml", view_func=schedule_yaml, methods=["GET", "POST"])
    blueprint.add_url_rule(f"{base}/<key:schedule>", view_func=schedule, methods=["GET", "POST"])


def list_schedules(project: str) -> Response:
    """Show the scheduled changes of a project, those with the next runs first."""
    state = request.args.get("state") or None
    page = api.get(
        *("projects", project, "scheduled-changes"),
        limit=PAGE,
        cursor=request.args.get("cursor"),
        state=state,
    )
    return shell.render(
        "schedules.html",
        shell.open_project(project, "changes"),
        project=project,
        lines=[
            (each, CHIPS[each["state"]], [action_sentence(act) for act in each["actions"]])
            for each in page["items"]
        ],
        chips=CHIPS,
        states=STATES,
        state=state,
        later=page["next_cursor"],
    )


def schedule(project: str, schedule: str) -> Response:
    """Show a scheduled change: when it runs, how its runs ended; cancel it."""
    frame = shell.open_project(project, "changes")
    where = ("projects", project, "scheduled-changes", schedule)

    def show(form: FormState) -> Response:
        found = api.get(*where)
        return shell.render(
            "schedule.html",
            frame,
            project=project,
            schedule=found,
            chip=CHIPS[found["state"]],
            chips=CHIPS,
            every=every_words(found["every"]),
            next_runs=[_on_clock(each, found["timezone"]) for each in found["next_runs"]],
            actions=[action_sentence(each) for each in found["actions"]],
            releases=planned_releases(found["operations"]),
            documents=changed_documents(found["changes"], project),
            form=form,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        return api.ask("POST", api.path(*where, "cancel"), body={"reason": typed("reason")})

    return attempt(act, show, lambda: done(request.path, "Cancelled: it does not run any more."))


def _on_clock(at: str, zone: str) -> str:
    """Return when a run is due, on the clock of the scheduled change: "Fri 4 Dec, 09:00"."""
    local = words.parse_instant(at).astimezone(ZoneInfo(zone))
    return f"{local:%a} {local.day} {local:%b}, {local:%H:%M}"


def new_schedule(project: str) -> Response:
    """Show the form of a scheduled change of a flag; make it."""
    shell.check_may("write")
    frame = shell.open_project(project, "changes")
    flag = typed("flag") or request.args.get("flag", "")
    environment = typed("environment") or request.args.get("environment", "")
    where = ("projects", project, "environments", environment, "flags", flag)

    def show(form: FormState) -> Response:
        definition = api.get_if_allowed("projects", project, "flags", flag) if flag else None
        targeting = api.get(*where) if definition and environment else None
        flags = [] if targeting else api.all_of("projects", project, "flags")
        return shell.render(
            "new_schedule.html",
            frame,
            project=project,
            flag=definition if targeting else None,
            environment=environment,
            targeting=targeting,
            may_kill=api.reader().allows(Permission.KILL, project, environment or None),
            serves=serve_words(targeting["default"]) if targeting else "",
            flags=flags,
            form=form,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        found = api.ask("GET", api.path(*where))
        return schedule_operations(project, [_operation(where, found, typed("change"))])

    return attempt(act, show, lambda: done(f"/p/{project}/schedules", "Scheduled."))


def schedule_yaml(project: str) -> Response:
    """Show the form of any scheduled change, as YAML; make it."""
    shell.check_may("write")
    frame = shell.open_project(project, "changes")
    source = request.form.get("source", "").replace("\r\n", "\n") or EXAMPLE.format(project=project)

    def show(form: FormState) -> Response:
        lines = lines_of(source) if form.pointers else {}
        wrong = [(line_of(lines, at), says) for at, says in form.pointers.items()]
        return shell.render(
            "schedule_yaml.html", frame, project=project, source=source, wrong=wrong, form=form
        )

    if request.method == "GET":
        return show(FormState())
    try:
        body = parse_yaml(source, "The scheduled change")
    except Unreadable as error:
        return refuse(show, {"source": error.message})

    path = api.path("projects", project, "scheduled-changes")
    return attempt(
        lambda: api.ask("POST", path, body=body),
        show,
        lambda: done(f"/p/{project}/schedules", "Scheduled."),
    )


def _operation(where: tuple[str, ...], found: Answer, change: str) -> dict[str, Any]:
    """Return the operation that makes a change: ``kill``, ``restore``, or as ``_changed``."""
    if change in ("kill", "restore"):
        return {"method": "POST", "path": api.path(*where, change), "body": {}}
    body = _changed(found.body, change)
    return {"method": "PUT", "path": api.path(*where), "body": body, "if_match": found.etag}


def _changed(targeting: dict[str, Any], change: str) -> dict[str, Any]:
    """Return a targeting after a change: ``on``, ``off`` or ``serve VARIANT``."""
    body = {name: targeting[name] for name in TARGETING}
    verb, _, variant = change.partition(" ")
    if verb == "serve":
        return {**body, "enabled": True, "default": {"variant": variant}}
    return {**body, "enabled": verb == "on"}
