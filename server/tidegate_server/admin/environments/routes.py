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
from tidegate_server.web.backend import backend, current_actor, current_token
from tidegate_server.web.blueprint import ENVIRONMENT, PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint("environments", __name__, description="Where a project's flags run")

LIST = f"{PROJECT}/environments"


@blueprint.operation("GET", LIST, role=Role.READER, query=PageQuery, response=EnvironmentPage)
def list_environments(asked: PageRequest, project: str) -> Response:
    """List the project's environments that the token reaches."""
    store = backend().store
    document_reader.project_of(store, project)
    only = current_token().environment
    found = {
        key: stored
        for key, stored in store.all(project, Kind.ENVIRONMENT).items()
        if only in (None, key)
    }
    return responses.page(EnvironmentPage(), *paginate(found, asked))


@blueprint.operation(
    "POST",
    LIST,
    role=Role.ADMIN,
    body=EnvironmentBody,
    response=EnvironmentAnswer,
    status=HTTPStatus.CREATED,
)
def create_environment(asked: Environment, project: str) -> Response:
    """Create an environment, with every flag of the project at its first targeting."""
    stored = document_edits.create_environment(backend().store, project, asked, current_actor())
    return responses.created(
        EnvironmentAnswer(),
        stored,
        stored.revision,
        "environments.get_environment",
        project=project,
        environment=asked.key,
    )


@blueprint.operation("GET", ENVIRONMENT, role=Role.READER, response=EnvironmentAnswer)
def get_environment(project: str, environment: str) -> Response:
    """Read an environment."""
    stored = document_reader.environment_of(backend().store, project, environment)
    return responses.document(EnvironmentAnswer(), stored, stored.revision)


@blueprint.operation(
    "PUT", ENVIRONMENT, role=Role.ADMIN, body=EnvironmentUpdate, response=EnvironmentAnswer
)
def replace_environment(asked: Environment, project: str, environment: str) -> Response:
    """Change an environment's name and description."""
    after = document_edits.with_key(asked, environment)
    stored = document_edits.replace_environment(backend().store, project, after, current_actor())
    return responses.document(EnvironmentAnswer(), stored, stored.revision)
