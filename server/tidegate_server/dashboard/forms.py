"""What a reader sent with a form: done now, made later or proposed; shown again when refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from flask import Response, request
from markupsafe import Markup

from tidegate_server.dashboard import api
from tidegate_server.dashboard.api import KEPT, Answer, ApiProblem
from tidegate_server.dashboard.conflicts import Conflict
from tidegate_server.dashboard.typed_numbers import whole_number
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_json
from tidegate_server.web import session_cookies
from tidegate_server.web.backend import backend

DONE_COOKIE = "tidegate-done"
"""What the last form did, for the next page to say once."""

APPROVAL_REQUIRED = "approval-required"
"""The kind of problem of a change that other people must approve."""

STALE_REVISION = "stale-revision"
"""The kind of problem of a change of what somebody else has changed meanwhile."""

PLAN = re.compile(r"(?:/projects/([^/]+))?/(change-requests|scheduled-changes)/([^/]+)")
"""The address of a change request or a scheduled change in the API."""

DONE_SECONDS = 20
PASSWORDS = ("password", "new_password")
"""The fields that are not shown again."""

YEAR = 365 * 24 * 60 * 60
"""How long a browser remembers what its reader chose, in seconds."""


MOST_KEPT = 200_000
"""How many characters of a form are kept while its reader signs in."""


@dataclass(frozen=True, slots=True)
class FormState:
    """A form as it is shown: what was typed, and what is wrong with it.

    Attributes:
        values: what was typed, by field.
        errors: a message for each field, by name.
        problem: a message about the whole; empty: there is none.
        conflict: somebody changed the document while this form was open.
        approval: other people must approve the change, so it can only be proposed.
        between: what the other one has changed; None: there is no conflict, or it is not known.
        pointers: what the API refused, by its pointer into the document.
    """

    values: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    conflict: bool = False
    approval: bool = False
    between: Conflict | None = None
    pointers: dict[str, str] = field(default_factory=dict)

    @property
    def scheduling(self) -> bool:
        """Whether the form asks when to do it, instead of doing it at once."""
        return "scheduling" in self.values or "schedule" in self.values

    @property
    def made_later(self) -> bool:
        """Whether it is to be done at the time that it names: its button was pressed."""
        return self.values.get("schedule") == "yes" or self.values.get("propose") == "schedule"

    def etag(self, present: str) -> str:
        """Return the ETag that the form sends: of the document as its reader knows it.

        Args:
            present: of the document as it is now, which a reader knows after a conflict.
        """
        return present if self.conflict else self.values.get("etag") or present


def typed(name: str) -> str:
    """Return what was typed into a field, without white space around it."""
    return request.form.get(name, "").strip()


def typed_values() -> dict[str, str]:
    """Return everything that was typed, by field, except secrets and the form's own token."""
    return {
        name: value
        for name, value in request.form.items()
        if name not in (session_cookies.CSRF_FIELD, *PASSWORDS)
    }


def pressed(default: str = "") -> str:
    """Return which button was pressed.

    For a form that is proposed, it is the button with which it was refused before.
    """
    name = "refused-do" if "propose" in request.form else "do"
    return request.form.get(name) or default


def fields_to_keep() -> list[tuple[str, str]]:
    """Return the fields of the form that was sent, without secrets, to be shown once more."""
    return [
        (name, value)
        for name, value in request.form.items(multi=True)
        if name not in (session_cookies.CSRF_FIELD, "code", "kept", KEPT)
        and not any(secret in name for secret in ("password", "secret"))
    ]


def form_to_keep() -> str:
    """Return the form that was sent, without secrets, for after its reader has signed in again."""
    kept = fields_to_keep()
    text = json.dumps(kept)
    return text if kept and len(text) <= MOST_KEPT else ""


def kept_fields(text: str) -> list[tuple[str, str]]:
    """Return the fields of a form that was kept; none if this is no such form."""
    try:
        return [(str(name), str(value)) for name, value in parse_json(text, "This")]
    except (Unreadable, ValueError, TypeError):
        return []


def refused(problem: ApiProblem) -> FormState:
    """Return a form that the API refused, with what was typed; fields have the API's names.

    The field of a part, such as ``/variants/0/key``, is called ``variants-0-key``.
    """
    errors: dict[str, str] = {}
    rest: list[str] = []
    for pointer, detail in problem.fields.items():
        whole = pointer.strip("/").replace("/", "-")
        name = whole if whole in request.form else pointer.lstrip("/").partition("/")[0]
        if name in request.form:
            errors.setdefault(name, detail)
        else:
            rest.append(detail)
    shown = "" if errors and not rest else problem.detail or problem.title
    conflict = is_conflict(problem)
    if problem.slug == APPROVAL_REQUIRED:
        return FormState(typed_values(), errors, needed_approvals(problem), approval=True)
    return FormState(typed_values(), errors, shown, conflict, pointers=problem.fields)


def is_conflict(problem: ApiProblem) -> bool:
    """Return whether somebody else has changed the document while its form was open."""
    failed = problem.status == HTTPStatus.PRECONDITION_FAILED
    return failed or problem.slug == STALE_REVISION


def needed_approvals(problem: ApiProblem) -> str:
    """Return who must approve what the API refused, without how a client would propose it."""
    return problem.detail.partition(" Nothing changed.")[0]


def refuse(show: Callable[[FormState], Response], errors: dict[str, str]) -> Response:
    """Return a form with what was typed, and with what is wrong, by the name of its field."""
    response = show(FormState(typed_values(), errors))
    response.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    return response


