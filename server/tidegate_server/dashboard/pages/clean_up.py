"""The end of a flag: out of the code, archived, and deleted."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, refuse, typed

MOST_USES = 30
"""How many places of a branch the page shows."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/e/<key:environment>/flags/<key:flag>/clean-up",
        view_func=clean_up,
        methods=["GET", "POST"],
    )


def clean_up(project: str, environment: str, flag: str) -> Response:
    """Show where code uses a flag, and how to remove it; archive it, bring it back or delete it."""
    frame = shell.open_place(project, environment, "flags")
    place = f"/p/{project}/e/{environment}/flags"
    where = ("projects", project, "flags", flag)
    found = api.ask("GET", api.path(*where))
    button = pressed()

    def show(form: FormState) -> Response:
        return shell.render(
            "clean_up.html",
            frame,
            flag=found.body,
            base=f"{place}/{flag}",
            uses=api.get_if_allowed(*where, "code-references"),
            most=MOST_USES,
            etag=form.etag(found.etag),
            form=form,
            pressed=button,
        )

    if request.method == "GET" or button not in ("archive", "unarchive", "delete"):
        return show(FormState())
    shell.check_may("write", shared=True)
    if button == "delete":
        if typed("confirm") != flag:
            return refuse(show, {"confirm": f"Type {flag} to delete it for good."})
        if not typed("reason"):
            return refuse(show, {"reason": "Say why; it stays in the audit log."})

    def act() -> Answer:
        sent: dict[str, Any] = {"if_match": typed("etag"), "reason": typed("reason")}
        if button == "delete":
            force = "true" if request.form.get("force") == "yes" else None
            return api.ask("DELETE", api.path(*where), query={"force": force}, **sent)
        return api.ask("POST", api.path(*where, button), **sent)

    says = {
        "archive": f"{flag} is archived: applications get the default in their code.",
        "unarchive": f"{flag} is back, as its targeting in each environment says.",
        "delete": f"{flag} is deleted.",
    }[button]
    return attempt(
        act, show, lambda: done(place if button == "delete" else f"{place}/{flag}", says)
    )
