"""SDK instances: processes that run an SDK, and the snapshot version that they use."""

from __future__ import annotations

from dataclasses import dataclass, fields

from flask import Response

from tidegate_server.admin.document_reader import read_environment
from tidegate_server.admin.instances.schemas import (
    InstanceListQuery,
    InstanceListRequest,
    InstancePage,
)
from tidegate_server.domain.permissions import Permission
from tidegate_server.store import Store
from tidegate_server.store.instances import Instance
from tidegate_server.web import responses
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.pagination import paginate

blueprint = Blueprint("instances", __name__, description="Processes that run an SDK")


@dataclass(frozen=True, slots=True)
class ListedInstance(Instance):
    """An instance, and since when it uses an old version; None: it does not, or is not known."""

    behind_since_ms: int | None = None


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/instances",
    permission=Permission.READ,
    query=InstanceListQuery,
    response=InstancePage,
)
def list_instances(wanted: InstanceListRequest, project: str, environment: str) -> Response:
    """List the SDK instances that reported within the last day, with the present version."""
    store = backend().store
    read_environment(store, project, environment)
    # Before the instances: one that is read afterwards may already be ahead.
    version = store.version(project, environment)
    instances = {
        each.id: each
        for each in store.instances.all(project, environment)
        if wanted.live in (None, each.live) and wanted.behind in (None, each.version < version)
    }
    chosen, following = paginate(instances, wanted.page)
    items = _with_behind_since(store, project, environment, chosen, version)
    return responses.page(InstancePage(), items, following, version=version, total=len(instances))


def _with_behind_since(
    store: Store, project: str, environment: str, instances: list[Instance], version: int
) -> list[ListedInstance]:
    missing = {each.id: each.version + 1 for each in instances if each.version < version}
    committed = store.receipts.committed_ms(project, environment, missing.values())
    return [
        ListedInstance(
            **{field.name: getattr(each, field.name) for field in fields(Instance)},
            behind_since_ms=committed.get(missing[each.id]) if each.id in missing else None,
        )
        for each in instances
    ]
