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
from tidegate_server.web.backend import backend, current_token
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
    scoped_to_token=True,
    query=PageQuery,
    response=TokenPage,
)
def list_tokens(page: PageRequest) -> Response:
    """List the tokens within your token's scope, without their secrets."""
    tokens = service.tokens_in_scope(backend().store, current_token())
    listed, following = paginate(tokens, page)
    return responses.page(TokenPage(), service.with_uses(backend().store, listed), following)


@blueprint.operation(
    "POST",
    COLLECTION,
    permission=Permission.ADMINISTER,
    scoped_to_token=True,
    body=TokenBody,
    response=NewTokenAnswer,
    status=HTTPStatus.CREATED,
)
def create_token(new: NewToken) -> Response:
    """Create a token. Only this answer shows its `secret`.

    It cannot do more than your own token, and only where yours works.
    """
    stored = service.create_token(
        backend().store, backend().settings.secret_key, new, current_token(), current_reason()
    )
    return responses.created(
        NewTokenAnswer(), stored, stored.revision, "tokens.get_token", token=stored.document.id
    )


@blueprint.operation(
    "GET", ITEM, permission=Permission.ADMINISTER, scoped_to_token=True, response=TokenAnswer
)
def get_token(token: str) -> Response:
    """Get a token, without its secret."""
    stored = service.read_token(backend().store, token, current_token())
    return responses.document(TokenAnswer(), stored, stored.revision)


@blueprint.operation(
    "POST",
    f"{ITEM}/rotate",
    permission=Permission.ADMINISTER,
    scoped_to_token=True,
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
        current_token(),
        current_reason(),
    )
    return responses.document(NewTokenAnswer(), stored, stored.revision)


@blueprint.operation(
    "DELETE",
    ITEM,
    permission=Permission.ADMINISTER,
    scoped_to_token=True,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def delete_token(token: str) -> Response:
    """Delete a token. It stops working within two seconds, its open streams within a minute."""
    service.delete_token(backend().store, token, current_token(), current_reason(), read_if_match())
    return responses.no_content()
