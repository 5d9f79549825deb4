"""Flags: what they are in every environment of their project."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin import document_edits, document_reader
from tidegate_server.admin.flags.schemas import FlagAnswer, FlagBody, FlagPage, FlagUpdate
from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, present_actor
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, page_of

blueprint = Blueprint("flags", __name__, description="What flags are in every environment")

LIST = f"{PROJECT}/flags"
ONE = f"{LIST}/<key:flag>"


@blueprint.operation("GET", LIST, needs=Role.READER, query=PageQuery, answer=FlagPage)
def list_flags(asked: PageRequest, project: str) -> Response:
    """List the project's flags."""
    store = backend().store
    document_reader.project_of(store, project)
    return responses.of_page(FlagPage(), *page_of(store.all(project, Kind.FLAG), asked))


@blueprint.operation(
    "POST",
    LIST,
    needs=Role.WRITER,
    body=FlagBody,
    answer=FlagAnswer,
    status=HTTPStatus.CREATED,
)
def create_flag(asked: FlagDefinition, project: str) -> Response:
    """Create a flag, with its first targeting in every environment."""
    stored = document_edits.create_flag(backend().store, project, asked, present_actor())
    return responses.created(
        FlagAnswer(), stored, stored.revision, "flags.get_flag", project=project, flag=asked.key
    )


@blueprint.operation("GET", ONE, needs=Role.READER, answer=FlagAnswer)
def get_flag(project: str, flag: str) -> Response:
    """Read a flag."""
    stored = document_reader.document_of(backend().store, project, Address(Kind.FLAG, flag))
    return responses.of_document(FlagAnswer(), stored, stored.revision)


@blueprint.operation("PUT", ONE, needs=Role.WRITER, body=FlagUpdate, answer=FlagAnswer)
def replace_flag(asked: FlagDefinition, project: str, flag: str) -> Response:
    """Replace a flag's definition, in every environment at once."""
    after = document_edits.with_key(asked, flag)
    stored = document_edits.replace_flag(backend().store, project, after, present_actor())
    return responses.of_document(FlagAnswer(), stored, stored.revision)


@blueprint.operation("DELETE", ONE, needs=Role.WRITER, answer=None, status=HTTPStatus.NO_CONTENT)
def delete_flag(project: str, flag: str) -> Response:
    """Delete a flag and its targeting in every environment."""
    document_edits.delete_flag(backend().store, project, flag, present_actor())
    return responses.nothing()
