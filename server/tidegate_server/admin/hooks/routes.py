"""Hooks: URLs where monitoring systems send alerts that may hold, roll back or kill."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from flask import Response, g, request

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.hooks import service
from tidegate_server.admin.hooks.alert_actions import apply_alert
from tidegate_server.admin.hooks.alert_payloads import parse_alert
from tidegate_server.admin.hooks.schemas import (
    AlertBody,
    HeardAnswer,
    HookAnswer,
    HookBody,
    HookPage,
    NewHookAnswer,
    ReceivedAlertsAnswer,
)
from tidegate_server.domain.hook_edits import delete_hook, hook_address
from tidegate_server.domain.hooks import Hook
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint(
    "hooks", __name__, description="URLs where alerts may hold, roll back or kill flags"
)

hooks = DocumentResource(blueprint, Kind.HOOK, HookAnswer, HookPage, key_field="id")
hooks.serve_list("List the hooks of a project, without their secrets.")
hooks.serve_get("Get a hook, without its secret.")
hooks.serve_replace(
    HookBody,
    service.put_hook,
    "Replace what a hook does. It keeps its URL and its secret.\n\nIt also needs the permission "
    "`kill` in the environment of the hook, which does what that permission allows.",
)
hooks.serve_history(service.put_hook)
hooks.serve_delete(delete_hook, "Delete a hook. Its secret stops working at once.")


@blueprint.operation(
    "POST",
    hooks.collection,
    permission=Permission.WRITE,
    body=HookBody,
    response=NewHookAnswer,
    status=HTTPStatus.CREATED,
)
def create_hook(new: Hook, project: str) -> Response:
    """Create a hook. Only this answer shows its `secret`.

    It also needs the permission `kill` in the hook's environment: the hook does what that
    permission allows.
    """
    stored = service.create_hook(
        backend().store,
        backend().settings.secret_key,
        project,
        new,
        current_actor(),
        current_reason(),
    )
    return responses.created(
        NewHookAnswer(),
        stored,
        stored.revision,
        "hooks.get_hook",
        project=project,
        hook=stored.document.id,
    )


@blueprint.operation(
    "GET",
    f"{hooks.item}/alerts",
    permission=Permission.READ,
    response=ReceivedAlertsAnswer,
    etag=False,
)
def list_alerts(project: str, hook: str) -> Response:
    """List the last alerts that a hook received, and what each did."""
    store = backend().store
    read_document(store, project, hook_address(hook))
    alerts = store.heard_alerts.latest(project, hook)
    return responses.value(ReceivedAlertsAnswer(), {"items": alerts})


def authenticate(hook: str) -> None:
    """Check the hook's secret, before anything else of the request is read."""
    given = request.authorization
    secret = ""
    if given is not None:
        secret = (given.token if given.type == "bearer" else given.password) or ""
    g.hook = service.authenticate_hook(backend(), hook, secret)


@blueprint.operation(
    "POST",
    "/api/v1/hooks/<key:hook>",
    permission=None,
    authorize=authenticate,
    security=[{"hookBearer": []}, {"hookBasic": []}],
    body=AlertBody,
    response=HeardAnswer,
    etag=False,
    errors=(HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE),
)
def receive_alert(payload: Mapping[str, Any], hook: str) -> Response:
    """Send an alert to a hook. If the alert fires, the hook acts on its flags.

    A hook acts once on an alert: the same alert sent again does nothing, even if a person has
    resumed the release since. The end of an alert undoes nothing.
    """
    authenticated = cast(service.AuthenticatedHook, g.hook)
    alert = parse_alert(authenticated.hook.kind, payload)
    result = apply_alert(backend().store, authenticated, alert)
    return responses.value(HeardAnswer(), result)
