"""Settings: one person: what they may do, how they sign in, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, confirmation
from tidegate_server.dashboard.access_words import grant_name
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.confirmation import Question
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, typed
from tidegate_server.dashboard.grant_forms import (
    change,
    may_give_role,
    named_grant,
    places_to_give,
    roles_to_give,
    typed_grant,
)
from tidegate_server.dashboard.object_history import latest_changes
from tidegate_server.dashboard.pages.people import invite
from tidegate_server.dashboard.pages.settings import BASE, render_tab

PERSON = f"{BASE}/people/<key:person>"
SET = ("email", "name", "active", "grants", "groups")
"""The fields of a person that a change sends."""

Json = dict[str, Any]


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(PERSON, view_func=show_person, methods=["GET", "POST"])
    acts: tuple[tuple[str, Callable[..., Response]], ...] = (
        ("withdraw", withdraw_from_person),
        ("deactivate", deactivate_person),
        ("delete", delete_person),
        ("reset-second-factor", reset_second_factor_of_person),
        ("end-sessions", end_sessions_of_person),
        ("unlink", unlink_identity_of_person),
    )
    for name, view in acts:
        blueprint.add_url_rule(f"{PERSON}/{name}", view_func=view, methods=["GET", "POST"])


def show_person(project: str, person: str) -> Response:
    """Show a person; change their details, roles or groups, or invite them again."""
    made: Json = {}
    posted = pressed()

    def show(form: FormState) -> Response:
        found = api.ask("GET", api.path("people", person))
        places, custom = places_to_give(project), api.all_of("roles")
        sessions = api.get_if_allowed("sessions", person=person) if _managed(found.body) else None
        return render_tab(
            "settings_person.html",
            project,
            "people",
            person=found.body,
            etag=form.etag(found.etag),
            givable=[may_give_role(each, custom) for each in found.body["grants"]],
            groups=[each for each in api.all_of("groups") if each["manageable"]],
            sessions=None if sessions is None else sessions["items"],
            history=latest_changes("person", person),
            roles=roles_to_give(places),
            places=places,
            forms={posted: form},
            blank=FormState(),
            made=made,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        if posted == "invite":
            answer = invite(person)
            made.update(answer.body)
            return answer
        return change(("people", person), SET, _CHANGES[posted], typed("etag"))

    if posted not in (*_CHANGES, "invite"):
        return show(FormState())
    if posted == "invite":
        return attempt(act, show, lambda: show(FormState()))
    return attempt(act, show, lambda: done(_address(project, person), "Saved."))


def withdraw_from_person(project: str, person: str) -> Response:
    """Ask whether to withdraw a role; do it."""
    found, grant = api.get("people", person), named_grant()

    def edit(body: Json) -> Json:
        return {**body, "grants": [each for each in body["grants"] if each != grant]}

    return _ask(
        project,
        found,
        f"Withdraw {grant_name(grant)} from {_name(found)}?",
        (("person", "They can no longer do what this role allows there, within 2 s."),
         ("key", "Their own tokens lose it, too. Tokens that they made for programs go on.")),
        "Withdraw",
        lambda: change(("people", person), SET, edit),
        "The role is withdrawn.",
    )  # fmt: skip


def deactivate_person(project: str, person: str) -> Response:
    """Ask whether to deactivate a person; do it."""
    found = api.get("people", person)
    effects = [
        ("x", "They are signed out everywhere, and cannot sign in, within 2 s."),
        ("key", "Their own tokens stop. Tokens that they made for programs go on."),
        ("restore", "Roles and groups stay: activated again, they can do what they could."),
    ]
    if person == api.reader().person:
        effects.insert(0, ("warn", "This is you. Somebody else has to activate you again."))
    return _ask(
        project,
        found,
        f"Deactivate {_name(found)}?",
        tuple(effects),
        "Deactivate",
        lambda: change(("people", person), SET, lambda body: {**body, "active": False}),
        f"{_name(found)} is deactivated.",
    )


def delete_person(project: str, person: str) -> Response:
    """Ask whether to delete a person; do it."""
    found = api.get("people", person)

    def act() -> Answer:
        address = api.path("people", person)
        etag = api.ask("GET", address).etag
        return api.ask("DELETE", address, if_match=etag, reason=typed("reason"))

    return _ask(
        project,
        found,
        f"Delete {_name(found)}?",
        (("x", "They are signed out everywhere, and cannot sign in, within 2 s."),
         ("key", "Their own tokens are deleted. Tokens that they made for programs go on."),
         ("log", "The audit log keeps what they did. To keep their roles, deactivate them.")),
        "Delete",
        act,
        f"{_name(found)} is deleted.",
        then=f"/p/{project}/settings/people",
    )  # fmt: skip


def reset_second_factor_of_person(project: str, person: str) -> Response:
    """Ask whether to remove a second factor; do it."""
    found = api.get("people", person)
    return _ask(
        project,
        found,
        f"Remove the second factor of {_name(found)}?",
        (("key", "The password alone signs them in, until they add a second factor again."),
         ("x", "Their recovery codes stop working, and their sessions end."),
         ("warn", "Make sure that it is really them who asks, such as by a call.")),
        "Remove it",
        lambda: api.ask(
            "DELETE", api.path("people", person, "second-factor"), reason=typed("reason")
        ),
        "The second factor is removed.",
    )  # fmt: skip


def end_sessions_of_person(project: str, person: str) -> Response:
    """Ask whether to end a session of a person, or all of them; do it."""
    found, one = api.get("people", person), request.args.get("session", "")
    parts = ("sessions", one) if one else ("sessions",)
    which = "this session" if one else "all sessions"
    return _ask(
        project,
        found,
        f"End {which} of {_name(found)}?",
        (("x", "The browser is signed out within 2 s." if one
          else "They are signed out of every browser within 2 s."),
         ("person", "They can sign in again. To keep them out, deactivate them.")),
        "End it" if one else "End all",
        lambda: api.ask(
            "DELETE", api.path(*parts), query={"person": person}, reason=typed("reason")
        ),
        "It is ended." if one else "All are ended.",
    )  # fmt: skip


def unlink_identity_of_person(project: str, person: str) -> Response:
    """Ask whether to take an identity at a provider away from a person; do it."""
    found, identity = api.get("people", person), request.args.get("identity", "")
    issuer = next(
        (each["issuer"] for each in found["identities"] if each["id"] == identity), "a provider"
    )
    return _ask(
        project,
        found,
        f"Take the identity at {issuer} away from {_name(found)}?",
        (
            ("key", "It signs them in no more."),
            ("x", "They are signed out of every browser within 2 s."),
        ),
        "Take it away",
        lambda: api.ask(
            "DELETE", api.path("people", person, "identities", identity), reason=typed("reason")
        ),
        "The identity is taken away.",
    )


def _details(body: Json) -> Json:
    return {**body, "email": typed("email"), "name": typed("name")}


def _activate(body: Json) -> Json:
    return {**body, "active": True}


def _grant(body: Json) -> Json:
    return {**body, "grants": [*body["grants"], typed_grant()]}


def _groups(body: Json) -> Json:
    """Return a person in the chosen groups; those that the form could not show stay."""
    shown = set(request.form.getlist("shown"))
    kept = [each for each in body["groups"] if each not in shown]
    return {**body, "groups": kept + request.form.getlist("group")}


_CHANGES: Mapping[str, Callable[[Json], Json]] = {
    "details": _details,
    "activate": _activate,
    "grant": _grant,
    "groups": _groups,
}


def _ask(
    project: str,
    person: Json,
    title: str,
    effects: tuple[tuple[str, str], ...],
    button: str,
    act: Callable[[], Answer],
    says: str,
    then: str = "",
) -> Response:
    here = _address(project, person["id"])
    crumbs = ((f"/p/{project}/settings/people", "People"), (here, _name(person)))
    question = Question(title, effects, button, "x", here, crumbs, then or here, says)
    return confirmation.ask(project, question, act)


def _address(project: str, person: str) -> str:
    return f"/p/{project}/settings/people/{person}"


def _name(person: Json) -> str:
    return str(person["name"] or person["email"])


def _managed(person: Json) -> bool:
    return bool(person["manageable"])
