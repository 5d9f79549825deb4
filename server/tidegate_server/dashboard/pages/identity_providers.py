"""Settings: identity providers, with which people sign in to this server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, confirmation
from tidegate_server.dashboard.access_words import ROLE_WORDS, grant_name
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.confirmation import Question
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, typed
from tidegate_server.dashboard.grant_forms import (
    Choice,
    change,
    may_give_role,
    place_value,
    places_to_give,
    roles_to_give,
    typed_grant,
)
from tidegate_server.dashboard.pages.settings import BASE, render_tab
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import Forbidden

TAB: Final = "identity-providers"
PROVIDER: Final = f"{BASE}/{TAB}/<key:provider>"
TEXTS: Final = ("name", "issuer", "client_id", "groups_claim")
BOXES: Final = ("enabled", "create_people", "require_verified_email")
SET: Final = (*TEXTS, *BOXES, "scopes", "email_domains", "group_mappings")
"""The fields of an identity provider that a change sends."""

SAYS: Final = {
    "save": "Saved.",
    "secret": "Saved.",
    "forget": "Forgotten.",
    "map": "Given: members have it from their next sign-in on.",
    "map-group": "Given: members have it from their next sign-in on.",
    "unmap": "Taken away: members lose it within 2 s.",
}
"""What the page says once when a button has done its work."""

Json = dict[str, Any]


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    both = ["GET", "POST"]
    blueprint.add_url_rule(f"{BASE}/{TAB}", view_func=identity_providers, methods=both)
    blueprint.add_url_rule(PROVIDER, view_func=identity_provider, methods=both)
    blueprint.add_url_rule(f"{PROVIDER}/delete", view_func=delete_provider, methods=both)


def identity_providers(project: str) -> Response:
    """Show the identity providers; connect one."""
    _check_may()

    def show(form: FormState) -> Response:
        return render_tab(
            "settings_identity_providers.html",
            project,
            TAB,
            items=api.all_of(TAB),
            redirect_uri=f"{request.host_url}sign-in/with/KEY/callback",
            form=form,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        body = {name: typed(name) for name in ("key", "name", "issuer", "client_id")}
        return api.ask("POST", api.path(TAB), body=body, reason=typed("reason"))

    def then() -> Response:
        return done(_address(project, typed("key")), f"{typed('key')} is connected; it needs more.")

    return attempt(act, show, then)


def identity_provider(project: str, provider: str) -> Response:
    """Show an identity provider; change it, keep its secret, try whether it answers."""
    _check_may()
    button = pressed()
    tried: Json = {}

    def show(form: FormState) -> Response:
        found = api.ask("GET", api.path(TAB, provider))
        places, custom = places_to_give(project), api.all_of("roles")
        groups = {each["key"]: each for each in api.all_of("groups")}
        return render_tab(
            "settings_identity_provider.html",
            project,
            TAB,
            provider=found.body,
            mappings=_mappings(found.body["group_mappings"], custom, groups),
            groups=[Choice(key, key) for key in groups],
            etag=form.etag(found.etag),
            chosen=_chosen(found.body) if button != "save" else request.form,
            tried=tried,
            roles=roles_to_give(places),
            places=places,
            forms={button: form},
            blank=FormState(),
        )

    def act() -> Answer:
        if button == "test":
            answer = api.ask("POST", api.path(TAB, provider, "test"))
            tried.update(answer.body)
            return answer
        secret = api.path(TAB, provider, "client-secret")
        if button == "secret":
            body = {"client_secret": typed("client_secret")}
            return api.ask("PUT", secret, body=body, reason=typed("reason"))
        if button == "forget":
            return api.ask("DELETE", secret, reason=typed("reason"))
        return change((TAB, provider), SET, lambda body: _changed(body, button), typed("etag"))

    if button not in (*SAYS, "test"):
        return show(FormState())
    if button == "test":
        return attempt(act, show, lambda: show(FormState()))
    return attempt(act, show, lambda: done(_address(project, provider), SAYS[button]))


def delete_provider(project: str, provider: str) -> Response:
    """Ask whether to remove an identity provider; remove it."""
    _check_may()
    title = api.get(TAB, provider)["name"] or provider
    effects = (
        ("people", f"Nobody signs in with {title} any more, and its sessions end within 2 s."),
        ("key", "Its groups give nothing any more, and its client secret is forgotten."),
    )
    home = f"/p/{project}/settings/{TAB}"
    question = Question(
        f"Remove {title}?",
        effects,
        "Remove",
        "x",
        _address(project, provider),
        ((home, "Sign-in"), (_address(project, provider), title)),
        home,
        f"{title} is removed.",
    )
    return confirmation.ask_to_delete(project, question, TAB, provider)


def _check_may() -> None:
    """Raises ``Forbidden`` unless the reader administers the whole server."""
    if not api.reader().allows(Permission.ADMINISTER, None, None):
        raise Forbidden("Identity providers need the permission to administer the whole server.")


def _chosen(provider: Mapping[str, Any]) -> dict[str, str]:
    """Return which boxes are ticked: ``yes`` or nothing."""
    return {name: "yes" if provider[name] else "" for name in BOXES}


def _changed(body: Json, button: str) -> Json:
    """Return an identity provider as its form changes it."""
    if button in ("map", "map-group"):
        return {**body, "group_mappings": _with_gift(body["group_mappings"], button == "map")}
    if button == "unmap":
        return {**body, "group_mappings": _without_gift(body["group_mappings"])}
    return {
        **body,
        **{name: typed(name) for name in TEXTS},
        **{name: request.form.get(name) == "yes" for name in BOXES},
        "scopes": typed("scopes").split(),
        "email_domains": typed("email_domains").split(),
    }


@dataclass(frozen=True, slots=True)
class Gift:
    """What a group of a provider gives: a role in a place, or a group here.

    Attributes:
        value: names it in a form.
        title: the role and its place, or the group.
        says: what that allows, in words.
        may_take: whether the reader may take it away.
    """

    value: str
    title: str
    says: str
    may_take: bool


def _mappings(
    mappings: Sequence[Json], roles: Sequence[Json], groups: Mapping[str, Json]
) -> list[tuple[str, list[Gift]]]:
    """Return each group of the provider with what it gives, by name."""
    custom = {each["key"]: ", ".join(each["permissions"]) for each in roles}
    found = []
    for mapping in sorted(mappings, key=lambda each: str(each["provider_group"])):
        gifts = [
            Gift(
                f"group {key}",
                f"the group {key}",
                ", ".join(map(grant_name, groups[key]["grants"])) if key in groups else "",
                key in groups and all(may_give_role(each, roles) for each in groups[key]["grants"]),
            )
            for key in mapping["groups"]
        ]
        gifts += [
            Gift(
                f"role {_grant_value(each)}",
                grant_name(each),
                ROLE_WORDS.get(each["role"]) or custom.get(each["role"], ""),
                may_give_role(each, roles),
            )
            for each in mapping["grants"]
        ]
        found.append((mapping["provider_group"], gifts))
    return found


def _grant_value(grant: Mapping[str, Any]) -> str:
    return f"{grant['role']} {place_value(grant['project'], grant['environment'])}"


def _with_gift(mappings: Sequence[Json], is_role: bool) -> list[Json]:
    """Return mappings with what a form gives to a group, besides what that has.

    Raises:
        ApiProblem: it has it already.
    """
    name = typed("provider_group")
    present = {"provider_group": name, "groups": [], "grants": []}
    present = next((each for each in mappings if each["provider_group"] == name), present)
    field, new = ("grants", typed_grant()) if is_role else ("groups", typed("group"))
    if new in present[field]:
        says = f"{name} gives this already."
        error = {"pointer": "/role" if is_role else "/group", "detail": says}
        raise ApiProblem(HTTPStatus.CONFLICT, {"detail": says, "errors": [error]})
    more = {**present, field: [*present[field], new]}
    return [*(each for each in mappings if each["provider_group"] != name), more]


def _without_gift(mappings: Sequence[Json]) -> list[Json]:
    """Return mappings without what a form takes from a group; a group without any is left out."""
    name, taken = typed("mapping"), typed("gives")
    kept = []
    for each in mappings:
        if each["provider_group"] == name:
            # By what it is: somebody else may have taken away another one.
            each = {
                **each,
                "groups": [key for key in each["groups"] if taken != f"group {key}"],
                "grants": [one for one in each["grants"] if taken != f"role {_grant_value(one)}"],
            }
            if not each["groups"] and not each["grants"]:
                continue
        kept.append(each)
    return kept


def _address(project: str, provider: str) -> str:
    return f"/p/{project}/settings/{TAB}/{provider}"
