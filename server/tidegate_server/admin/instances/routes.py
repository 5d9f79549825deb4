"""SDK instances: processes that run an SDK, and the snapshot version that they use."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin.document_reader import read_environment
from tidegate_server.admin.instances.schemas import InstancePage
from tidegate_server.domain.permissions import Permission
from tidegate_server.web import responses
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint("instances", __name__, description="Processes that run an SDK")


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/instances",
    permission=Permission.READ,
    query=PageQuery,
    response=InstancePage,
)
def list_instances(page: PageRequest, project: str, environment: str) -> Response:
    """List the SDK instances that reported within the last day."""
    store = backend().store
    read_environment(store, project, environment)
    instances = {each.id: each for each in store.instances.all(project, environment)}
    return responses.page(InstancePage(), *paginate(instances, page))
