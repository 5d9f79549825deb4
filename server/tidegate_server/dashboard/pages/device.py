"""Signing in the command line of another machine: compare its code, then approve it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, make_response, render_template, request

from tidegate_server.dashboard import api
from tidegate_server.dashboard.api import ApiProblem
from tidegate_server.dashboard.forms import FormState, typed

APPROVED, REFUSED = "approve", "refuse"


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule("/device", view_func=device)
    blueprint.add_url_rule("/device", view_func=decide, methods=["POST"])


def device() -> Response:
    """Ask for the code, or show what waits with the code in the address."""
    reader = api.reader().known_as
    code = request.args.get("code", "").strip()
    if not code:
        return _render(reader, FormState())
    return _show(reader, code)


def decide() -> Response:
    """Approve or refuse what waits with a code."""
    reader = api.reader().known_as
    code, decision = typed("code"), request.form.get("decision", "")
    if decision not in (APPROVED, REFUSED):
        return _show(reader, code)
    try:
        api.ask("POST", api.path("device-sign-ins", code, decision))
    except ApiProblem as problem:
        return _refused(reader, code, problem)
    return _render(reader, FormState(), decided=decision)


def _show(reader: str, code: str) -> Response:
    try:
        waiting = api.get("device-sign-ins", code or "-")
    except ApiProblem as problem:
        return _refused(reader, code, problem)
    return _render(reader, FormState(), waiting=waiting)


def _refused(reader: str, code: str, problem: ApiProblem) -> Response:
    if problem.status == HTTPStatus.UNAUTHORIZED:
        raise problem
    form = FormState({"code": code}, {"code": problem.detail})
    return _render(reader, form, status=problem.status)


def _render(
    reader: str, form: FormState, *, status: int = HTTPStatus.OK, **values: Any
) -> Response:
    here = request.remote_addr or ""
    page = render_template("device.html", reader=reader, form=form, here=here, **values)
    return make_response(page, status)
