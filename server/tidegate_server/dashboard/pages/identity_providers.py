"""Settings: identity providers, with which people sign in to this server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, confirmation
from tidegate_server.dashboard.access_words import grant_name
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.confirmation import Question
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, typed
from tidegate_server.dashboard.grant_forms import (
    change,
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
        places = places_to_give(project)
        return render_tab(
            "settings_identity_provider.html",
            project,
            TAB,
            provider=found.body,
            mappings=[_mapping_words(each) for each in found.body["group_mappings"]],
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

    if button not in ("save", "map", "unmap", "secret", "forget", "test"):
        return show(FormState())
    if button == "test":
        return attempt(act, show, lambda: show(FormState()))
    return attempt(act, show, lambda: done(_address(project, provider), "Saved."))


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
    mappings: list[Json] = list(body["group_mappings"])
    if button == "map":
        new = {"provider_group": typed("provider_group"), "groups": [], "grants": [typed_grant()]}
        return {**body, "group_mappings": [*mappings, new]}
    if button == "unmap":
        # By what it is: somebody else may have taken away another one.
        kept = [each for each in mappings if each["provider_group"] != typed("mapping")]
        return {**body, "group_mappings": kept}
    return {
        **body,
        **{name: typed(name) for name in TEXTS},
        **{name: request.form.get(name) == "yes" for name in BOXES},
        "scopes": typed("scopes").split(),
        "email_domains": typed("email_domains").split(),
    }


def _mapping_words(mapping: Json) -> tuple[str, str]:
    """Return a group of the provider, and in words what its members get."""
    given = [f"the group {each}" for each in mapping["groups"]]
    return mapping["provider_group"], ", ".join([*given, *map(grant_name, mapping["grants"])])


def _address(project: str, provider: str) -> str:
    return f"/p/{project}/settings/{TAB}/{provider}"
