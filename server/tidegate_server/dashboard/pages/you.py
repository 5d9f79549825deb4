"""The account of the reader: password, second factor, sessions, tokens, and how pages look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, make_response, redirect, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.access_words import PERMISSION_WORDS
from tidegate_server.dashboard.api import Answer, ApiProblem
from tidegate_server.dashboard.confirmation import Question, confirm
from tidegate_server.dashboard.forms import YEAR, FormState, attempt, done, set_cookie, typed
from tidegate_server.dashboard.grant_forms import Choice, chosen_permissions, parse_place
from tidegate_server.dashboard.pages.settings import BASE
from tidegate_server.dashboard.qr_codes import qr_code
from tidegate_server.dashboard.shell import Shell

ACCOUNT: Final = "/you"
OF_APPS: Final = "otpauth://totp/"
"""How the URI of a secret for an authenticator app begins."""

WRONG: Final = "wrong-password"

EXPIRIES: Final = (
    Choice("90d", "90 days"),
    Choice("30d", "30 days"),
    Choice("7d", "7 days"),
    Choice("365d", "a year"),
)

Json = dict[str, Any]


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    both = ["GET", "POST"]
    blueprint.add_url_rule(f"{BASE}/you", view_func=lead_to_account)
    blueprint.add_url_rule(ACCOUNT, view_func=show_account, methods=both)
    blueprint.add_url_rule(f"{ACCOUNT}/password", view_func=change_password, methods=both)
    blueprint.add_url_rule(f"{ACCOUNT}/second-factor", view_func=add_second_factor, methods=both)
    blueprint.add_url_rule(
        f"{ACCOUNT}/second-factor/remove", view_func=remove_second_factor, methods=both
    )
    blueprint.add_url_rule(f"{ACCOUNT}/recovery-codes", view_func=new_recovery_codes, methods=both)
    blueprint.add_url_rule(f"{ACCOUNT}/sessions/end", view_func=end_own_sessions, methods=both)
    blueprint.add_url_rule(f"{ACCOUNT}/tokens/new", view_func=make_own_token, methods=both)
    blueprint.add_url_rule(
        f"{ACCOUNT}/tokens/<key:token>/delete", view_func=delete_own_token, methods=both
    )


def lead_to_account(project: str) -> Response:
    """Lead from the settings of a project to the reader's account, which has no project."""
    api.reader()
    return make_response(redirect(ACCOUNT, HTTPStatus.SEE_OTHER))


def show_account() -> Response:
    """Show who the reader is, what they may do, and how they sign in; keep how pages look."""
    if request.method == "POST":
        return _keep_preferences()
    me = api.get("me")
    person = me["person"] is not None
    return shell.render(
        "you.html",
        _frame(),
        me=me,
        sessions=api.get("sessions", limit=100)["items"] if person else [],
        tokens=api.all_of("me", "tokens") if person else [],
        zone=str(shell.reader_zone()),
    )


def change_password() -> Response:
    """Change the password; this browser stays signed in with a new session."""
    cookies: list[str] = []

    def act() -> Answer:
        body = {"password": _secret("password"), "new_password": _secret("new_password")}
        if api.get("me")["session"] is None:
            return api.ask("PUT", api.path("me", "password"), body=body)
        # In the browser's own session, which the answer replaces.
        with _beside_field():
            answer, made = api.ask_without_reader("PUT", api.path("me", "password"), body)
        cookies.extend(made)
        return answer

    def then() -> Response:
        response = done(ACCOUNT, "The password is changed. All other browsers are signed out.")
        for cookie in cookies:
            response.headers.add("Set-Cookie", cookie)
        return response

    return _form("you_password.html", act, then)


def add_second_factor() -> Response:
    """Prove the password, show a secret for an authenticator app, and confirm it by a code."""
    if request.method == "POST" and "code" in request.form:
        return _confirm_second_factor()
    made: Json = {}

    def act() -> Answer:
        body = {"password": _secret("password")}
        with _beside_field():
            answer = api.ask("POST", api.path("me", "second-factor"), body=body)
        made.update(answer.body)
        return answer

    return _form("you_second_factor.html", act, lambda: _show_secret(FormState(), made["uri"]))


def _confirm_second_factor() -> Response:
    made: Json = {}

    def act() -> Answer:
        body = {"code": typed("code").replace(" ", "")}
        with _beside_field("code"):
            answer = api.ask("POST", api.path("me", "second-factor", "confirm"), body=body)
        made.update(answer.body)
        return answer

    return attempt(
        act,
        lambda form: _show_secret(form, typed("uri")),
        lambda: _show_recovery_codes(made, "From now on, signing in needs a code of the app."),
    )


def _show_secret(form: FormState, uri: str) -> Response:
    """Show the secret of the app's URI, which the form keeps until it is confirmed."""
    if not uri.startswith(OF_APPS):
        return make_response(redirect(f"{ACCOUNT}/second-factor", HTTPStatus.SEE_OTHER))
    picture, secret = qr_code(uri)
    return shell.render(
        "you_second_factor.html",
        _frame(),
        form=form,
        me=api.get("me"),
        uri=uri,
        picture=picture,
        secret=secret,
    )


