"""Projects: namespaces of flags, segments, policies and webhooks."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin.document_commits import with_key
from tidegate_server.admin.document_reader import SERVER, read_project
from tidegate_server.admin.projects import deletion, service
from tidegate_server.admin.projects.schemas import (
    DeletionQuery,
    DeletionRequest,
    ProjectAnswer,
    ProjectBody,
    ProjectPage,
    ProjectUpdate,
)
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.projects import Project
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor, current_caller
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.etags import read_if_match
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint(
    "projects", __name__, description="Namespaces of flags, segments, policies and webhooks"
)

COLLECTION = "/api/v1/projects"


@blueprint.operation(
    "GET",
    COLLECTION,
    permission=Permission.READ,
    scoped_to_caller=True,
    query=PageQuery,
    response=ProjectPage,
)
def list_projects(page: PageRequest) -> Response:
    """List the projects that you may read, or parts of them."""
    caller = current_caller()
    projects = {
        key: stored
        for key, stored in backend().store.all(SERVER, Kind.PROJECT).items()
        if caller.allows(Permission.READ, key, None)
    }
    return responses.page(ProjectPage(), *paginate(projects, page))


@blueprint.operation(
    "POST",
    COLLECTION,
    permission=Permission.ADMINISTER,
    body=ProjectBody,
    response=ProjectAnswer,
    status=HTTPStatus.CREATED,
)
def create_project(new: Project) -> Response:
    """Create a project without environments; create those next."""
    stored = service.create_project(backend().store, new, current_actor(), current_reason())
    return responses.created(
        ProjectAnswer(), stored, stored.revision, "projects.get_project", project=new.key
    )


@blueprint.operation("GET", PROJECT, permission=Permission.READ, response=ProjectAnswer)
def get_project(project: str) -> Response:
    """Get a project."""
    stored = read_project(backend().store, project)
    return responses.document(ProjectAnswer(), stored, stored.revision)


@blueprint.operation(
    "DELETE",
    PROJECT,
    permission=Permission.ADMINISTER,
    query=DeletionQuery,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def delete_project(wanted: DeletionRequest, project: str) -> Response:
    """Delete a project: its environments, documents, tokens, evidence and everything else of it.

    It must have no active release, and no application may have used it within its
    `deletable_after_days`. With `force` it may be in use; `confirm` is then its key. The audit log
    stays.
    """
    deletion.delete_project(
        backend().store, project, wanted, current_actor(), current_reason(), read_if_match()
    )
    return responses.no_content()


@blueprint.operation(
    "PUT", PROJECT, permission=Permission.ADMINISTER, body=ProjectUpdate, response=ProjectAnswer
)
def replace_project(changed: Project, project: str) -> Response:
    """Replace a project's name and description."""
    stored = service.replace_project(
        backend().store,
        with_key(changed, project),
        current_actor(),
        current_reason(),
        read_if_match(),
    )
    return responses.document(ProjectAnswer(), stored, stored.revision)
