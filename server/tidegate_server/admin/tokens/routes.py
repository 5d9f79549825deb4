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
from tidegate_server.web.backend import backend, present_token
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, page_of

blueprint = Blueprint("tokens", __name__, description="Who may do what")

LIST = "/api/v1/tokens"
ONE = f"{LIST}/<key:token>"


@blueprint.operation(
    "GET", LIST, needs=Role.ADMIN, in_own_scope=True, query=PageQuery, answer=TokenPage
)
def list_tokens(asked: PageRequest) -> Response:
    """List the tokens within the scope of the one that asks, without their secrets."""
    found = service.visible(backend().store, present_token())
    return responses.of_page(TokenPage(), *page_of(found, asked))


@blueprint.operation(
    "POST",
    LIST,
    needs=Role.ADMIN,
    in_own_scope=True,
    body=TokenBody,
    answer=NewTokenAnswer,
    status=HTTPStatus.CREATED,
)
def create_token(asked: TokenRequest) -> Response:
    """Make a token. Its `secret` is in this answer only."""
    made = service.create(backend().store, backend().settings.secret_key, asked, present_token())
    id = made.stored.document.id
    return responses.created(
        NewTokenAnswer(), made, made.stored.revision, "tokens.get_token", token=id
    )


@blueprint.operation("GET", ONE, needs=Role.ADMIN, in_own_scope=True, answer=TokenAnswer)
def get_token(token: str) -> Response:
    """Read a token, without its secret."""
    stored = service.one(backend().store, token, present_token())
    return responses.of_document(TokenAnswer(), stored, stored.revision)


@blueprint.operation(
    "DELETE",
    ONE,
    needs=Role.ADMIN,
    in_own_scope=True,
    answer=None,
    status=HTTPStatus.NO_CONTENT,
)
def delete_token(token: str) -> Response:
    """Delete a token; it stops working within a second or two, and its streams in a minute."""
    service.delete(backend().store, token, present_token())
    return responses.nothing()
