"""Segments: who is in one, and who uses it."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, rule_forms, rule_sentences, shell
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.conflicts import find_conflict, with_theirs
from tidegate_server.dashboard.forms import (
    FormState,
    attempt,
    done,
    pressed,
    refuse,
    typed,
    typed_values,
)
from tidegate_server.dashboard.object_history import latest_changes
from tidegate_server.dashboard.rule_forms import RuleForm, TargetingForm
from tidegate_server.dashboard.rule_sentences import COMPARES
from tidegate_server.dashboard.shell import Place
from tidegate_server.dashboard.sides import Sides, sides, sides_part

NOTHING = RuleForm(lines=())


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    project = "/p/<key:project>/segments"
    blueprint.add_url_rule(project, view_func=list_segments)
    for address in (f"{project}/new", f"{project}/<key:segment>/edit"):
        blueprint.add_url_rule(address, view_func=edit_segment, methods=["GET", "POST"])
    blueprint.add_url_rule(
        f"{project}/<key:segment>", view_func=show_segment, methods=["GET", "POST"]
    )


def list_segments(project: str) -> Response:
    """Show the segments of a project."""
    frame = shell.open_project(project, "segments")
    page = api.get("projects", project, "segments", limit=50, cursor=request.args.get("cursor"))
    return shell.render(
        "segments.html",
        frame,
        project=project,
        lines=[(each, _says(each, project)) for each in page["items"]],
        later=page["next_cursor"],
    )


def show_segment(project: str, segment: str) -> Response:
    """Show one segment: who is in it, who uses it; look for keys in it, or delete it."""
    frame = shell.open_project(project, "segments")
    where = ("projects", project, "segments", segment)
    answer = api.ask("GET", api.path(*where))
    found: list[dict[str, Any]] = []

    def show(form: FormState) -> Response:
        return shell.render(
            "segment.html",
            frame,
            project=project,
            base=f"/p/{project}/segments/{segment}",
            segment=answer.body,
            says=_says(answer.body, project),
            uses=[(each, _address(project, each)) for each in api.get(*where, "used-by")["items"]],
            reach=api.get(*where, "seen-users")["items"],
            found=found,
            history=latest_changes("segment", segment, project),
            etag=form.etag(answer.etag),
            form=form,
        )

    if request.method == "GET":
        return show(FormState())
    if pressed() != "delete":
        body = {"keys": _keys(typed("looked"))}
        try:
            found += api.ask("POST", api.path(*where, "keys", "lookup"), body=body).body["items"]
        except ApiProblem as problem:
            if problem.status == HTTPStatus.UNAUTHORIZED:
                raise
            return refuse(show, {"looked": "; ".join(problem.fields.values()) or problem.detail})
        return show(FormState(typed_values()))
    shell.check_may("write")
    if typed("confirm") != segment:
        return refuse(show, {"confirm": f"Type {segment} to delete it."})

    def act() -> Answer:
        return api.ask("DELETE", api.path(*where), if_match=typed("etag"), reason=typed("reason"))

    return attempt(act, show, lambda: done(f"/p/{project}/segments", f"{segment} is deleted."))


def _address(project: str, use: dict[str, Any]) -> str:
    """Return the address of the page of what uses a segment."""
    place = f"/p/{project}/e/{use['environment']}"
    return {
        "rule": f"{place}/flags/{use['key']}",
        "release": f"{place}/releases/{use['key']}",
        "policy": f"/p/{project}/policies/{use['key']}",
    }.get(use["kind"], f"/p/{project}/segments/{use['key']}")


def edit_segment(project: str, segment: str | None = None) -> Response:
    """Show the form of a segment; change its lines as its buttons say; save it."""
    frame = shell.open_project(project, "segments")
    shell.check_may("write")
    where = ("projects", project, "segments")
    answer = api.ask("GET", api.path(*where, segment)) if segment else None
    before: dict[str, Any] = answer.body if answer else {}
    made = segment or typed("key")
    condition = rule_forms.condition_form(before["when"]) if before.get("when") else NOTHING
    focus = ""
    body: dict[str, Any] = {}

    def show(form: FormState, found: Sides | None = None) -> Response:
        if form.conflict and segment:
            between = find_conflict((*where, segment), typed("revision"), body)
            form = replace(form, between=between)
        return shell.render(
            "segment_form.html",
            frame,
            project=project,
            segment=before,
            etag=form.etag(answer.etag if answer else ""),
            revision=form.values.get("revision", before.get("revision", "")),
            condition=condition,
            compares=COMPARES,
            segments=api.all_of(*where),
            sides=found,
            form=form,
            focus=focus,
        )

    if request.method == "GET":
        return show(FormState())
    button, in_part = pressed("save"), "part" in request.form
    typed_rule = TargetingForm(False, "", "", {}, (rule_forms.typed_rule(request.form, "rule-0-"),))
    changed = rule_forms.pressed(typed_rule, button)
    [condition] = changed.rules
    focus = rule_forms.goes_on_at(changed, button)
    if button not in ("save", "both", "preview"):
        return show(FormState(typed_values()))
    errors: dict[str, str] = {}
    body |= {name: typed(name) for name in ("name", "description")}
    body |= {name: _keys(typed(name)) for name in ("included", "excluded")}
    if condition.lines or condition.source:
        body["when"] = rule_forms.read_condition(condition, "rule-0-", errors)
    if errors and not in_part:
        return refuse(show, errors)
    if button == "preview":
        return _preview(frame.place, made, body, errors, show)

    def act() -> Answer:
        reason = typed("reason")
        if segment:
            document = with_theirs((*where, segment), {"key": made, **body}, button)
            path = api.path(*where, segment)
            return api.ask("PUT", path, body=document, if_match=typed("etag"), reason=reason)
        return api.ask("POST", api.path(*where), body={"key": made, **body}, reason=reason)

    return attempt(act, show, lambda: done(f"/p/{project}/segments/{made}", f"{made} is saved."))


def _preview(
    place: Place | None, segment: str, body: dict[str, Any], errors: dict[str, str], show: Any
) -> Response:
    """Say who would change sides in the place that the page names."""
    in_part = "part" in request.form
    if errors or place is None or not place.environment or not segment:
        return sides_part(None, "Who changes sides is known when every field is filled in.")
    where = ("projects", place.project, "environments", place.environment, "segments", segment)
    try:
        found = sides(api.ask("POST", api.path(*where, "preview"), body=body).body)
    except ApiProblem as problem:
        if problem.status == HTTPStatus.UNAUTHORIZED:
            raise
        if in_part:
            return sides_part(None, problem.detail)
        return show(FormState(typed_values(), {}, problem.detail))  # type: ignore[no-any-return]
    if in_part:
        return sides_part(found)
    return show(FormState(typed_values()), found)  # type: ignore[no-any-return]


def _keys(text: str) -> list[str]:
    """Return keys as typed, a line or a comma between two."""
    return [key.strip() for key in text.replace(",", "\n").splitlines() if key.strip()]


def _says(segment: dict[str, Any], project: str) -> Any:
    """Return the conditions of a segment in words; None: it has only keys."""
    when = segment.get("when")
    return rule_sentences.condition(when, project) if when else None
