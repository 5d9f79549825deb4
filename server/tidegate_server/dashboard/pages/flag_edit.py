"""Editing what a flag is: its name, owner, tags and variants, the same in every environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell, variant_forms
from tidegate_server.dashboard.api import Answer
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


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/e/<key:environment>/flags/<key:flag>/edit",
        view_func=edit_flag,
        methods=["GET", "POST"],
    )


def edit_flag(project: str, environment: str, flag: str) -> Response:
    """Show the form of a flag's definition; change its lines as its buttons say; save it."""
    frame = shell.open_place(project, environment, "flags")
    shell.check_may("write", shared=True)
    where = ("projects", project, "flags", flag)
    answer = api.ask("GET", api.path(*where))
    before, base = answer.body, f"/p/{project}/e/{environment}/flags/{flag}"
    button = pressed("save")
    lines = variant_forms.variant_lines(before)
    body: dict[str, Any] = {}

    def show(form: FormState) -> Response:
        if form.conflict:
            form = replace(form, between=find_conflict(where, typed("revision"), body))
        return shell.render(
            "flag_edit.html",
            frame,
            flag=before,
            base=base,
            form=form,
            lines=lines,
            etag=form.etag(answer.etag),
            revision=form.values.get("revision", before["revision"]),
            metadata=variant_forms.metadata_lines(before["metadata"]),
            edited=request.method == "POST",
            focus=variant_forms.goes_on_at(lines, button),
        )

    if request.method == "GET":
        return show(FormState())
    lines = variant_forms.typed_variants(request.form, button)
    if button not in ("save", "both"):
        return show(FormState(typed_values()))
    read = variant_forms.read_variants(lines, before["type"])
    errors = read.errors
    try:
        metadata = variant_forms.read_metadata(typed("metadata"))
    except ValueError as error:
        metadata, errors["metadata"] = {}, str(error)
    if errors:
        return refuse(show, errors)
    body |= {
        **{name: before[name] for name in ("key", "type", "salt")},
        **{name: typed(name) for name in ("name", "owner")},
        "description": typed("description").replace("\r\n", "\n"),
        "tags": tags(typed("tags")),
        "temporary": request.form.get("temporary") == "yes",
        "expected_end": typed("expected_end") or None,
        "client_side": request.form.get("client_side") == "yes",
        "metadata": metadata,
        "variants": read.variants,
    }

    def act() -> Answer:
        document = with_theirs(where, body, button)
        return api.ask(
            "PUT",
            api.path(*where),
            body=document,
            if_match=typed("etag"),
            reason=typed("reason"),
        )

    return attempt(act, show, lambda: done(base, f"{flag} is saved, in every environment."))


def tags(text: str) -> list[str]:
    """Return tags as typed, with commas."""
    return list(dict.fromkeys(tag.strip() for tag in text.split(",") if tag.strip()))
