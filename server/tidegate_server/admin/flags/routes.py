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
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint("flags", __name__, description="What flags are in every environment")

LIST = f"{PROJECT}/flags"
ONE = f"{LIST}/<key:flag>"


@blueprint.operation("GET", LIST, role=Role.READER, query=PageQuery, response=FlagPage)
def list_flags(asked: PageRequest, project: str) -> Response:
    """List the project's flags."""
    store = backend().store
    document_reader.project_of(store, project)
    return responses.page(FlagPage(), *paginate(store.all(project, Kind.FLAG), asked))


@blueprint.operation(
    "POST",
    LIST,
    role=Role.WRITER,
    body=FlagBody,
    response=FlagAnswer,
    status=HTTPStatus.CREATED,
)
def create_flag(asked: FlagDefinition, project: str) -> Response:
    """Create a flag, with its first targeting in every environment."""
    stored = document_edits.create_flag(backend().store, project, asked, current_actor())
    return responses.created(
        FlagAnswer(), stored, stored.revision, "flags.get_flag", project=project, flag=asked.key
    )


@blueprint.operation("GET", ONE, role=Role.READER, response=FlagAnswer)
def get_flag(project: str, flag: str) -> Response:
    """Read a flag."""
    stored = document_reader.document_of(backend().store, project, Address(Kind.FLAG, flag))
    return responses.document(FlagAnswer(), stored, stored.revision)


@blueprint.operation("PUT", ONE, role=Role.WRITER, body=FlagUpdate, response=FlagAnswer)
def replace_flag(asked: FlagDefinition, project: str, flag: str) -> Response:
    """Replace a flag's definition, in every environment at once."""
    after = document_edits.with_key(asked, flag)
    stored = document_edits.replace_flag(backend().store, project, after, current_actor())
    return responses.document(FlagAnswer(), stored, stored.revision)


@blueprint.operation("DELETE", ONE, role=Role.WRITER, response=None, status=HTTPStatus.NO_CONTENT)
def delete_flag(project: str, flag: str) -> Response:
    """Delete a flag and its targeting in every environment."""
    document_edits.delete_flag(backend().store, project, flag, current_actor())
    return responses.no_content()
