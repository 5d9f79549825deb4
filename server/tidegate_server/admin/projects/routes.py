"""Projects: namespaces of flags."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin import document_edits, document_reader
from tidegate_server.admin.projects.schemas import (
    ProjectAnswer,
    ProjectBody,
    ProjectPage,
    ProjectUpdate,
)
from tidegate_server.domain.change import Kind
from tidegate_server.domain.projects import Project
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor, current_token
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint("projects", __name__, description="Namespaces of flags")

LIST = "/api/v1/projects"


@blueprint.operation(
    "GET", LIST, role=Role.READER, scoped_to_token=True, query=PageQuery, response=ProjectPage
)
def list_projects(asked: PageRequest) -> Response:
    """List the projects that the token reaches."""
    only = current_token().project
    found = {
        key: stored
        for key, stored in backend().store.all(document_reader.SERVER, Kind.PROJECT).items()
        if only in (None, key)
    }
    return responses.page(ProjectPage(), *paginate(found, asked))


@blueprint.operation(
    "POST",
    LIST,
    role=Role.ADMIN,
    body=ProjectBody,
    response=ProjectAnswer,
    status=HTTPStatus.CREATED,
)
def create_project(asked: Project) -> Response:
    """Create a project. It has no environments yet; create those next."""
    stored = document_edits.create_project(backend().store, asked, current_actor())
    return responses.created(
        ProjectAnswer(), stored, stored.revision, "projects.get_project", project=asked.key
    )


@blueprint.operation("GET", PROJECT, role=Role.READER, response=ProjectAnswer)
def get_project(project: str) -> Response:
    """Read a project."""
    stored = document_reader.project_of(backend().store, project)
    return responses.document(ProjectAnswer(), stored, stored.revision)


@blueprint.operation("PUT", PROJECT, role=Role.ADMIN, body=ProjectUpdate, response=ProjectAnswer)
def replace_project(asked: Project, project: str) -> Response:
    """Change a project's name and description."""
    after = document_edits.with_key(asked, project)
    stored = document_edits.replace_project(backend().store, after, current_actor())
    return responses.document(ProjectAnswer(), stored, stored.revision)
