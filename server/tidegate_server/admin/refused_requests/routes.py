"""Requests of applications that were refused, for whoever sets an application up."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response
from marshmallow import fields

from tidegate_server.admin.document_reader import read_environment
from tidegate_server.documents.fields import Instant
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.permissions import Permission
from tidegate_server.store.refused_requests import RefusedRequest
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.document_schemas import page_schema
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint(
    "refused requests", __name__, description="Requests of applications that were refused"
)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A refused request, and when it was last seen."""

    refused: RefusedRequest
    at_ms: int


class RefusedRequestSchema(Strict):
    """Why requests from an address were refused."""

    last_at = Instant(attribute="at_ms", required=True)
    address = fields.String(attribute="refused.address", required=True)
    detail = fields.String(
        attribute="refused.detail",
        required=True,
        metadata={"description": "the reason, as the application got it"},
    )
    token = fields.String(
        attribute="refused.token",
        required=True,
        metadata={"description": "the name of the token; empty: no token is known"},
    )


RefusedRequestPage = page_schema("RefusedRequestPage", RefusedRequestSchema)


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/refused-requests",
    permission=Permission.READ,
    query=PageQuery,
    response=RefusedRequestPage,
)
def list_refused_requests(page: PageRequest, project: str, environment: str) -> Response:
    """List why requests of applications were refused within the last day, the latest first.

    Requests with an unknown token, or without one, belong to no environment: only who may
    administer this one sees them. The server remembers the last 100.
    """
    store = backend().store
    read_environment(store, project, environment)
    sees_unknown = current_caller().allows(Permission.ADMINISTER, project, environment)
    found = [
        _Listed(each, at_ms)
        for each, at_ms in store.refused_requests.latest()
        if (each.project, each.environment) == (project, environment)
        or (sees_unknown and not each.project)
    ]
    numbered = {f"{number:03}": each for number, each in enumerate(found)}
    return responses.page(RefusedRequestPage(), *paginate(numbered, page))
