"""Editing a policy: a form and its YAML, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, policy_forms, shell
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.conflicts import find_conflict, with_theirs
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, typed, typed_values
from tidegate_server.dashboard.pages.policies import as_yaml
from tidegate_server.dashboard.policy_forms import FieldErrors, PolicyForm
from tidegate_server.documents import shipped
from tidegate_server.documents.line_numbers import line_of, lines_of
from tidegate_server.documents.lint import LintResult, lint
from tidegate_server.domain.release_gates import Event
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_yaml


@dataclass(frozen=True, slots=True)
class FindingView:
    """What is wrong with a policy, or worth knowing: where, and in which words.

    ``kind`` is ``bad``, ``warn`` or empty: a hint.
    """

    kind: str
    line: int | None
    text: str
    says: str


@dataclass(frozen=True, slots=True)
class Source:
    """A policy as YAML.

    ``document`` is what it says; None: it cannot be read, and ``problem`` says why.
    """

    text: str
    document: Any
    problem: str = ""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    project = "/p/<key:project>/policies"
    for address in (f"{project}/new", f"{project}/<key:policy>/edit"):
        blueprint.add_url_rule(address, view_func=edit_policy, methods=["GET", "POST"])


def edit_policy(project: str, policy: str | None = None) -> Response:
    """Show a policy as a form and as YAML; bring both in step; save it."""
    frame = shell.open_project(project, "policies")
    shell.check_may("write")
    where = ("projects", project, "policies")
    answer = api.ask("GET", api.path(*where, policy)) if policy else None
    before = answer.body if answer else {}
    source = read_source(as_yaml(before) if answer else _template())
    fields = policy_forms.policy_form(source.document)

    def show(form: FormState) -> Response:
        if form.conflict and policy and isinstance(source.document, dict):
            between = find_conflict((*where, policy), typed("revision"), source.document)
            form = replace(form, between=between)
        found = None if source.document is None else lint(source.text, "The policy")
        return shell.render(
            "policy_form.html",
            frame,
            project=project,
            policy=policy,
            etag=form.etag(answer.etag if answer else ""),
            revision=form.values.get("revision", before.get("revision", "")),
            source=source.text,
            fields=fields,
            errors=_field_errors(fields, form, found),
            applicable=policy_forms.applicable,
            names=_names(project),
            events=[str(each) for each in Event],
            findings=[*_refused(form, source), *_findings(source, found)],
            form=form,
        )

    if request.method == "GET":
        return show(FormState())
    button = pressed("save")
    source, fields = _typed(button)
    if button not in ("save", "both"):
        return show(FormState(typed_values()))
    if source.document is None:
        response = show(FormState(typed_values()))
        response.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
        return response
    saved = {"key": policy or fields.fields["key"]}

    def act() -> Answer:
        body, reason = source.document, typed("reason")
        if policy:
            body = with_theirs((*where, policy), body, button)
            path = api.path(*where, policy)
            return api.ask("PUT", path, body=body, if_match=typed("etag"), reason=reason)
        return api.ask("POST", api.path(*where), body=body, reason=reason)

    def then() -> Response:
        return done(f"/p/{project}/policies/{saved['key']}", f"{saved['key']} is saved.")

    return attempt(act, show, then)


def _template() -> str:
    name = request.args.get("from", "standard")
    return shipped.text(name if shipped.is_shipped(name) else "standard")


def _typed(button: str) -> tuple[Source, PolicyForm]:
    """Return the YAML with what was changed in the form, and the form of both."""
    source = read_source(request.form.get("source", "").replace("\r\n", "\n"))
    typed_form = policy_forms.typed_form(request.form, button)
    if not isinstance(source.document, dict):
        return source, typed_form
    document = policy_forms.with_changes(source.document, typed_form, request.form.get("shown", ""))
    if document != source.document:
        source = read_source(as_yaml(document))
    return source, policy_forms.policy_form(document, typed_form.focus)


def read_source(text: str) -> Source:
    """Return a policy that was written as YAML."""
    try:
        return Source(text, parse_yaml(text, "The policy"))
    except Unreadable as error:
        return Source(text, None, error.message)


def _names(project: str) -> dict[str, list[str]]:
    """Return the keys of what a policy may name, as far as its reader may see them."""
    found = {
        kind: api.get_if_allowed("projects", project, kind, limit=100)
        for kind in ("segments", "webhooks")
    }
    return {
        kind: [each["key"] for each in page["items"]] if page else []
        for kind, page in found.items()
    }


def _field_errors(fields: PolicyForm, form: FormState, found: LintResult | None) -> dict[str, str]:
    """Return what is wrong beside each field of the form: first what the API refused."""
    errors = FieldErrors(fields)
    for pointer, detail in form.pointers.items():
        errors.add(pointer, detail)
    for each in found.findings if found else ():
        if not each.warning:
            errors.add(each.pointer, each.detail)
    return errors.messages


def _findings(source: Source, found: LintResult | None) -> list[FindingView]:
    """Return what is wrong with a policy, its risks, and what its writer may not expect."""
    if found is None:
        return [FindingView("bad", None, "", source.problem)]
    views = [
        _view("warn" if each.warning else "bad", each.line, each.detail, source.text)
        for each in found.findings
        # The project may have what the policy names; saving tells.
        if not each.detail.startswith("The project needs")
    ]
    views += [_view("", each.line, each.detail, source.text) for each in found.hints]
    return views


def _refused(form: FormState, source: Source) -> list[FindingView]:
    """Return what the API refused, at its lines."""
    lines = lines_of(source.text)
    return [
        _view("bad", line_of(lines, pointer), detail, source.text)
        for pointer, detail in form.pointers.items()
    ]


def _view(kind: str, line: int | None, says: str, text: str) -> FindingView:
    lines = text.splitlines()
    shown = lines[line - 1].strip() if line is not None and line <= len(lines) else ""
    return FindingView(kind, line, shown, says)
