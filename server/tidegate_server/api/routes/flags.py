"""Flags: what they are in every environment of their project."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.api import answers
from tidegate_server.api.backend import backend, present_actor
from tidegate_server.api.blueprint import PROJECT, Blueprint
from tidegate_server.api.paging import PageQuery, PageRequest, page_of
from tidegate_server.api.schemas.flags import FlagAnswer, FlagBody, FlagPage, FlagUpdate
from tidegate_server.api.services import contents, edits
from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.domain.tokens import Role

blueprint = Blueprint("flags", __name__, description="What flags are in every environment")

LIST = f"{PROJECT}/flags"
ONE = f"{LIST}/<key:flag>"


@blueprint.operation("GET", LIST, needs=Role.READER, query=PageQuery, answer=FlagPage)
def list_flags(asked: PageRequest, project: str) -> Response:
    """List the project's flags."""
    store = backend().store
    contents.project_of(store, project)
    return answers.of_page(FlagPage(), *page_of(store.all(project, Kind.FLAG), asked))


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
    stored = edits.create_flag(backend().store, project, asked, present_actor())
    return answers.created(
        FlagAnswer(), stored, stored.revision, "flags.get_flag", project=project, flag=asked.key
    )


@blueprint.operation("GET", ONE, needs=Role.READER, answer=FlagAnswer)
def get_flag(project: str, flag: str) -> Response:
    """Read a flag."""
    stored = contents.document_of(backend().store, project, Address(Kind.FLAG, flag))
    return answers.of_document(FlagAnswer(), stored, stored.revision)


@blueprint.operation("PUT", ONE, needs=Role.WRITER, body=FlagUpdate, answer=FlagAnswer)
def replace_flag(asked: FlagDefinition, project: str, flag: str) -> Response:
    """Replace a flag's definition, in every environment at once."""
    after = edits.with_key(asked, flag)
    stored = edits.replace_flag(backend().store, project, after, present_actor())
    return answers.of_document(FlagAnswer(), stored, stored.revision)


@blueprint.operation("DELETE", ONE, needs=Role.WRITER, answer=None, status=HTTPStatus.NO_CONTENT)
def delete_flag(project: str, flag: str) -> Response:
    """Delete a flag and its targeting in every environment."""
    edits.delete_flag(backend().store, project, flag, present_actor())
    return answers.nothing()
