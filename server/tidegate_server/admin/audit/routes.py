"""The audit log: who changed what, when and why."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin import document_reader
from tidegate_server.admin.audit.schemas import AuditPage
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
def list_project_audit(asked: PageRequest, project: str) -> Response:
    """List what was changed in a project, the latest first."""
    if current_token().environment is not None:
        raise Forbidden("The log tells of every environment; the token is for one of them only.")
    document_reader.project_of(backend().store, project)
    return _page(asked, project)


@blueprint.operation("GET", "/api/v1/audit", role=Role.READER, query=PageQuery, response=AuditPage)
def list_server_audit(asked: PageRequest) -> Response:
    """List what was changed in the server itself: projects and tokens."""
    return _page(asked, document_reader.SERVER)


def _page(asked: PageRequest, scope: str) -> Response:
    entries, following = backend().store.audit(scope, log_position(asked), asked.limit)
    return responses.page(AuditPage(), entries, encode_cursor(following))
