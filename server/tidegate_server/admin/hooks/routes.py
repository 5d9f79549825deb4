"""Hooks: alerts of monitoring systems that may hold, roll back or kill the flags they are for."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from flask import Response, g, request

from tidegate_server.admin import document_reader
from tidegate_server.admin.hooks import service
from tidegate_server.admin.hooks.alert_payloads import read_alert
from tidegate_server.admin.hooks.schemas import (
    AlertBody,
    HeardAnswer,
    HookAnswer,
    HookBody,
    HookPage,
    HookRequest,
    NewHookAnswer,
)
from tidegate_server.domain.change import Kind
from tidegate_server.domain.hook_edits import hook_address
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint("hooks", __name__, description="What alerts may do, and to which flags")

LIST = f"{PROJECT}/hooks"
ONE = f"{LIST}/<key:hook>"


@blueprint.operation("GET", LIST, role=Role.READER, query=PageQuery, response=HookPage)
def list_hooks(asked: PageRequest, project: str) -> Response:
    """List the project's hooks, without their secrets."""
    store = backend().store
    document_reader.project_of(store, project)
    return responses.page(HookPage(), *paginate(store.all(project, Kind.HOOK), asked))


@blueprint.operation(
    "POST",
    LIST,
    role=Role.WRITER,
    body=HookBody,
    response=NewHookAnswer,
    status=HTTPStatus.CREATED,
)
def create_hook(asked: HookRequest, project: str) -> Response:
    """Create a hook. Its `secret` is in this answer only."""
    made = service.create(
        backend().store, backend().settings.secret_key, project, asked, current_actor()
    )
    return responses.created(
        NewHookAnswer(),
        made,
        made.stored.revision,
        "hooks.get_hook",
        project=project,
        hook=made.stored.document.id,
    )


@blueprint.operation("GET", ONE, role=Role.READER, response=HookAnswer)
def get_hook(project: str, hook: str) -> Response:
    """Read a hook, without its secret."""
    stored = document_reader.document_of(backend().store, project, hook_address(hook))
    return responses.document(HookAnswer(), stored, stored.revision)


@blueprint.operation("PUT", ONE, role=Role.WRITER, body=HookBody, response=HookAnswer)
def replace_hook(asked: HookRequest, project: str, hook: str) -> Response:
    """Replace what a hook does; its address and its secret stay."""
    stored = service.replace_one(backend().store, project, hook, asked, current_actor())
    return responses.document(HookAnswer(), stored, stored.revision)


@blueprint.operation("DELETE", ONE, role=Role.WRITER, response=None, status=HTTPStatus.NO_CONTENT)
def delete_hook(project: str, hook: str) -> Response:
    """Delete a hook; its secret is worth nothing from now on."""
    service.delete(backend().store, project, hook, current_actor())
    return responses.no_content()


def admit(hook: str) -> None:
    """Let in who presents the hook's secret, before anything of the alert is read."""
    given = request.authorization
    presented = ""
    if given is not None:
        presented = (given.token if given.type == "bearer" else given.password) or ""
    g.hook = service.admit(backend().store, backend().settings.secret_key, hook, presented)


@blueprint.operation(
    "POST",
    "/api/v1/hooks/<key:hook>",
    role=None,
    authorize=admit,
    security=[{"hookBearer": []}, {"hookBasic": []}],
    body=AlertBody,
    response=HeardAnswer,
    etag=False,
    errors=(HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE),
)
def hear_alert(payload: Mapping[str, Any], hook: str) -> Response:
    """Tell a hook of an alert; one that fires does to the hook's flags what the hook is for.

    An alert that is sent again does nothing again, even when a person has let the release go on
    meanwhile. The end of an alert undoes nothing.
    """
    admitted = cast(service.Admitted, g.hook)
    alert = read_alert(admitted.hook.kind, payload)
    return responses.value(HeardAnswer(), service.hear(backend().store, admitted, alert))