def done(address: str, says: str) -> Response:
    """Return to a page, which says once what was done.

    Args:
        address: the path of a page of this server.
        says: one sentence.
    """
    response = Response(status=HTTPStatus.SEE_OTHER, headers={"Location": address})
    set_cookie(response, DONE_COOKIE, quote(says), DONE_SECONDS)
    return response


def set_cookie(response: Response, name: str, value: str, seconds: int) -> None:
    """Let the browser remember something that is no secret, and that no script needs."""
    response.set_cookie(
        name, value, max_age=seconds, httponly=True, samesite="Lax", secure=request.is_secure
    )


def taken_done() -> str:
    """Return what the last form did; empty: nothing was done just now."""
    return unquote(request.cookies.get(DONE_COOKIE, ""))[:300]


def attempt(
    act: Callable[[], Answer],
    show: Callable[[FormState], Response],
    then: Callable[[], Response],
    together: bool = False,
) -> Response:
    """Do what a form asks for; show it again with what is wrong if the API refuses it.

    Args:
        act: asks the API.
        show: the page with the form.
        then: where to go afterwards.
        together: ``act`` makes several changes of a project, which are proposed as one.

    If its reader pressed those buttons, it is proposed, or made at a time.

    Raises:
        ApiProblem: nobody is signed in any more.
    """
    if asks_when():
        return show(FormState(typed_values()))
    try:
        answer = carry_out(act, together)
    except ApiProblem as problem:
        if problem.status == HTTPStatus.UNAUTHORIZED:
            raise
        response = show(refused(problem))
        response.status_code = problem.status
        return response
    return made_elsewhere(answer) or then()


def asks_when() -> bool:
    """Return whether a reader pressed the button to be asked when a form is to be carried out."""
    return request.form.get("schedule") == "ask"


def carry_out(act: Callable[[], Answer], together: bool = False) -> Answer:
    """Do what a form asks for, propose it or schedule it, as the button says.

    Args:
        act, together: as for ``attempt``.

    Raises:
        ApiProblem: the API refused it, or the reader did not say why it is needed.
    """
    if "propose" not in request.form:
        return _now_or_later(act)
    why = typed("why") or typed("reason")
    if together:
        with api.planning() as operations:
            act()
        return _propose_operations(why, operations)
    with api.proposing(why):
        return _now_or_later(act)


def _propose_operations(why: str, operations: list[dict[str, Any]]) -> Answer:
    """Propose several operations as one change of the project of the page."""
    where = api.path("projects", str((request.view_args or {})["project"]), "change-requests")
    try:
        return api.ask("POST", where, body={"reason": why, "operations": operations})
    except ApiProblem as problem:
        problem.fields = {
            re.sub("^/operations/[0-9]+/body", "", pointer): detail
            for pointer, detail in problem.fields.items()
        }
        raise


def _now_or_later(act: Callable[[], Answer]) -> Answer:
    project = (request.view_args or {}).get("project")
    if project is None or not FormState(typed_values()).made_later:
        return act()
    with api.planning() as operations:
        act()
    return schedule_operations(project, operations)


def schedule_operations(project: str, operations: list[dict[str, Any]]) -> Answer:
    """Schedule operations for the time that a form names.

    Args:
        project: what they change.
        operations: as the API takes them.

    Raises:
        ApiProblem: the API refused it.
    """
    body = {
        "reason": typed("reason"),
        "timezone": typed("timezone") or "UTC",
        "on_conflict": typed("on_conflict") or "fail",
        "operations": operations,
        **_typed_times(),
    }
    if late_limit := typed("late_limit"):
        body["late_limit"] = late_limit
    try:
        return api.ask("POST", api.path("projects", project, "scheduled-changes"), body=body)
    except ApiProblem as problem:
        if not body.get("at") and not body.get("every"):
            problem.fields["/at"] = "Choose a day and a time."
        raise


def _typed_times() -> dict[str, Any]:
    """Return when a scheduled change runs, as it was typed: once or again and again."""
    if typed("how") != "every":
        return {"at": typed("at") or None}
    every: dict[str, Any] = {"time": typed("every")}
    if days := request.form.getlist("days"):
        every["days"] = days
    if month_days := typed("month_days"):
        every["month_days"] = [
            each.strip() if (day := whole_number(each)) is None else day
            for each in month_days.split(",")
        ]
    return {"every": every, "until": typed("until") or None}


def made_elsewhere(answer: Answer) -> Response | None:
    """Return the way to the change request or the scheduled change that was just made.

    Returns:
        None: what the form asked for was done.
    """
    found = PLAN.fullmatch(urlsplit(answer.location).path.removeprefix(api.PREFIX))
    if found is None:
        return None
    project, kind, id = found.groups()
    place = f"/p/{project}" if project else ""
    if kind == "change-requests":
        says = "Proposed: it waits until other people approve it."
        return done(f"{place}/change-requests/{id}", says)
    return done(f"{place}/schedules/{id}", "Scheduled; its runs are below.")


def csrf_field(secret: str | None = None) -> Markup:
    """Return the hidden field that proves that this page made the form.

    Args:
        secret: of the session; by default that of the request.
    """
    secret = secret or session_cookies.session_secret()
    if secret is None:
        return Markup("")
    token = session_cookies.csrf_token(backend().settings.secret_key, secret)
    return Markup('<input type="hidden" name="{}" value="{}">').format(
        session_cookies.CSRF_FIELD, token
    )
