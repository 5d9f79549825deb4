"""Signing in and out, and accepting an invitation."""

from __future__ import annotations

from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request

from tidegate_server.dashboard import api, content_policy, kept_passwords
from tidegate_server.dashboard.api import KEPT, ApiProblem
from tidegate_server.dashboard.forms import (
    FormState,
    csrf_field,
    form_to_keep,
    kept_fields,
    typed,
    typed_values,
)
from tidegate_server.web import session_cookies
from tidegate_server.web.own_paths import own_path

SECOND_FACTOR = "second-factor-required"


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule("/sign-in", view_func=sign_in, methods=["GET", "POST"])
    blueprint.add_url_rule("/sign-in/kept", view_func=back_to_kept, methods=["GET", "POST"])
    blueprint.add_url_rule("/sign-in/with/<key:provider>", view_func=begin_with_provider)
    blueprint.add_url_rule("/sign-in/with/<key:provider>/callback", view_func=back_from_provider)
    blueprint.add_url_rule("/sign-in/link", view_func=sign_in_with_link, methods=["GET", "POST"])
    blueprint.add_url_rule("/sign-out", view_func=sign_out, methods=["POST"])
    blueprint.add_url_rule("/invitation", view_func=invitation, methods=["GET", "POST"])


def sign_in() -> Response:
    """Show the form to sign in; sign in, and lead where the reader wanted to go."""
    wanted = own_path(request.values.get("next", ""))
    if request.method == "GET":
        return _sign_in_page(FormState(), wanted)
    session_cookies.require_own_origin()
    password = kept_passwords.typed_or_kept(typed("email"))
    body: dict[str, Any] = {"email": typed("email"), "password": password, **_typed_code()}
    try:
        _, cookies = api.ask_without_reader("POST", api.path("sign-in"), body)
    except ApiProblem as problem:
        form = FormState(typed_values(), problem.fields, _says(problem))
        kept = _kept_password(problem, password, typed("email"))
        return _sign_in_page(
            form, wanted, code=_needs_code(problem), kept=kept, status=problem.status
        )
    return _back_to_form(wanted, cookies) or _signed_in(wanted, cookies)


def sign_in_with_link() -> Response:
    """Show a button to sign in with a link; sign in, and lead where the link says.

    Its secret stands after the ``#`` of the address; a script puts it into the form. Nobody is
    signed in without the button: another site could lead people into an account of its own.
    """
    wanted = own_path(request.values.get("next", ""))
    if request.method == "GET":
        return make_response(render_template("sign_in_link.html", form=FormState(), wanted=wanted))
    session_cookies.require_own_origin()
    try:
        _, cookies = api.ask_without_reader(
            "POST", api.path("sign-in", "link"), {"link": typed("invitation")}
        )
    except ApiProblem as problem:
        form = FormState(
            typed_values(), problem="; ".join(problem.fields.values()) or _says(problem)
        )
        page = render_template("sign_in_link.html", form=form, wanted=wanted)
        return make_response(page, problem.status)
    return _signed_in(wanted, cookies)


def sign_in_again() -> Response:
    """Show the form to sign in to whom a session ended over a form, which is kept meanwhile."""
    form = FormState({KEPT: form_to_keep()}, problem="Your session has ended. Sign in and go on.")
    wanted = own_path(request.full_path.rstrip("?"))
    return _sign_in_page(form, wanted, status=HTTPStatus.UNAUTHORIZED)


def back_to_kept() -> Response:
    """Lead back to a form that was kept, whose reader has signed in elsewhere.

    The tab keeps it while its reader is at an identity provider: a script puts it in here.
    """
    wanted = own_path(request.values.get("next", ""))
    if request.method == "GET":
        return make_response(render_template("kept.html", wanted=wanted, fields=[]))
    # Another site's form would be shown as what the reader has typed.
    session_cookies.require_own_origin()
    try:
        api.ask_without_reader("GET", api.path("me"))
    except ApiProblem as problem:
        if problem.status != HTTPStatus.UNAUTHORIZED:
            raise
        form = FormState(typed_values(), problem="Nobody is signed in yet.")
        return _sign_in_page(form, wanted, status=problem.status)
    return _kept_page(wanted, session_cookies.session_secret(), []) or _signed_in(wanted, [])


def _back_to_form(wanted: str, cookies: list[str]) -> Response | None:
    """Lead back to a form that was kept; None: there is none."""
    session: SimpleCookie = SimpleCookie()
    for cookie in cookies:
        session.load(cookie)
    found = session.get(session_cookies.cookie_name())
    return _kept_page(wanted, found.value if found else None, cookies)


def _kept_page(wanted: str, secret: str | None, cookies: list[str]) -> Response | None:
    """Return the page that leads back to a form; None: none was kept, or nobody is signed in."""
    fields = kept_fields(request.form.get(KEPT, ""))
    if not fields or secret is None:
        return None
    page = render_template("kept.html", wanted=wanted, fields=fields, csrf=csrf_field(secret))
    return _with_cookies(make_response(page), cookies)


