"""Editing whom a flag serves what, and seeing who changes sides before saving."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, rule_forms, shell
from tidegate_server.dashboard.api import ApiProblem
from tidegate_server.dashboard.conflicts import find_conflict, with_theirs
from tidegate_server.dashboard.forms import (
    APPROVAL_REQUIRED,
    FormState,
    asks_when,
    carry_out,
    done,
    is_conflict,
    made_elsewhere,
    needed_approvals,
    pressed,
    refused,
    typed,
    typed_values,
)
from tidegate_server.dashboard.rule_forms import TargetingForm
from tidegate_server.dashboard.rule_sentences import COMPARES
from tidegate_server.dashboard.sides import sides, sides_part
from tidegate_server.dashboard.typed_numbers import whole_number


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/e/<key:environment>/flags/<key:flag>/rules",
        view_func=edit_rules,
        methods=["GET", "POST"],
    )


def edit_rules(project: str, environment: str, flag: str) -> Response:
    """Show the form of a targeting; change it as its buttons say; save it."""
    shell.check_may("write")
    frame = shell.open_place(project, environment, "flags")
    where = ("projects", project, "environments", environment, "flags", flag)
    definition = api.get("projects", project, "flags", flag)
    answer = api.ask("GET", api.path(*where))
    targeting, base = answer.body, f"/p/{project}/e/{environment}/flags/{flag}"

    def show(
        form: TargetingForm,
        errors: dict[str, str],
        *,
        problem: str = "",
        conflict: bool = False,
        approval: str = "",
        sent: FormState | None = None,
        status: int = HTTPStatus.OK,
        **more: Any,
    ) -> Response:
        kept = request.form if not conflict else {}
        return shell.render(
            "rules.html",
            frame,
            status=status,
            flag=definition,
            base=base,
            form=form,
            errors=errors,
            problem=problem,
            conflict=conflict,
            approval=approval,
            etag=kept.get("etag") or answer.etag,
            revision=request.form.get("revision") or targeting["revision"],
            sent=sent or FormState(typed_values()),
            compares=COMPARES,
            segments=api.all_of("projects", project, "segments"),
            flags=_other_flags(project, flag),
            variants=[each["key"] for each in definition["variants"]],
            released=targeting["release"],
            **more,
        )

    def preview(form: TargetingForm) -> Response:
        read = rule_forms.to_targeting(form)
        in_part = "part" in request.form
        if read.errors:
            if in_part:
                return sides_part(None, "Who changes sides is known when every field is filled in.")
            return show(form, read.errors, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        try:
            found = api.ask("POST", api.path(*where, "preview"), body=read.document).body
        except ApiProblem as problem:
            if problem.status == HTTPStatus.UNAUTHORIZED:
                raise
            if in_part:
                return sides_part(None, problem.detail)
            return show(form, _errors(problem, form), problem=problem.detail, status=problem.status)
        shown = sides(found, flag, targeting["off_variant"])
        return sides_part(shown) if in_part else show(form, {}, sides=shown, focus="preview")

    if request.method == "GET":
        return show(rule_forms.from_targeting(targeting), {})
    form = rule_forms.from_form(request.form)
    button = pressed("save")
    if button == "preview":
        return preview(form)
    if button not in ("save", "both"):
        changed = rule_forms.pressed(form, button)
        focus = rule_forms.goes_on_at(changed, button)
        return show(changed, {}, moved=_moved(changed, button), focus=focus)
    if asks_when():
        return show(form, {})
    read = rule_forms.to_targeting(form)
    if read.errors:
        return show(form, read.errors, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    document = with_theirs(where, read.document, button)
    if document is not read.document:
        form = rule_forms.from_targeting({**EMPTY, **document})
    try:
        saved = carry_out(
            lambda: api.ask(
                "PUT",
                api.path(*where),
                body=document,
                if_match=request.form.get("etag", answer.etag),
                reason=typed("reason"),
            )
        )
    except ApiProblem as problem:
        if problem.status == HTTPStatus.UNAUTHORIZED:
            raise
        errors = _errors(problem, form)
        if problem.slug == APPROVAL_REQUIRED:
            return show(form, errors, approval=needed_approvals(problem), status=problem.status)
        conflict = is_conflict(problem)
        return show(
            form,
            errors,
            problem=problem.detail,
            conflict=conflict,
            sent=refused(problem),
            between=find_conflict(where, typed("revision"), document) if conflict else None,
            status=problem.status,
        )
    return made_elsewhere(saved) or done(
        base, f"{flag}: saved whom it serves what in {environment}."
    )


EMPTY: Final[dict[str, Any]] = {"kill_variant": None, "rules": [], "prerequisites": []}
"""The fields of a targeting that may be left out."""


def _moved(form: TargetingForm, button: str) -> dict[str, Any] | None:
    """Return where a rule is after a button that moved it: its position from 0, and in words."""
    verb, *numbers = button.split()
    to, count = whole_number(numbers[-1]) if len(numbers) == 2 else None, len(form.rules)
    if verb != "move" or to is None or to >= count:
        return None
    called = form.rules[to].id or "It"
    return {"to": to, "says": f"{called} is now rule {to + 1} of {count}."}


def _errors(problem: ApiProblem, form: TargetingForm) -> dict[str, str]:
    return {
        rule_forms.field_of(pointer, form): detail for pointer, detail in problem.fields.items()
    }


def _other_flags(project: str, flag: str) -> list[str]:
    found = api.get("projects", project, "flags", limit=100)["items"]
    return [each["key"] for each in found if each["key"] != flag]
