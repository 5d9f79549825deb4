"""Uploading keys to a list of a segment, from a file."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell, words
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import (
    FormState,
    attempt,
    done,
    pressed,
    refuse,
    typed,
    typed_values,
)
from tidegate_server.web import session_cookies
from tidegate_server.web.backend import backend

LARGEST: Final = 64 * 1024 * 1024
"""The largest file that the page takes, in bytes; the command line takes larger ones."""

FORMS: Final = (
    ("text/plain", "a key on each line"),
    ("text/csv", "CSV with a column of keys"),
    ("application/x-ndjson", "NDJSON, a text or an object on each line"),
)
MODES: Final = (
    ("add", "join those that are there"),
    ("replace", "replace all that were uploaded before"),
    ("remove", "leave the list"),
)


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/segments/<key:segment>/upload",
        view_func=upload_keys,
        methods=["GET", "POST"],
    )


def upload_keys(project: str, segment: str) -> Response:
    """Show the form of an upload; pass the file on, or only say what it would change."""
    _allow_large_file()
    frame = shell.open_project(project, "segments")
    shell.check_may("write")
    where = ("projects", project, "segments", segment)
    found = api.get(*where)
    said: dict[str, Any] = {}

    def show(form: FormState) -> Response:
        return shell.render(
            "segment_upload.html",
            frame,
            project=project,
            segment=found,
            forms=FORMS,
            modes=MODES,
            said=said,
            largest=LARGEST // 1024**2,
            form=form,
        )

    if request.method == "GET":
        return show(FormState())
    file = request.files.get("file")
    if file is None or not file.filename:
        return refuse(show, {"file": "Choose the file."})
    dry_run = pressed() == "try"

    def act() -> Answer:
        answer = api.send_stream(
            api.path(*where, "keys"),
            file.stream,
            typed("form") or FORMS[0][0],
            query={
                "list": typed("list") or "included",
                "mode": typed("mode") or "add",
                "column": typed("column"),
                "dry_run": "true" if dry_run else None,
            },
            reason=typed("reason"),
        )
        said.update(answer.body)
        return answer

    def then() -> Response:
        if dry_run:
            return show(FormState(typed_values()))
        says = (
            f"{words.count(said['added'])} keys came, {words.count(said['removed'])} left; "
            f"the list has {words.count(said['count'])}."
        )
        return done(f"/p/{project}/segments/{segment}", says)

    return attempt(act, show, then)


def _allow_large_file() -> None:
    """Let somebody who is signed in send a file; nobody else may keep the server busy with one."""
    secret = session_cookies.session_secret()
    if request.method == "POST" and secret is not None:
        backend().authenticator.session(secret)
        request.max_content_length = LARGEST
