"""Making a flag."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import FormState, attempt, done, refuse, typed
from tidegate_server.dashboard.pages.flag_edit import tags
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_json

TYPES: Final = (
    ("boolean", "on or off"),
    ("string", "a text"),
    ("number", "a number"),
    ("object", "a JSON object"),
)


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/e/<key:environment>/flags/new",
        view_func=new_flag,
        methods=["GET", "POST"],
    )


def new_flag(project: str, environment: str) -> Response:
    """Show the form of a new flag; make it."""
    shell.check_may("write", shared=True)
    frame = shell.open_place(project, environment, "flags")

    def show(form: FormState) -> Response:
        asked = request.args.get("key", "")
        return shell.render("new_flag.html", frame, form=form, types=TYPES, asked=asked)

    if request.method == "GET":
        return show(FormState())
    try:
        body = _body()
    except ValueError as error:
        return refuse(show, {"variants": str(error)})

    def act() -> Answer:
        where = api.path("projects", project, "flags")
        return api.ask("POST", where, body=body, reason=typed("reason"))

    base = f"/p/{project}/e/{environment}/flags/{typed('key')}"
    return attempt(
        act,
        show,
        lambda: done(base, f"{typed('key')} is made; it serves the same as before."),
    )


def _body() -> dict[str, Any]:
    """Return the flag as typed.

    Raises:
        ValueError: its variants cannot be read; the message says which line.
    """
    body: dict[str, Any] = {
        "key": typed("key"),
        "type": request.form.get("type", "boolean"),
        "name": typed("name"),
        "description": typed("description"),
        "owner": typed("owner"),
        "tags": tags(typed("tags")),
        "client_side": request.form.get("client_side") == "yes",
        "temporary": request.form.get("temporary") == "yes",
        "expected_end": typed("expected_end") or None,
    }
    if body["type"] != "boolean":
        body["variants"] = [{"key": key, "value": value} for key, value in _variants(body["type"])]
    return body


def _variants(type: str) -> list[tuple[str, Any]]:
    """Return the variants as typed: a line each, "key = value", values of texts as they are.

    Raises:
        ValueError: a line cannot be read; the message says which.
    """
    found = []
    for number, line in enumerate(typed("variants").splitlines(), 1):
        if not line.strip():
            continue
        key, equals, text = (part.strip() for part in line.partition("="))
        if not equals:
            raise ValueError(f"Line {number}: write the key, =, and the value.")
        if type == "string":
            found.append((key, text))
            continue
        try:
            found.append((key, parse_json(text, "This")))
        except Unreadable:
            raise ValueError(f"Line {number}: {text[:100]} is not JSON.") from None
    return found
