"""Settings: groups, whose members may do the same things."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, confirmation
from tidegate_server.dashboard.access_words import grant_name
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.confirmation import Question
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, typed
from tidegate_server.dashboard.grant_forms import (
    beside_fields,
    change,
    may_give_role,
    named_grant,
    places_to_give,
    roles_to_give,
    typed_grant,
)
from tidegate_server.dashboard.group_members import Everybody, Members
from tidegate_server.dashboard.object_history import latest_changes
from tidegate_server.dashboard.pages.settings import BASE, render_tab
from tidegate_server.dashboard.words import counted
from tidegate_server.errors import Forbidden

GROUP = f"{BASE}/groups/<key:group>"
NAMED = 5
"""How many members a sentence names."""

SET = ("name", "description", "grants")
"""The fields of a group that a change sends."""

Json = dict[str, Any]


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    both = ["GET", "POST"]
    blueprint.add_url_rule(f"{BASE}/groups", view_func=groups, methods=both)
    blueprint.add_url_rule(GROUP, view_func=show_group, methods=both)
    blueprint.add_url_rule(f"{GROUP}/withdraw", view_func=withdraw_from_group, methods=both)
    blueprint.add_url_rule(f"{GROUP}/delete", view_func=delete_group, methods=both)


def groups(project: str) -> Response:
    """Show the groups; make one."""

    def show(form: FormState) -> Response:
        places = places_to_give(project)
        everybody, items = Everybody.read(), api.all_of("groups")
        return render_tab(
            "settings_groups.html",
            project,
            "groups",
            items=items,
            members={each["key"]: everybody.members(each["key"]) for each in items},
            roles=roles_to_give(places),
            places=places,
            form=form,
        )

    if request.method == "GET":
        return show(FormState())

    def act() -> Answer:
        body = {"key": typed("key"), "name": typed("name"), "grants": [typed_grant()]}
        with beside_fields():
            return api.ask("POST", api.path("groups"), body=body, reason=typed("reason"))

    return attempt(
        act, show, lambda: done(_address(project, typed("key")), f"{typed('key')} is made.")
    )


def show_group(project: str, group: str) -> Response:
    """Show a group; change its name, or give it a role."""
    posted = pressed()

    def show(form: FormState) -> Response:
        found = api.ask("GET", api.path("groups", group))
        places, custom = places_to_give(project), api.all_of("roles")
        return render_tab(
            "settings_group.html",
            project,
            "groups",
            group=found.body,
            etag=form.etag(found.etag),
            members=Everybody.read().members(group),
            givable=[may_give_role(each, custom) for each in found.body["grants"]],
            history=latest_changes("group", group),
            roles=roles_to_give(places),
            places=places,
            forms={posted: form},
            blank=FormState(),
        )

    if posted not in _CHANGES:
        return show(FormState())
    return attempt(
        lambda: change(("groups", group), SET, _CHANGES[posted], typed("etag")),
        show,
        lambda: done(_address(project, group), "Saved."),
    )


def withdraw_from_group(project: str, group: str) -> Response:
    """Ask whether to withdraw a role of a group; do it."""
    grant, members = named_grant(), Everybody.read().members(group)

    def edit(body: Json) -> Json:
        return {**body, "grants": [each for each in body["grants"] if each != grant]}

    effects = (
        (
            "people",
            f"{counted(members.count, 'member') if members.complete else 'Its members'} can no "
            "longer do what this role allows there, "
            "within 2 s, unless they have it from elsewhere.",
        ),
    )
    title = f"Withdraw {grant_name(grant)} from {group}?"
    here = _address(project, group)
    question = Question(
        title, effects, "Withdraw", "x", here, _crumbs(project, group), here, "It is withdrawn."
    )
    return confirmation.ask(project, question, lambda: change(("groups", group), SET, edit))


def delete_group(project: str, group: str) -> Response:
    """Ask whether to delete a group without members; do it.

    Raises:
        Forbidden: the reader does not see what the group gives, and so may not delete it.
    """
    if not api.get("groups", group)["manageable"]:
        raise Forbidden(
            "Only who may do everything that a group gives may delete it; one that gives nothing, "
            "only who administers the whole server."
        )
    members = Everybody.read().members(group)
    possible = not (members.people or members.providers)
    effects = (("people", _loss(members)),) if possible else (*_holds(members),)
    question = Question(
        f"Delete the group {group}?",
        effects,
        "Delete",
        "x",
        _address(project, group),
        _crumbs(project, group),
        f"/p/{project}/settings/groups",
        f"{group} is deleted.",
        possible,
    )
    return confirmation.ask_to_delete(project, question, "groups", group)


def _details(body: Json) -> Json:
    return {**body, "name": typed("name"), "description": typed("description")}


def _grant(body: Json) -> Json:
    return {**body, "grants": [*body["grants"], typed_grant()]}


_CHANGES: Mapping[str, Callable[[Json], Json]] = {"details": _details, "grant": _grant}


def _loss(members: Members) -> str:
    """Return what people lose with a group that no member is known of."""
    if members.complete:
        return "It has no members, so nobody loses anything."
    return (
        "You see no members of it. If an identity provider makes people members, it is not deleted."
    )


def _holds(members: Members) -> Iterator[tuple[str, str]]:
    """Yield what keeps a group from being deleted: an icon, and a sentence."""
    if members.people:
        named = ", ".join(each["name"] or each["email"] for each in members.people[:NAMED])
        more = len(members.people) - NAMED
        says = f"{named} and {more} more" if more > 0 else named
        one = len(members.people) == 1
        yield "people", f"{says} {'is' if one else 'are'} in it. Take them out of it first."
    for provider in members.providers:
        yield "key", f"Groups at {provider} make people members of it. Take that away first."


def _address(project: str, group: str) -> str:
    return f"/p/{project}/settings/groups/{group}"


def _crumbs(project: str, group: str) -> tuple[tuple[str, str], ...]:
    return ((f"/p/{project}/settings/groups", "Groups"), (_address(project, group), group))
