"""Change requests: changes that wait until other people approve them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.forms import FormState, attempt, done, pressed, typed
from tidegate_server.dashboard.planned_actions import (
    action_sentence,
    affected_users,
    changed_documents,
    planned_releases,
    scheduled_operations,
    scheduled_times,
    written_documents,
)
from tidegate_server.dashboard.shell import Shell

PAGE: Final = 50

STATES: Final = (
    ("", "Everything"),
    ("proposed", "Waiting"),
    ("approved", "Approved"),
    ("applied", "Applied"),
    ("rejected", "Rejected"),
    ("withdrawn", "Withdrawn"),
    ("expired", "Expired"),
)

CHIPS: Final = {
    "proposed": ("warn", "ask", "Waiting"),
    "approved": ("run", "check", "Approved"),
    "applied": ("good", "check", "Applied"),
    "rejected": ("bad", "x", "Rejected"),
    "withdrawn": ("draft", "back", "Withdrawn"),
    "expired": ("draft", "clock", "Expired"),
}
"""The class, the icon and the word of each state."""

ACTS: Final = {
    "approve": ("Approve", "approved"),
    "apply": ("Apply it now", "applied"),
    "reject": ("Reject", "rejected"),
    "withdraw": ("Withdraw", "withdrawn"),
}
"""What may be done: the words of its button, and what was done."""


AGAIN: Final = "again"
"""The button that proposes a request of one's own again, against what there is now."""

DID: Final = {
    "comment": "Your words are there.",
    AGAIN: "Proposed again; its approvals begin anew.",
}


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    for base in ("/p/<key:project>/changes", "/changes"):
        blueprint.add_url_rule(base, view_func=list_change_requests)
    for base in ("/p/<key:project>/change-requests", "/change-requests"):
        blueprint.add_url_rule(
            f"{base}/<key:id>", view_func=change_request, methods=["GET", "POST"]
        )


def _frame(project: str) -> Shell:
    return shell.open_project(project, "changes") if project else shell.open_server()


def _where(project: str) -> tuple[str, ...]:
    return (*(("projects", project) if project else ()), "change-requests")


def list_change_requests(project: str = "") -> Response:
    """Show the change requests of a project, or those of the server, the latest first."""
    state = request.args.get("state") or None
    cursor = request.args.get("cursor")
    page = api.get(*_where(project), limit=PAGE, cursor=cursor, state=state)
    return shell.render(
        "change_requests.html",
        _frame(project),
        project=project,
        lines=[
            (each, CHIPS[each["state"]], [action_sentence(act) for act in each["actions"]])
            for each in page["items"]
        ],
        states=STATES,
        state=state,
        later=page["next_cursor"],
    )


def change_request(id: str, project: str = "") -> Response:
    """Show what a change request would do and who says what about it; act on it."""
    where = (*_where(project), id)
    frame = _frame(project)
    answer = api.ask("GET", api.path(*where))

    def show(form: FormState) -> Response:
        return _render(frame, project, answer if not form.conflict else _again(where), form)

    if request.method == "GET":
        return show(FormState())
    verb, etag = pressed(), request.form.get("etag", "")
    address = request.path

    def act() -> Answer:
        if verb == "comment":
            return api.ask("POST", api.path(*where, "comments"), body={"text": typed("text")})
        if verb == AGAIN:
            return api.ask("PUT", api.path(*where), body=_as_now(answer.body), if_match=etag)
        if verb not in ACTS:
            raise ApiProblem(
                HTTPStatus.UNPROCESSABLE_ENTITY, {"detail": "Press one of the buttons."}
            )
        body = {"reason": typed("reason")} if typed("reason") else {}
        return api.ask("POST", api.path(*where, verb), body=body, if_match=etag)

    says = DID.get(verb) or ACTS.get(verb, ("", verb))[1].capitalize() + "."
    return attempt(act, show, lambda: done(address, says))


def _as_now(found: dict[str, Any]) -> dict[str, Any]:
    """Return the body that proposes the operations of a request against what there is now."""
    operations = [{**each, "if_match": "*"} for each in found["operations"]]
    return {"reason": found["reason"], "apply": found["apply"], "operations": operations}


def _again(where: tuple[str, ...]) -> Answer:
    return api.ask("GET", api.path(*where))


def _render(frame: Shell, project: str, answer: Answer, form: FormState) -> Response:
    found = answer.body
    present = found["present"]
    # After a conflict, both are there: why it cannot be applied, and what it would change now.
    as_now = present is not None and (present["changes"] or not present["problem"])
    documents = present["changes"] if as_now else found["changes"]
    later = scheduled_operations(found["operations"])
    return shell.render(
        "change_request.html",
        frame,
        project=project,
        request_=found,
        etag=answer.etag,
        chip=CHIPS[found["state"]],
        as_now=as_now,
        again=AGAIN if "withdraw" in found["may"] else "",
        missing=max(0, found["required_approvals"] - len(found["approvals"])),
        actions=[action_sentence(each) for each in found["actions"]],
        documents=[
            *changed_documents(documents, project),
            *(written_documents(later, project) if present else ()),
        ],
        releases=planned_releases([*found["operations"], *later]),
        times=scheduled_times(found["operations"]),
        affected=affected_users([*found["operations"], *later]) if present else [],
        conflicts=present["conflicts"] if present else [],
        problem=present["problem"] if present else "",
        acts=[(name, ACTS[name][0]) for name in ACTS if name in found["may"]],
        form=form,
    )
