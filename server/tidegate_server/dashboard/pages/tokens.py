"""Settings: tokens, with which programs act in a role."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, confirmation
from tidegate_server.dashboard.access_words import PERMISSION_WORDS, ROLE_WORDS
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.confirmation import Question
from tidegate_server.dashboard.forms import FormState, attempt, refuse, typed
from tidegate_server.dashboard.grant_forms import (
    Choice,
    beside_fields,
    chosen_permissions,
    parse_place,
    places_to_give,
)
from tidegate_server.dashboard.object_history import latest_changes
from tidegate_server.dashboard.pages.settings import BASE, render_tab
from tidegate_server.dashboard.shell import now
from tidegate_server.dashboard.typed_numbers import whole_number
from tidegate_server.dashboard.words import ago
from tidegate_server.domain.permissions import EVALUATING, PERMISSIONS, Permission, Role

TOKEN: Final = f"{BASE}/tokens/<key:token>"

OF_PROGRAMS: Final = {
    "sdk": "an application with the SDK, in one environment",
    "client": "pages and apps, in one environment; everybody can read it",
}
OF_PEOPLE: Final = ("developer", "responder", "release_manager", "viewer", "admin")
OVERLAPS: Final = (
    Choice("1h", "for another hour"),
    Choice("24h", "for another day"),
    Choice("7d", "for another week"),
    Choice("0s", "no longer: it stops now"),
)
"""How long the secret until now still works."""

EXPIRIES: Final = (
    Choice("90d", "90 days"),
    Choice("30d", "30 days"),
    Choice("7d", "7 days"),
    Choice("365d", "a year"),
    Choice("", "until it is revoked"),
)

Json = dict[str, Any]


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    both = ["GET", "POST"]
    blueprint.add_url_rule(f"{BASE}/tokens", view_func=tokens, methods=both)
    blueprint.add_url_rule(TOKEN, view_func=show_token, methods=both)
    blueprint.add_url_rule(f"{TOKEN}/revoke", view_func=revoke_token, methods=both)


def tokens(project: str) -> Response:
    """Show the tokens of a project; make one, whose secret only the answer shows."""
    made: Json = {}

    def show(form: FormState) -> Response:
        return render_tab(
            "settings_tokens.html",
            project,
            "tokens",
            items=[each for each in api.all_of("tokens") if each["project"] in (None, project)],
            roles=_roles_to_give(project),
            places=places_to_give(project),
            expiries=EXPIRIES,
            permissions=_permissions_to_give(project),
            chosen=chosen_permissions(),
            form=form,
            made=made,
        )

    if request.method == "GET":
        return show(FormState())
    if not typed("where"):
        return refuse(show, {"where": "Say where it works."})

    def act() -> Answer:
        with beside_fields():
            answer = api.ask("POST", api.path("tokens"), body=_typed(), reason=typed("reason"))
        made.update(answer.body)
        return answer

    return attempt(act, show, lambda: show(FormState()))


def show_token(project: str, token: str) -> Response:
    """Show a token; give it another secret, which only the answer shows."""
    made: Json = {}

    def show(form: FormState) -> Response:
        found = api.ask("GET", api.path("tokens", token))
        return render_tab(
            "settings_token.html",
            project,
            "tokens",
            token=found.body,
            etag=form.etag(found.etag),
            words=PERMISSION_WORDS,
            overlaps=OVERLAPS,
            history=latest_changes("token", token),
            form=form,
            made=made,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        answer = api.ask(
            "POST",
            api.path("tokens", token, "rotate"),
            body={"overlap": typed("overlap") or "1h"},
            reason=typed("reason"),
        )
        made.update(answer.body)
        return answer

    return attempt(act, show, lambda: show(FormState()))


def revoke_token(project: str, token: str) -> Response:
    """Ask whether to revoke a token; do it."""
    found = api.get("tokens", token)

    def act() -> Answer:
        address = api.path("tokens", token)
        etag = api.ask("GET", address).etag
        return api.ask("DELETE", address, if_match=etag, reason=typed("reason"))

    here, listed = f"/p/{project}/settings/tokens/{token}", f"/p/{project}/settings/tokens"
    question = Question(
        f"Revoke {found['name']}?",
        (
            ("x", "What uses it is refused within 2 s; open streams end within a minute."),
            ("clock", _last_use(found)),
            ("key", "A revoked token never works again. To change its secret, rotate it."),
        ),
        "Revoke",
        "x",
        here,
        ((listed, "Tokens"), (here, found["name"])),
        listed,
        "Revoked: it stops everywhere within 2 s.",
    )
    return confirmation.ask(project, question, act)


def _last_use(token: Json) -> str:
    if token["last_used_at"] is None:
        return "Nobody has used it, as far as is known."
    when = ago(token["last_used_at"], now())
    where = f" from {token['last_used_from']}" if token["last_used_from"] else ""
    return f"It was last used {'just now' if when == 'now' else when}{where}."


def _typed() -> Json:
    project, environment = parse_place(typed("where"))
    networks = typed("networks").replace(",", " ").split()
    body: Json = {
        **{"name": typed("name"), "role": typed("role"), "owner": typed("owner")},
        **{"project": project, "environment": environment, "whole_server": project is None},
    }
    if networks:
        body["networks"] = networks
    if typed("expires_in"):
        body["expires_in"] = typed("expires_in")
    if typed("role") == Role.CUSTOM:
        body["permissions"] = chosen_permissions()
    if typed("role") in EVALUATING and typed("rate_limit"):
        limit = typed("rate_limit").replace(",", "")
        number = whole_number(limit)
        body["rate_limit"] = limit if number is None else number
    return body


def _roles_to_give(project: str) -> list[Choice]:
    """Return the kinds of tokens that the reader may make in some place of the project."""
    reader = api.reader()
    found = [
        Choice(role, f"{role.replace('_', ' ')}: {ROLE_WORDS[role]}")
        for role in OF_PEOPLE
        if all(reader.has_anywhere(each, project) for each in PERMISSIONS[Role(role)])
    ]
    evaluating = [Choice(role, f"{role}: {says}") for role, says in OF_PROGRAMS.items()]
    return [*evaluating, *found, Choice("custom", "custom: the permissions that you choose")]


def _permissions_to_give(project: str) -> list[tuple[str, str]]:
    reader = api.reader()
    return [
        (permission.value, says)
        for permission, says in PERMISSION_WORDS
        if reader.has_anywhere(Permission(permission), project)
    ]