def _sign_in_page(
    form: FormState,
    wanted: str,
    *,
    code: bool = False,
    kept: str = "",
    status: int = HTTPStatus.OK,
) -> Response:
    methods = api.sign_in_methods()
    page = render_template(
        "sign_in.html", form=form, wanted=wanted, code=code, kept=kept, methods=methods
    )
    return make_response(page, status)


def begin_with_provider(provider: str) -> Response:
    """Send the browser to an identity provider, to sign in there."""
    wanted = own_path(request.args.get("next", ""))
    try:
        answer, cookies = api.ask_without_reader(
            "POST", api.path("sign-in", "with", provider), {"next": wanted}
        )
    except ApiProblem as problem:
        return _sign_in_page(_nobody(problem), wanted, status=problem.status)
    return _signed_in(answer.body["url"], cookies)


def back_from_provider(provider: str) -> Response:
    """Sign in with what the browser brings back from an identity provider."""
    body = {name: request.args.get(name, "") for name in ("state", "code", "iss", "error")}
    try:
        answer, cookies = api.ask_without_reader(
            "POST", api.path("sign-in", "with", provider, "callback"), body
        )
    except ApiProblem as problem:
        return _sign_in_page(_nobody(problem), "/", status=problem.status)
    return _signed_in(own_path(answer.body["next"]), cookies)


def _nobody(problem: ApiProblem) -> FormState:
    return FormState(problem=problem.detail or problem.title)


def _typed_code() -> dict[str, str]:
    """Return the second factor as typed: a one-time code has six digits, recovery codes more."""
    code = typed("code").replace(" ", "")
    if not code:
        return {}
    return {"code" if code.isdecimal() and len(code) <= 8 else "recovery_code": code}


def _needs_code(problem: ApiProblem) -> bool:
    """Return whether the form asks for a second factor: it is missing, or was wrong."""
    return problem.slug == SECOND_FACTOR or bool(_typed_code())


def _says(problem: ApiProblem) -> str:
    """Return what went wrong; empty: only the second factor is missing, which the form asks for."""
    return "" if problem.slug == SECOND_FACTOR else problem.detail


def _kept_password(problem: ApiProblem, password: str, of: str) -> str:
    """Return a right password for the form to keep; empty: it may be wrong."""
    was_kept = password and not request.form.get("password")
    right = problem.slug == SECOND_FACTOR or was_kept
    return kept_passwords.keep(password, of) if right else ""


def sign_out() -> Response:
    """End the session of this browser."""
    try:
        answer, cookies = api.ask_without_reader("POST", api.path("sign-out"), {})
    except ApiProblem as problem:
        if problem.status != HTTPStatus.UNAUTHORIZED:
            raise
        return _signed_in("/sign-in", [])
    there = answer.body["provider"]
    if there is None:
        return _signed_in("/sign-in", cookies)
    response = make_response(render_template("signed_out.html", there=there))
    response.headers["Content-Security-Policy"] = content_policy.with_forms_to(there["url"])
    return _with_cookies(response, cookies)


def invitation() -> Response:
    """Show the form of an invitation; accept it.

    Its secret stands after the ``#`` of the address, which no browser sends; a script puts it into
    the form and removes it from the address.
    """

    def show(
        form: FormState, *, code: bool = False, kept: str = "", status: int = HTTPStatus.OK
    ) -> Response:
        wanted = own_path(request.values.get("next", ""))
        page = render_template(
            "invitation.html",
            form=form,
            wanted=wanted,
            code=code,
            kept=kept,
            methods=api.sign_in_methods(),
        )
        return make_response(page, status)

    if request.method == "GET":
        return show(FormState())
    session_cookies.require_own_origin()
    provider = typed("provider")
    address = api.path("invitations", "accept")
    password = kept_passwords.typed_or_kept(typed("invitation"))
    body = {
        "invitation": typed("invitation"),
        "name": typed("name"),
        "email": typed("email"),
        "password": password,
        **_typed_code(),
    }
    if provider:
        address = api.path("sign-in", "with", provider)
        for name in ("name", "email", "password"):
            del body[name]
        body["next"] = own_path(typed("next"))
    try:
        answer, cookies = api.ask_without_reader("POST", address, body)
    except ApiProblem as problem:
        errors = {pointer.strip("/"): detail for pointer, detail in problem.fields.items()}
        form = FormState(typed_values(), errors, "" if errors else _says(problem))
        kept = _kept_password(problem, password, typed("invitation"))
        return show(form, code=_needs_code(problem), kept=kept, status=problem.status)
    if provider:
        return _onwards(answer.body["url"], cookies)
    return _signed_in(own_path(typed("next")), cookies)


def _onwards(address: str, cookies: list[str]) -> Response:
    """Return a page that leads to another server: a form must not be answered with a redirect.

    Browsers take that for a form to the other server, which the policy of the page refuses.
    """
    response = make_response(render_template("onwards.html", address=address))
    response.headers["Refresh"] = f"0; url={address}"
    return _with_cookies(response, cookies)


def _signed_in(address: str, cookies: list[str]) -> Response:
    return _with_cookies(make_response(redirect(address, HTTPStatus.SEE_OTHER)), cookies)


def _with_cookies(response: Response, cookies: list[str]) -> Response:
    for cookie in cookies:
        response.headers.add("Set-Cookie", cookie)
    return response
