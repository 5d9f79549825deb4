"""Tokens: secrets that may act in a role within a scope."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin.tokens import service
from tidegate_server.admin.tokens.schemas import (
    NewToken,
    NewTokenAnswer,
    RotateBody,
    TokenAnswer,
    TokenBody,
    TokenPage,
)
from tidegate_server.domain.permissions import Permission
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.etags import read_if_match
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint(
    "tokens", __name__, description="Secrets that may act in a role within a scope"
)

COLLECTION = "/api/v1/tokens"
ITEM = f"{COLLECTION}/<key:token>"


@blueprint.operation(
    "GET",
    COLLECTION,
    permission=Permission.ADMINISTER,
    scoped_to_caller=True,
    query=PageQuery,
    response=TokenPage,
)
def list_tokens(page: PageRequest) -> Response:
    """List the tokens within what you administer, without their secrets."""
    tokens = service.tokens_in_scope(backend().store, current_caller())
    listed, following = paginate(tokens, page)
    shown = service.with_uses(backend().store, listed, current_caller())
    return responses.page(TokenPage(), shown, following)


@blueprint.operation(
    "POST",
    COLLECTION,
    permission=Permission.ADMINISTER,
    scoped_to_caller=True,
    body=TokenBody,
    response=NewTokenAnswer,
    status=HTTPStatus.CREATED,
)
def create_token(new: NewToken) -> Response:
    """Create a token. Only this answer shows its `secret`.

    It cannot do more than you may, and only where you may.
    """
    stored = service.create_token(
        backend().store, backend().settings.secret_key, new, current_caller(), current_reason()
    )
    return responses.created(
        NewTokenAnswer(), stored, stored.revision, "tokens.get_token", token=stored.document.id
    )


@blueprint.operation(
    "GET", ITEM, permission=Permission.ADMINISTER, scoped_to_caller=True, response=TokenAnswer
)
def get_token(token: str) -> Response:
    """Get a token, without its secret."""
    stored = service.read_token(backend().store, token, current_caller())
    return responses.document(TokenAnswer(), stored, stored.revision)


@blueprint.operation(
    "POST",
    f"{ITEM}/rotate",
    permission=Permission.ADMINISTER,
    scoped_to_caller=True,
    body=RotateBody,
    response=NewTokenAnswer,
)
def rotate_token(overlap_ms: int, token: str) -> Response:
    """Give a token another secret, shown only in this answer.

    The secret until now works for another hour, or as long as `overlap` says, so that an
    application can change to the new one without an interruption.
    """
    stored = service.rotate_token(
        backend().store,
        backend().settings.secret_key,
        token,
        overlap_ms,
        current_caller(),
        current_reason(),
    )
    return responses.document(NewTokenAnswer(), stored, stored.revision)


@blueprint.operation(
    "DELETE",
    ITEM,
    permission=Permission.ADMINISTER,
    scoped_to_caller=True,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def delete_token(token: str) -> Response:
    """Delete a token. It stops working within two seconds, its open streams within a minute."""
    service.delete_token(
        backend().store, token, current_caller(), current_reason(), read_if_match()
    )
    return responses.no_content()
