"""Environments: places where a project's flags run."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin.document_reader import read_project
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.projects.schemas import (
    EnvironmentAnswer,
    EnvironmentBody,
    EnvironmentPage,
    EnvironmentUpdate,
)
from tidegate_server.domain.change import Kind
from tidegate_server.domain.project_edits import edit_environment, new_environment
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_token
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint("environments", __name__, description="Places where a project's flags run")

environments = DocumentResource(
    blueprint, Kind.ENVIRONMENT, EnvironmentAnswer, EnvironmentPage, editor=Role.ADMIN
)


@blueprint.operation(
    "GET", environments.collection, role=Role.READER, query=PageQuery, response=EnvironmentPage
)
def list_environments(page: PageRequest, project: str) -> Response:
    """List the environments of a project that the token may read."""
    store = backend().store
    read_project(store, project)
    only = current_token().environment
    readable = {
        key: stored
        for key, stored in store.all(project, Kind.ENVIRONMENT).items()
        if only in (None, key)
    }
    return responses.page(EnvironmentPage(), *paginate(readable, page))


environments.serve_create(
    EnvironmentBody,
    new_environment,
    "Create an environment, with the first targeting of every flag of the project.",
)
environments.serve_get("Get an environment.")
environments.serve_replace(
    EnvironmentUpdate,
    edit_environment,
    "Replace an environment's name, description and allowed origins.",
)
