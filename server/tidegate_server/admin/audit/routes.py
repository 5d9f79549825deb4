"""The audit log: who changed what, when and why."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin import document_reader
from tidegate_server.admin.audit.schemas import AuditPage
from tidegate_server.domain.tokens import Role
from tidegate_server.errors import Forbidden
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, present_token
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, cursor, place_in_stream

blueprint = Blueprint("audit", __name__, description="Who changed what, when and why")


@blueprint.operation(
    "GET", f"{PROJECT}/audit", needs=Role.READER, query=PageQuery, answer=AuditPage
)
def list_project_audit(asked: PageRequest, project: str) -> Response:
    """List what was changed in a project, the latest first."""
    if present_token().environment is not None:
        raise Forbidden("The log tells of every environment; the token is for one of them only.")
    document_reader.project_of(backend().store, project)
    return _page(asked, project)


@blueprint.operation("GET", "/api/v1/audit", needs=Role.READER, query=PageQuery, answer=AuditPage)
def list_server_audit(asked: PageRequest) -> Response:
    """List what was changed in the server itself: projects and tokens."""
    return _page(asked, document_reader.SERVER)


def _page(asked: PageRequest, scope: str) -> Response:
    entries, following = backend().store.audit(scope, place_in_stream(asked), asked.limit)
    return responses.of_page(AuditPage(), entries, cursor(following))
