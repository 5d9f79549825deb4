"""Carries out planned operations without committing them: what would they change now?

Each operation goes through its own route, with the same checks of its body and of its owner's
permissions as a request from outside. What it would commit is kept instead, and all of it becomes
one change.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from flask import Flask, current_app, g
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from tidegate_server.admin.pending_store import PendingStore
from tidegate_server.admin.presented_documents import with_changed_documents
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Audit, Change, Guard
from tidegate_server.domain.planned_operations import (
    PlannedAction,
    PlannedOperation,
    merged,
)
from tidegate_server.errors import FieldProblem, Invalid, NotPossible, TidegateError
from tidegate_server.store import Store
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import UNCHANGING
from tidegate_server.web.inner_requests import inner_environ
from tidegate_server.web.reasons import reason_header

NOT_PLANNED = frozenset({"change requests", "client secrets"})
"""The blueprints whose operations are about plans themselves, or whose bodies are secret."""


class NothingToChange(NotPossible):
    """Planned operations would change nothing."""


class Route(NamedTuple):
    """The route of a planned operation."""

    project: str | None
    shows_secret: bool
    blueprint: str


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What planned operations would do now.

    Attributes:
        change: everything that they would commit.
        actions: what each one does.
        answers: the bodies of their answers; None: an answer without content.
        server_values: the single values to write before the commit.
    """

    change: Change
    actions: tuple[PlannedAction, ...]
    answers: tuple[Any, ...]
    server_values: dict[str, str]


def find_route(operation: PlannedOperation, index: int = 0) -> Route:
    """Return the route of an operation.

    Raises:
        Invalid: there is none, or it changes nothing, or its operations cannot be planned.
    """
    pointer = f"/operations/{index}/path"
    try:
        endpoint, values = _match(operation)
    except (HTTPException, RequestRedirect):
        message = (
            f"There is no operation {operation.method} {operation.path}; /openapi.json lists all."
        )
        raise Invalid(message, FieldProblem(pointer, message)) from None
    view = current_app.view_functions[endpoint]
    permission = getattr(view, "permission", None)
    blueprint = endpoint.rpartition(".")[0]
    if permission is None or permission in UNCHANGING or blueprint in NOT_PLANNED:
        message = f"{operation.method} {operation.path} cannot be planned; do it at once."
        raise Invalid(message, FieldProblem(pointer, message))
    return Route(values.get("project"), getattr(view, "shows_secret", False), blueprint)


def _match(operation: PlannedOperation) -> tuple[str, dict[str, Any]]:
    adapter = current_app.url_map.bind("localhost")
    path = operation.path.partition("?")[0]
    endpoint, values = adapter.match(path, method=operation.method)
    return endpoint, dict(values)


def rehearse(
    store: Store,
    operations: Sequence[PlannedOperation],
    caller: Caller,
    reason: str,
    if_match: Sequence[str | None] = (),
    action: str = "change_request.apply",
) -> Rehearsal:
    """Return what operations would do now, on behalf of a caller.

    Args:
        store: where the documents are; nothing is written.
        operations: in their order; later ones see what earlier ones would write.
        caller: whose permissions count.
        reason: why, for the audit log.
        if_match: of each operation, the revisions that its owner saw; by default any.
        action: what the audit log calls several operations together.

    Raises:
        NothingToChange: everything is as they would make it.
        Invalid, NotPossible, Forbidden, StaleRevision: as the operations raise them; a pointer
            begins with that of its operation.
    """
    pending = PendingStore(store)
    answers = []
    actions: list[PlannedAction] = []
    for index, operation in enumerate(operations):
        match = if_match[index] if if_match else "*"
        kept = len(pending.pending)
        try:
            answers.append(_carry_out(operation, caller, pending, reason, match))
        except HTTPException as error:
            detail = error.description or "The body cannot be read."
            raise Invalid(detail, FieldProblem(f"/operations/{index}/body", detail)) from None
        except TidegateError as error:
            if len(operations) > 1:
                error.message = f"Operation {index + 1}: {error.message}"
                error.fields = tuple(
                    replace(each, pointer=f"/operations/{index}/body{each.pointer}")
                    for each in error.fields
                )
            raise
        actions += [_action(change.audit) for change in pending.pending[kept:] if change.audit]
    changes = [change for change in pending.pending if _writes(change)]
    if not changes:
        raise NothingToChange("This would change nothing: everything is like this already.")
    names = ", ".join(each.summary for each in actions)
    audit = Audit(caller.name, action, "", "", reason, {"operations": names})
    change = with_changed_documents(merged(pending.pending, audit))
    return Rehearsal(change, tuple(actions), tuple(answers), pending.server_values)


def _writes(change: Change) -> bool:
    return change.audit is not None or any(not isinstance(each, Guard) for each in change.writes)


def _action(audit: Audit) -> PlannedAction:
    return PlannedAction(audit.action, audit.target, audit.environment, audit.details)


def _carry_out(
    operation: PlannedOperation,
    caller: Caller,
    pending: PendingStore,
    reason: str,
    if_match: str | None,
) -> Any:
    """Return the body of the answer to one operation."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    services = replace(backend(), store=pending)
    headers = {"If-Match": if_match} if if_match is not None else {}
    in_body = operation.body.get("reason") if isinstance(operation.body, dict) else None
    if (operation.reason or reason) and not in_body:
        headers |= reason_header(operation.reason or reason)
    body = {} if operation.body is None else {"json": operation.body}
    request_id = g.get("request_id", "")
    # A new application context first: the request within it has values of its own in ``g``.
    with (
        app.app_context(),
        app.test_request_context(
            operation.path,
            method=operation.method,
            headers=headers,
            environ_overrides=inner_environ(caller),
            **body,
        ),
    ):
        g.request_id, g.backend = request_id, services
        response = app.make_response(app.dispatch_request())
        data = response.get_data()
    return json.loads(data) if data else None
