"""Environments: places where a project's flags run."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from flask import Response

from tidegate_server.admin.document_reader import read_project
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.projects import deletion
from tidegate_server.admin.projects.context_keys import new_context_key
from tidegate_server.admin.projects.deletion import earlier_deletion
from tidegate_server.admin.projects.schemas import (
    ContextKeyAnswer,
    DeletionQuery,
    DeletionRequest,
    EnvironmentAnswer,
    EnvironmentBody,
    EnvironmentPage,
    EnvironmentUpdate,
)
from tidegate_server.domain.change import Change, Delete
from tidegate_server.domain.deletions import deletion_address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.domain.project_edits import edit_environment, new_environment
from tidegate_server.domain.projects import Environment
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor, current_caller
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.etags import read_if_match
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
    """List the environments of a project that you may read."""
    store = backend().store
    read_project(store, project)
    caller = current_caller()
    readable = {
        key: stored
        for key, stored in store.all(project, Kind.ENVIRONMENT).items()
        if caller.allows(Permission.READ, project, key)
    }
    return responses.page(EnvironmentPage(), *paginate(readable, page))


def create_after_deletion(
    documents: ProjectDocuments, environment: Environment, *, actor: str, reason: str
) -> Change:
    """Return the change that creates an environment, after an earlier one with its key is gone."""
    change = new_environment(documents, environment, actor=actor, reason=reason)
    earlier = earlier_deletion(backend().store, documents.project, environment.key)
    if earlier is None:
        return change
    address = deletion_address(environment.key)
    delete = Delete(address, earlier.revision, before=earlier.document)
    return replace(change, writes=(*change.writes, delete))


environments.serve_create(
    EnvironmentBody,
    create_after_deletion,
    "Create an environment, with the first targeting of every flag of the project.",
)
environments.serve_get("Get an environment.")
environments.serve_replace(
    EnvironmentUpdate,
    edit_environment,
    "Replace an environment: its name, its description, its allowed origins, and what changes "
    "need: a reason, approvals.",
)

environments.serve_history(edit_environment)


@blueprint.operation(
    "DELETE",
    environments.item,
    permission=Permission.ADMINISTER,
    query=DeletionQuery,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def delete_environment(wanted: DeletionRequest, project: str, environment: str) -> Response:
    """Delete an environment: its targetings, releases, tokens, evidence and everything else of it.

    It must have no active release, and no application may have used it within the project's
    `deletable_after_days`. With `force` it may be in use; `confirm` is then its key.
    """
    deletion.delete_environment(
        backend().store,
        project,
        environment,
        wanted,
        current_actor(),
        current_reason(),
        read_if_match(),
    )
    return responses.no_content()


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
