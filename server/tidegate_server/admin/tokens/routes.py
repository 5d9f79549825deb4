"""Tokens: secrets that may act in a role within a scope."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin.tokens import service
from tidegate_server.admin.tokens.schemas import (
    NewTokenAnswer,
    TokenAnswer,
    TokenBody,
    TokenPage,
)
from tidegate_server.domain.tokens import Role, Token
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
    "GET", COLLECTION, role=Role.ADMIN, scoped_to_token=True, query=PageQuery, response=TokenPage
)
def list_tokens(page: PageRequest) -> Response:
    """List the tokens within your token's scope, without their secrets."""
    tokens = service.tokens_in_scope(backend().store, current_token())
    return responses.page(TokenPage(), *paginate(tokens, page))


@blueprint.operation(
    "POST",
    COLLECTION,
    role=Role.ADMIN,
    scoped_to_token=True,
    body=TokenBody,
    response=NewTokenAnswer,
    status=HTTPStatus.CREATED,
)
def create_token(new: Token) -> Response:
    """Create a token. Only this answer shows its `secret`."""
    stored = service.create_token(
        backend().store, backend().settings.secret_key, new, current_token(), current_reason()
    )
    return responses.created(
        NewTokenAnswer(), stored, stored.revision, "tokens.get_token", token=stored.document.id
    )


@blueprint.operation("GET", ITEM, role=Role.ADMIN, scoped_to_token=True, response=TokenAnswer)
def get_token(token: str) -> Response:
    """Get a token, without its secret."""
    stored = service.read_token(backend().store, token, current_token())
    return responses.document(TokenAnswer(), stored, stored.revision)


@blueprint.operation(
    "DELETE",
    ITEM,
    role=Role.ADMIN,
    scoped_to_token=True,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def delete_token(token: str) -> Response:
    """Delete a token. It stops working within two seconds, its open streams within a minute."""
    service.delete_token(backend().store, token, current_token(), current_reason(), read_if_match())
    return responses.no_content()