def remove_second_factor() -> Response:
    """Say what removing the second factor does; do it."""

    def act() -> Answer:
        with _beside_field():
            return api.ask(
                "POST",
                api.path("me", "second-factor", "remove"),
                body={"password": _secret("password")},
            )

    return _form(
        "you_remove_second_factor.html", act, lambda: done(ACCOUNT, "The second factor is removed.")
    )


def new_recovery_codes() -> Response:
    """Say what new recovery codes do; make them, and show them once."""
    made: Json = {}

    def act() -> Answer:
        body = {"password": _secret("password")}
        with _beside_field():
            answer = api.ask("POST", api.path("me", "recovery-codes"), body=body)
        made.update(answer.body)
        return answer

    return _form(
        "you_recovery_codes.html",
        act,
        lambda: _show_recovery_codes(made, "The codes until now have stopped working."),
    )


def _show_recovery_codes(made: Json, says: str) -> Response:
    codes = made["recovery_codes"]
    return shell.render(
        "you_recovery_codes.html", _frame(), me=api.get("me"), codes=codes, says=says
    )


def end_own_sessions() -> Response:
    """Ask whether to end a session of the reader, or all but this one; do it."""
    one = request.args.get("session", "")
    parts = ("sessions", one) if one else ("sessions",)
    question = Question(
        "End this session?" if one else "End all other sessions?",
        (
            ("x", "The browser is signed out within 2 s."),
            ("info", "If you do not know it, change your password, too."),
        ),
        "End it" if one else "End all others",
        "x",
        ACCOUNT,
        ((ACCOUNT, "You"),),
        ACCOUNT,
        "It is ended." if one else "All others are ended.",
    )
    return confirm(
        _frame, question, lambda: api.ask("DELETE", api.path(*parts), reason=typed("reason"))
    )


def make_own_token() -> Response:
    """Make a token of the reader's own, whose secret only the answer shows."""
    made: Json = {}

    def act() -> Answer:
        project, environment = parse_place(typed("where"))
        body: Json = {"name": typed("name"), "expires_in": typed("expires_in")}
        if typed("where"):
            body |= {"project": project, "environment": environment}
        if chosen_permissions():
            body["permissions"] = chosen_permissions()
        answer = api.ask("POST", api.path("me", "tokens"), body=body, reason=typed("reason"))
        made.update(answer.body)
        return answer

    def show(form: FormState) -> Response:
        reader = api.reader()
        return shell.render(
            "you_token.html",
            _frame(),
            form=form,
            me=api.get("me"),
            made=made,
            expiries=EXPIRIES,
            places=_places(),
            permissions=[
                (each.value, says) for each, says in PERMISSION_WORDS if reader.has_anywhere(each)
            ],
            chosen=chosen_permissions(),
        )

    if request.method == "GET":
        return show(FormState())
    return attempt(act, show, lambda: show(FormState()))


def _places() -> list[Choice]:
    """Return where a token of the reader's own may work; the first is wherever they may."""
    keys = [each["key"] for each in api.all_of("projects")]
    return [Choice("", "wherever I may"), *(Choice(key, f"only in {key}") for key in keys)]


def delete_own_token(token: str) -> Response:
    """Ask whether to delete a token of the reader's own; do it."""
    own = api.get_if_allowed("me", "tokens", limit=100) or {"items": []}
    name = next((each["name"] for each in own["items"] if each["id"] == token), token)
    question = Question(
        f"Delete the token {name}?",
        (("x", "What uses it is refused within 2 s. It never works again."),),
        "Delete",
        "x",
        ACCOUNT,
        ((ACCOUNT, "You"),),
        ACCOUNT,
        f"{name} is deleted.",
    )
    address = api.path("me", "tokens", token)
    return confirm(_frame, question, lambda: api.ask("DELETE", address, reason=typed("reason")))


def _keep_preferences() -> Response:
    api.reader()
    response = done(ACCOUNT, "Saved in this browser.")
    for name, allowed in shell.PREFERENCES.items():
        value = typed(name)
        if value in allowed:
            set_cookie(response, f"tidegate-{name}", value, YEAR)
        else:
            response.delete_cookie(f"tidegate-{name}")
    return response


def _frame() -> Shell:
    """Return the frame of the place where the reader was last, if there is one."""
    project, environment = shell.last_place()
    if project and environment:
        try:
            return shell.open_place(project, environment, "you")
        except ApiProblem as problem:
            if problem.status == HTTPStatus.UNAUTHORIZED:
                raise
    return shell.open_server()


def _form(template: str, act: Callable[[], Answer], then: Callable[[], Response]) -> Response:
    """Show a form on a page of its own; do what it asks for."""

    def show(form: FormState) -> Response:
        return shell.render(template, _frame(), form=form, me=api.get("me"))

    return show(FormState()) if request.method == "GET" else attempt(act, show, then)


@contextmanager
def _beside_field(name: str = "password") -> Iterator[None]:
    """Say beside a field that it is wrong, where the API says it of the whole request."""
    try:
        yield
    except ApiProblem as problem:
        if problem.slug == WRONG:
            # The session is good: this is no reason to sign in again.
            problem.status = HTTPStatus.UNPROCESSABLE_ENTITY
            problem.fields = {f"/{name}": problem.detail}
        raise


def _secret(name: str) -> str:
    """Return a password as typed: white space belongs to it."""
    return request.form.get(name, "")
