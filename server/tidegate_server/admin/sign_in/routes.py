"""Sign in and out, and accept invitations."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, g, request

from tidegate_server.admin.sign_in import providers, service, sign_outs
from tidegate_server.admin.sign_in.flows import forget_flow, keep_flow
from tidegate_server.admin.sign_in.schemas import (
    AcceptBody,
    BeginBody,
    BegunAnswer,
    CallbackBody,
    CameBackAnswer,
    LinkBody,
    MethodsAnswer,
    SignedInAnswer,
    SignedOutAnswer,
    SignInBody,
)
from tidegate_server.errors import ProviderFailed, TokenRefused
from tidegate_server.web import responses, session_cookies
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import SERVER_PREFIX, Blueprint, Who
from tidegate_server.web.problem_documents import problem
from tidegate_server.web.sign_in import SignedIn, sign_out, with_session

blueprint = Blueprint("sign_in", __name__, description="Sign in and out")

WITH_PROVIDER = f"{SERVER_PREFIX}/sign-in/with/<key:identity_provider>"

log = structlog.stdlib.get_logger("tidegate_server.api")

ERRORS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)


def from_own_page() -> None:
    """Refuse a form of another site, which would sign people in as somebody else."""
    session_cookies.require_own_origin()


@blueprint.operation(
    "POST",
    f"{SERVER_PREFIX}/sign-in",
    permission=None,
    before_body=from_own_page,
    body=SignInBody,
    response=SignedInAnswer,
    etag=False,
    errors=ERRORS,
)
def sign_in_with_password(given: dict[str, Any]) -> Response:
    """Sign in with an email and a password. The answer sets the cookie of a session.

    With a second factor, the first answer is `second-factor-required`; send the one-time code with
    the same request again. Too many attempts are refused for some minutes.
    """
    return _answer(
        service.sign_in_with_password(
            given["email"], given["password"], given["code"], given["recovery_code"]
        )
    )


@blueprint.operation(
    "POST",
    f"{SERVER_PREFIX}/sign-out",
    permission=None,
    who=Who.SESSION,
    response=SignedOutAnswer,
    etag=False,
)
def sign_out_of_session() -> Response:
    """End the session of this request, and say how to sign out at its identity provider, too."""
    assert g.session is not None
    there = sign_outs.sign_out_there(g.session)
    access = backend().authenticator.access()
    sign_out(access.people[current_caller().person].document)
    response = responses.value(SignedOutAnswer(), {"provider": there})
    session_cookies.delete_session_cookie(response)
    return response


@blueprint.operation(
    "POST",
    f"{SERVER_PREFIX}/invitations/accept",
    permission=None,
    before_body=from_own_page,
    body=AcceptBody,
    response=SignedInAnswer,
    etag=False,
    errors=ERRORS,
)
def accept_invitation(given: dict[str, Any]) -> Response:
    """Accept an invitation: set your name and password, and sign in.

    An invitation works once, until it expires. It also replaces a password that was lost,
    but not a second factor: send `code` or `recovery_code` if you have one.
    """
    return _answer(
        service.accept_invitation(
            given["invitation"],
            given["name"],
            given["email"],
            given["password"],
            given["code"],
            given["recovery_code"],
        )
    )


@blueprint.operation(
    "POST",
    f"{SERVER_PREFIX}/sign-in/link",
    permission=None,
    before_body=from_own_page,
    body=LinkBody,
    response=SignedInAnswer,
    etag=False,
    errors=ERRORS,
)
def sign_in_with_link(given: dict[str, Any]) -> Response:
    """Sign in with a link that an admin made for you. The answer sets the cookie of a session.

    It works once, until it expires, and only while you have neither a password nor an identity.
    """
    return _answer(service.sign_in_with_link(given["link"]))


@blueprint.operation(
    "GET", f"{SERVER_PREFIX}/sign-in", permission=None, response=MethodsAnswer, etag=False
)
def list_sign_in_methods() -> Response:
    """Say how people sign in: with a password, and with which identity providers."""
    methods = {
        "password": backend().settings.password_sign_in,
        "providers": providers.offered_providers(),
    }
    return responses.value(MethodsAnswer(), methods)


@blueprint.operation(
    "POST",
    WITH_PROVIDER,
    permission=None,
    body=BeginBody,
    response=BegunAnswer,
    etag=False,
    errors=ERRORS,
)
def begin_sign_in(given: dict[str, str], identity_provider: str) -> Response:
    """Begin a sign-in with an identity provider: get the address to send the browser to.

    The browser gets a cookie, without which it cannot come back. To accept an invitation in this
    way needs a second factor if the person has one.
    """
    if given["invitation"]:
        from_own_page()
        service.open_invitation(given["invitation"], given["code"], given["recovery_code"])
    begun = providers.begin(identity_provider, given["next"], given["invitation"])
    response = responses.value(BegunAnswer(), begun)
    keep_flow(response, backend().settings.secret_key, begun.flow)
    return response


@blueprint.operation(
    "POST",
    f"{WITH_PROVIDER}/callback",
    permission=None,
    body=CallbackBody,
    response=CameBackAnswer,
    etag=False,
    errors=ERRORS,
)
def finish_sign_in(given: dict[str, str], identity_provider: str) -> Response:
    """Finish a sign-in with what the browser brought back. The answer sets a session's cookie.

    It works once, within ten minutes, in the browser that began.
    """
    came_back = providers.Answer(given["state"], given["code"], given["iss"], given["error"])
    signed_in, wanted = providers.finish(identity_provider, came_back)
    content = {
        "person": signed_in.person,
        "session": signed_in.session,
        "csrf_token": signed_in.csrf_token,
        "next": wanted,
    }
    response = with_session(responses.value(CameBackAnswer(), content), signed_in)
    forget_flow(response)
    return response


LOGOUT: Mapping[str, Any] = {
    "security": [],
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["logout_token"],
                    "properties": {"logout_token": {"type": "string"}},
                }
            }
        },
    },
    "responses": {
        "200": {"description": "The sessions have ended, everywhere within two seconds"},
        "400": {"description": "The token is not valid, or was used before"},
        "503": {"description": "The store, or the keys of the provider, cannot be read"},
    },
}


@blueprint.openapi_operation("POST", f"{WITH_PROVIDER}/sign-out", LOGOUT)
def end_sessions_of_provider(identity_provider: str) -> Response:
    """End the sessions of somebody who signed out at the identity provider.

    The provider calls this (OpenID Connect Back-Channel Logout 1.0). A token counts once.
    """
    try:
        ended = sign_outs.end_sessions_of_provider(
            identity_provider, request.form.get("logout_token", "")
        )
    except (TokenRefused, ProviderFailed) as error:
        log.warning("provider_logout_refused", provider=identity_provider, problem=error.message)
        refused = isinstance(error, TokenRefused)
        status = HTTPStatus.BAD_REQUEST if refused else HTTPStatus.SERVICE_UNAVAILABLE
        detail = "The logout token is not valid." if refused else "Try again later."
        return problem(status, error.slug, "No session ended", detail)
    log.info("provider_logout", provider=identity_provider, ended=ended)
    return Response(status=HTTPStatus.OK)


def _answer(signed_in: SignedIn) -> Response:
    return with_session(responses.value(SignedInAnswer(), signed_in), signed_in)
