"""Scheduled changes: operations that are carried out at a time, once or again and again."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, json, request, url_for

from tidegate_server.admin.action_schemas import ActionBody, ActionRequest
from tidegate_server.admin.change_requests.schemas import ConflictSchema
from tidegate_server.admin.document_reader import read_project
from tidegate_server.admin.scheduled_changes import service
from tidegate_server.admin.scheduled_changes.schemas import (
    ScheduledChangeAnswer,
    ScheduledChangeBody,
    ScheduledChangePage,
    ScheduleListQuery,
)
from tidegate_server.admin.scheduled_changes.service import BLUEPRINT, NewSchedule
from tidegate_server.domain.change import Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.scheduled_changes import ScheduleState
from tidegate_server.web import responses
from tidegate_server.web.access_control import require_anywhere
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.etags import content_suffix, read_if_match
from tidegate_server.web.pagination import StatePageRequest, paginate
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint(BLUEPRINT, __name__, description="Operations that are carried out at a time")

COLLECTION = f"{PROJECT}/scheduled-changes"
ITEM = f"{COLLECTION}/<key:scheduled_change>"


def answer(
    project: str,
    stored: Stored,
    status: HTTPStatus = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with a scheduled change; its ETag differs as its conflicts do."""
    shown = service.shown(backend().store, project, stored, current_caller(), compared=True)
    content = json.dumps(ConflictSchema(many=True).dump(shown.conflicts))
    return responses.document(
        ScheduledChangeAnswer(),
        shown,
        stored.revision,
        suffix=content_suffix(content),
        status=status,
        headers=headers,
    )


def check_writes_in_project() -> None:
    """Refuse who may write nowhere in the project; its operations say what else is needed."""
    project = (request.view_args or {}).get("project")
    require_anywhere(current_caller(), Permission.WRITE, project)


@blueprint.operation(
    "GET",
    COLLECTION,
    permission=Permission.READ,
    query=ScheduleListQuery,
    response=ScheduledChangePage,
)
def list_scheduled_changes(wanted: StatePageRequest[ScheduleState], project: str) -> Response:
    """List scheduled changes, those with the next runs first, then the ended ones."""
    store, caller = backend().store, current_caller()
    read_project(store, project)
    matching = {
        _next_first(stored): stored
        for stored in store.all(project, Kind.SCHEDULED_CHANGE).values()
        if wanted.state in (None, stored.document.state)
    }
    listed, following = paginate(matching, wanted.page)
    shown = [service.shown(store, project, each, caller) for each in listed]
    return responses.page(ScheduledChangePage(), shown, following)


def _next_first(stored: Stored) -> str:
    due_ms = stored.document.next_run_ms
    rank = f"0 {due_ms:016d}" if due_ms is not None else f"1 {10**15 - stored.updated_ms:016d}"
    return f"{rank} {stored.document.id}"


@blueprint.operation(
    "POST",
    COLLECTION,
    permission=Permission.WRITE,
    scoped_to_caller=True,
    body=ScheduledChangeBody,
    response=ScheduledChangeAnswer,
    status=HTTPStatus.CREATED,
    before_body=check_writes_in_project,
)
def create_scheduled_change(new: NewSchedule, project: str) -> Response:
    """Schedule operations, which then become one atomic change.

    Each needs the permission of its own route, now and when it runs: a run has the permissions
    that you have at that time. In a protected environment other people approve the schedule.
    """
    stored = service.create(backend().store, project, new, current_caller())
    location = url_for(
        f"{BLUEPRINT}.get_scheduled_change",
        project=project,
        scheduled_change=stored.document.id,
    )
    return answer(project, stored, HTTPStatus.CREATED, {"Location": location})


@blueprint.operation("GET", ITEM, permission=Permission.READ, response=ScheduledChangeAnswer)
def get_scheduled_change(project: str, scheduled_change: str) -> Response:
    """Get a scheduled change, with its next and its last runs."""
    return answer(project, service.read(backend().store, project, scheduled_change))


@blueprint.operation(
    "POST",
    f"{ITEM}/cancel",
    permission=Permission.WRITE,
    scoped_to_caller=True,
    body=ActionBody,
    response=ScheduledChangeAnswer,
    before_body=check_writes_in_project,
)
def cancel_scheduled_change(action: ActionRequest, project: str, scheduled_change: str) -> Response:
    """Cancel the runs that a scheduled change still has."""
    stored = service.cancel(
        backend().store,
        project,
        scheduled_change,
        current_caller(),
        current_reason(action.reason, emergency=True),
        read_if_match(),
    )
    return answer(project, stored)
