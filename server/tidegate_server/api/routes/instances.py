"""SDK instances: which processes evaluate flags, and with which version."""

from __future__ import annotations

from flask import Response

from tidegate_server.api import answers
from tidegate_server.api.backend import backend
from tidegate_server.api.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.api.paging import PageQuery, PageRequest, page_of
from tidegate_server.api.schemas.instances import InstancePage
from tidegate_server.api.services import contents
from tidegate_server.domain.tokens import Role

blueprint = Blueprint("instances", __name__, description="Processes that evaluate flags")


@blueprint.operation(
    "GET", f"{ENVIRONMENT}/instances", needs=Role.READER, query=PageQuery, answer=InstancePage
)
def list_instances(asked: PageRequest, project: str, environment: str) -> Response:
    """List the SDK instances that reported within the last day."""
    store = backend().store
    contents.environment_of(store, project, environment)
    found = {each.id: each for each in store.instances(project, environment)}
    page, following = page_of(found, asked)
    return answers.of_page(InstancePage(), page, following)
