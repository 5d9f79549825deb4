"""One's own account: who you are, your password, second factor and tokens."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, g

from tidegate_server.admin.document_reader import SERVER
from tidegate_server.admin.me import service
from tidegate_server.admin.me.schemas import (
    CodeBody,
    MeAnswer,
    NewPasswordBody,
    NewPersonalToken,
    PasswordBody,
    PersonalTokenBody,
    PersonalTokenPage,
    RecoveryCodesAnswer,
    SecretAnswer,
)
from tidegate_server.admin.sign_in.schemas import SignedInAnswer
from tidegate_server.admin.tokens.schemas import NewTokenAnswer
from tidegate_server.domain.people import credential_address
from tidegate_server.domain.permissions import in_order
from tidegate_server.web import responses, session_cookies
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import SERVER_PREFIX, Blueprint, Who
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.reasons import current_reason
from tidegate_server.web.sign_in import with_session

blueprint = Blueprint("me", __name__, description="Your own account")

ME = f"{SERVER_PREFIX}/me"
TOKENS = f"{ME}/tokens"
SECOND_FACTOR = f"{ME}/second-factor"


@blueprint.operation("GET", ME, permission=None, who=Who.CALLER, response=MeAnswer)
def get_me() -> Response:
    """Get who you are, and what you may do."""
    caller, services = current_caller(), backend()
    access = services.authenticator.access()
    person = access.people[caller.person].document if caller.person else None
    address = credential_address(caller.person)
    stored = services.store.get(SERVER, address) if caller.person else None
    credential = stored.document if stored is not None else None
    secret = session_cookies.session_secret() if g.session is not None else None
    content = {
        "name": caller.name,
        "person": person,
        "session": g.session,
        "csrf_token": None
        if secret is None
        else session_cookies.csrf_token(services.settings.secret_key, secret),
        "grants": [
            {
                "permissions": in_order(grant.permissions),
                "project": grant.project,
                "environment": grant.environment,
                "role": grant.role,
            }
            for grant in caller.grants
        ],
        "has_password": credential is not None and bool(credential.password),
        "has_second_factor": credential is not None and credential.totp_confirmed,
        "recovery_codes_left": 0 if credential is None else len(credential.recovery_codes),
    }
    return responses.value_with_etag(MeAnswer(), content)


@blueprint.operation(
    "PUT",
    f"{ME}/password",
    permission=None,
    who=Who.SESSION,
    body=NewPasswordBody,
    response=SignedInAnswer,
    etag=False,
)
def change_password(given: dict[str, Any]) -> Response:
    """Change your password. All your sessions end, and this browser gets a new one."""
    signed_in = service.change_password(current_caller(), given["password"], given["new_password"])
    return with_session(responses.value(SignedInAnswer(), signed_in), signed_in)


@blueprint.operation(
    "POST",
    SECOND_FACTOR,
    permission=None,
    who=Who.SESSION,
    body=PasswordBody,
    response=SecretAnswer,
    etag=False,
)
def begin_second_factor(given: dict[str, Any]) -> Response:
    """Make a secret for an authenticator app. Signing in needs it once you confirm it."""
    secret, uri = service.begin_second_factor(current_caller(), given["password"])
    return responses.value(SecretAnswer(), {"secret": secret, "uri": uri})


@blueprint.operation(
    "POST",
    f"{SECOND_FACTOR}/confirm",
    permission=None,
    who=Who.SESSION,
    body=CodeBody,
    response=RecoveryCodesAnswer,
    etag=False,
)
def confirm_second_factor(given: dict[str, Any]) -> Response:
    """Confirm the app with a code: from now on, signing in needs one. Keep the recovery codes."""
    codes = service.confirm_second_factor(current_caller(), given["code"])
    return responses.value(RecoveryCodesAnswer(), {"recovery_codes": codes})


@blueprint.operation(
    "POST",
    f"{SECOND_FACTOR}/remove",
    permission=None,
    who=Who.SESSION,
    body=PasswordBody,
    response=None,
    status=HTTPStatus.NO_CONTENT,
    etag=False,
)
def remove_second_factor(given: dict[str, Any]) -> Response:
    """Remove the second factor and its recovery codes."""
    service.remove_second_factor(current_caller(), given["password"])
    return responses.no_content()


@blueprint.operation(
    "POST",
    f"{ME}/recovery-codes",
    permission=None,
    who=Who.SESSION,
    body=PasswordBody,
    response=RecoveryCodesAnswer,
    etag=False,
)
def create_recovery_codes(given: dict[str, Any]) -> Response:
    """Make new recovery codes. Those until now stop working."""
    codes = service.new_recovery_codes(current_caller(), given["password"])
    return responses.value(RecoveryCodesAnswer(), {"recovery_codes": codes})


@blueprint.operation(
    "GET",
    TOKENS,
    permission=None,
    who=Who.PERSON,
    query=PageQuery,
    response=PersonalTokenPage,
)
def list_own_tokens(page: PageRequest) -> Response:
    """List your own tokens, without their secrets."""
    items, following = paginate(service.own_tokens(current_caller()), page)
    return responses.page(PersonalTokenPage(), items, following)


@blueprint.operation(
    "POST",
    TOKENS,
    permission=None,
    who=Who.SESSION,
    body=PersonalTokenBody,
    response=NewTokenAnswer,
    status=HTTPStatus.CREATED,
)
def create_own_token(new: NewPersonalToken) -> Response:
    """Create a token of your own. It can never do more than you can, and ends with you."""
    stored = service.create_token(current_caller(), new, current_reason())
    return responses.document(NewTokenAnswer(), stored, stored.revision, status=HTTPStatus.CREATED)


@blueprint.operation(
    "DELETE",
    f"{TOKENS}/<key:token>",
    permission=None,
    who=Who.PERSON,
    response=None,
    status=HTTPStatus.NO_CONTENT,
    etag=False,
)
def delete_own_token(token: str) -> Response:
    """Delete a token of your own. It stops working within two seconds."""
    service.delete_token(current_caller(), token, current_reason())
    return responses.no_content()
