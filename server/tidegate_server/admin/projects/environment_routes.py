"""Environments: places where a project's flags run."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin.document_reader import read_project
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.projects.context_keys import new_context_key
from tidegate_server.admin.projects.schemas import (
    ContextKeyAnswer,
    EnvironmentAnswer,
    EnvironmentBody,
    EnvironmentPage,
    EnvironmentUpdate,
)
from tidegate_server.domain.change import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_edits import edit_environment, new_environment
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor, current_token
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint("environments", __name__, description="Places where a project's flags run")

environments = DocumentResource(
    blueprint, Kind.ENVIRONMENT, EnvironmentAnswer, EnvironmentPage, editor=Permission.ADMINISTER
)


@blueprint.operation(
    "GET",
    environments.collection,
    permission=Permission.READ,
    query=PageQuery,
    response=EnvironmentPage,
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
    "Replace an environment: its name, its description, its allowed origins, and whether changes "
    "need a reason.",
)

environments.serve_history(edit_environment)


@blueprint.operation(
    "POST",
    f"{environments.item}/rotate-key",
    permission=Permission.ADMINISTER,
    response=ContextKeyAnswer,
)
def rotate_context_key(project: str, environment: str) -> Response:
    """Give the environment a new context key, which signs the targeting keys of visitors.

    Only this answer shows the key. The old one stays valid for a day; rotate twice to end it now.
    """
    stored = new_context_key(
        backend().store,
        backend().settings.secret_key,
        project,
        environment,
        current_actor(),
        current_reason(),
    )
    return responses.document(ContextKeyAnswer(), stored, stored.revision)
