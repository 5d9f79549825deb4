"""A whole project's configuration: export it, plan an import, and make it."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, json, request
from werkzeug.exceptions import BadRequest

from tidegate_server.admin.configuration import importing
from tidegate_server.admin.configuration.editor_schemas import editor_schemas
from tidegate_server.admin.configuration.export import export
from tidegate_server.admin.configuration.importing import ImportRequest
from tidegate_server.admin.configuration.schemas import (
    CONFIGURATION_LIMIT,
    ApplyAnswer,
    ApplyBody,
    ExportAnswer,
    PlanAnswer,
    PlanBody,
)
from tidegate_server.admin.document_reader import read_project
from tidegate_server.admin.pending_store import PendingStore
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import Unreadable
from tidegate_server.store import Store
from tidegate_server.web.access_control import require_permission
from tidegate_server.web.backend import backend, compute_import, current_caller
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.caller_address import current_address
from tidegate_server.web.reasons import current_reason
from tidegate_server.web.request_bodies import JSON, read_text
from tidegate_server.web.seen_user_names import names_secret

blueprint = Blueprint(
    "configuration", __name__, description="A whole project's configuration, to keep in files"
)


@blueprint.operation(
    "GET", f"{PROJECT}/export", permission=Permission.READ, response=ExportAnswer, etag=False
)
def export_project(project: str) -> Response:
    """Export the configuration of a project, without secrets.

    It has no kills and no releases: those are acts of people, not configuration.
    """
    caller = current_caller()
    store = backend().store
    read_project(store, project)
    readable = [
        key
        for key in store.keys(project, Kind.ENVIRONMENT)
        if caller.allows(Permission.READ, project, key)
    ]
    return _answer(compute_import(export_json, project, readable))


def export_json(store: Store, project: str, environments: list[str]) -> bytes:
    """Return a project's configuration, as the JSON of ``ExportAnswer``."""
    exported = {**export(store, project, environments), "schemas": editor_schemas()}
    return json.dumps(exported).encode()


@blueprint.operation(
    "POST",
    f"{PROJECT}/plan",
    permission=Permission.READ,
    body=PlanBody,
    parse_body=False,
    response=PlanAnswer,
    etag=False,
)
def plan_import(project: str) -> Response:
    """Show what an import of a configuration would change. This changes nothing.

    Every document is checked as if it were edited on its own, among the others as they will be.
    """
    try:
        return _answer(_compute(importing.plan, _import_request(project, "")))
    except Unreadable as error:
        raise BadRequest(error.message) from None


@blueprint.operation(
    "POST",
    f"{PROJECT}/apply",
    permission=Permission.WRITE,
    scoped_to_caller=True,
    body=ApplyBody,
    parse_body=False,
    response=ApplyAnswer,
    etag=False,
)
def apply_import(project: str) -> Response:
    """Import a configuration: all of it in one change, or nothing.

    Each document needs the permission that its own route needs. Whoever gets no answer sends the
    same request again: what was made is not made twice, and `documents` is then empty.
    """
    caller = current_caller()
    if not caller.has_anywhere(Permission.WRITE, project):
        require_permission(caller, Permission.WRITE, project, None)
    reason = current_reason()
    try:
        return _answer(_compute(importing.apply, _import_request(project, reason)))
    except Unreadable as error:
        raise BadRequest(error.message) from None


def _import_request(project: str, reason: str) -> ImportRequest:
    text, _ = read_text(request, limit=CONFIGURATION_LIMIT)
    services = backend()
    secrets = {
        environment: names_secret(services.settings.secret_key, project, environment)
        for environment in services.store.keys(project, Kind.ENVIRONMENT)
    }
    return ImportRequest(
        *(project, text, current_caller(), reason, services.settings.webhook_networks),
        current_address(),
        secrets,
    )


def _compute(function: Callable[[Store, ImportRequest], bytes], wanted: ImportRequest) -> bytes:
    store = backend().store
    if isinstance(store, PendingStore):
        # A planned import, which is small: what it would write is kept here, in this process.
        return function(store, wanted)
    return compute_import(function, wanted)


def _answer(body: bytes) -> Response:
    return Response(body, content_type=JSON)
