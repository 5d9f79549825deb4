"""Tokens: who may do what."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin.tokens import service
from tidegate_server.admin.tokens.schemas import (
    NewTokenAnswer,
    TokenAnswer,
    TokenBody,
    TokenPage,
    TokenRequest,
)
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_token
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint("tokens", __name__, description="Who may do what")

LIST = "/api/v1/tokens"
ONE = f"{LIST}/<key:token>"


@blueprint.operation(
    "GET", LIST, role=Role.ADMIN, scoped_to_token=True, query=PageQuery, response=TokenPage
)
def list_tokens(asked: PageRequest) -> Response:
    """List the tokens within the scope of the one that asks, without their secrets."""
    found = service.visible(backend().store, current_token())
    return responses.page(TokenPage(), *paginate(found, asked))


@blueprint.operation(
    "POST",
    LIST,
    role=Role.ADMIN,
    scoped_to_token=True,
    body=TokenBody,
    response=NewTokenAnswer,
    status=HTTPStatus.CREATED,
)
def create_token(asked: TokenRequest) -> Response:
    """Make a token. Its `secret` is in this answer only."""
    made = service.create(backend().store, backend().settings.secret_key, asked, current_token())
    id = made.stored.document.id
    return responses.created(
        NewTokenAnswer(), made, made.stored.revision, "tokens.get_token", token=id
    )


@blueprint.operation("GET", ONE, role=Role.ADMIN, scoped_to_token=True, response=TokenAnswer)
def get_token(token: str) -> Response:
    """Read a token, without its secret."""
    stored = service.one(backend().store, token, current_token())
    return responses.document(TokenAnswer(), stored, stored.revision)


@blueprint.operation(
    "DELETE",
    ONE,
    role=Role.ADMIN,
    scoped_to_token=True,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def delete_token(token: str) -> Response:
    """Delete a token; it stops working within a second or two, and its streams in a minute."""
    service.delete(backend().store, token, current_token())
    return responses.no_content()
