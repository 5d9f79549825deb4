"""Environments: where a project's flags run."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin import document_edits, document_reader
from tidegate_server.admin.projects.schemas import (
    EnvironmentAnswer,
    EnvironmentBody,
    EnvironmentPage,
    EnvironmentUpdate,
)
from tidegate_server.domain.change import Kind
from tidegate_server.domain.projects import Environment
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, present_actor, present_token
from tidegate_server.web.blueprint import ENVIRONMENT, PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, page_of

blueprint = Blueprint("environments", __name__, description="Where a project's flags run")

LIST = f"{PROJECT}/environments"


@blueprint.operation("GET", LIST, needs=Role.READER, query=PageQuery, answer=EnvironmentPage)
def list_environments(asked: PageRequest, project: str) -> Response:
    """List the project's environments that the token reaches."""
    store = backend().store
    document_reader.project_of(store, project)
    only = present_token().environment
    found = {
        key: stored
        for key, stored in store.all(project, Kind.ENVIRONMENT).items()
        if only in (None, key)
    }
    return responses.of_page(EnvironmentPage(), *page_of(found, asked))


@blueprint.operation(
    "POST",
    LIST,
    needs=Role.ADMIN,
    body=EnvironmentBody,
    answer=EnvironmentAnswer,
    status=HTTPStatus.CREATED,
)
def create_environment(asked: Environment, project: str) -> Response:
    """Create an environment, with every flag of the project at its first targeting."""
    stored = document_edits.create_environment(backend().store, project, asked, present_actor())
    return responses.created(
        EnvironmentAnswer(),
        stored,
        stored.revision,
        "environments.get_environment",
        project=project,
        environment=asked.key,
    )


@blueprint.operation("GET", ENVIRONMENT, needs=Role.READER, answer=EnvironmentAnswer)
def get_environment(project: str, environment: str) -> Response:
    """Read an environment."""
    stored = document_reader.environment_of(backend().store, project, environment)
    return responses.of_document(EnvironmentAnswer(), stored, stored.revision)


@blueprint.operation(
    "PUT", ENVIRONMENT, needs=Role.ADMIN, body=EnvironmentUpdate, answer=EnvironmentAnswer
)
def replace_environment(asked: Environment, project: str, environment: str) -> Response:
    """Change an environment's name and description."""
    after = document_edits.with_key(asked, environment)
    stored = document_edits.replace_environment(backend().store, project, after, present_actor())
    return responses.of_document(EnvironmentAnswer(), stored, stored.revision)
