"""Settings: the people of the server; invite one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import FormState, attempt, typed
from tidegate_server.dashboard.grant_forms import (
    beside_fields,
    places_to_give,
    roles_to_give,
    typed_grant,
)
from tidegate_server.dashboard.pages.settings import BASE, render_tab


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(f"{BASE}/people", view_func=people, methods=["GET", "POST"])


def people(project: str) -> Response:
    """Show the people; invite one by a link that only the answer shows."""
    made: dict[str, Any] = {}

    def show(form: FormState) -> Response:
        places = places_to_give(project)
        return render_tab(
            "settings_people.html",
            project,
            "people",
            items=_found(api.all_of("people"), request.args.get("q", "")),
            asked=request.args.get("q", ""),
            roles=roles_to_give(places),
            places=places,
            form=form,
            made=made,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        body = {"email": typed("email"), "name": typed("name"), "grants": [typed_grant()]}
        with beside_fields():
            created = api.ask("POST", api.path("people"), body=body, reason=typed("reason"))
        if created.status == HTTPStatus.ACCEPTED:
            return created  # other people approve it first
        answer = invite(created.body["id"])
        made.update(answer.body)
        return answer

    return attempt(act, show, lambda: show(FormState()))


def invite(person: str) -> Answer:
    """Make a link with which a person sets a password; only the answer has it."""
    return api.ask("POST", api.path("people", person, "invitation"), body={})


def _found(items: list[dict[str, Any]], asked: str) -> list[dict[str, Any]]:
    """Return those whose name or email contains a text, by name."""
    text = asked.strip().casefold()
    found = [each for each in items if text in f"{each['name']} {each['email']}".casefold()]
    return sorted(found, key=lambda each: (each["name"] or each["email"]).casefold())
