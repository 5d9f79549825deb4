"""The audit log: who changed what, when and why."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin.audit.schemas import AuditPage
from tidegate_server.admin.document_reader import SERVER, read_project
from tidegate_server.domain.tokens import Role
from tidegate_server.errors import Forbidden
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_token
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, encode_cursor, log_position

blueprint = Blueprint("audit", __name__, description="Who changed what, when and why")


@blueprint.operation(
    "GET", f"{PROJECT}/audit", role=Role.READER, query=PageQuery, response=AuditPage
)
def list_project_audit(page: PageRequest, project: str) -> Response:
    """List the changes in a project, the latest first."""
    if current_token().environment is not None:
        raise Forbidden(
            "The audit log covers every environment of the project; this token is for one only."
        )
    read_project(backend().store, project)
    return _entries(project, page)


@blueprint.operation("GET", "/api/v1/audit", role=Role.READER, query=PageQuery, response=AuditPage)
def list_server_audit(page: PageRequest) -> Response:
    """List the changes of projects and tokens, the latest first."""
    return _entries(SERVER, page)


def _entries(scope: str, page: PageRequest) -> Response:
    entries, following = backend().store.logs.audit(scope, log_position(page), page.limit)
    return responses.page(AuditPage(), entries, encode_cursor(following))
