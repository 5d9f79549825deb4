"""Releases: starting one, watching it, and what people may do to it."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, url_for

from tidegate_server.admin import document_reader
from tidegate_server.admin.releases import service
from tidegate_server.admin.releases.schemas import (
    ActionBody,
    ActionRequest,
    PauseBody,
    ReleaseAnswer,
    ReleaseBody,
    ReleaseListQuery,
    ReleaseListRequest,
    ReleasePage,
    ReleaseRequest,
)
from tidegate_server.admin.releases.service import ReleaseView
from tidegate_server.domain.change import Kind
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor, current_token
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.pagination import paginate

blueprint = Blueprint("releases", __name__, description="Changes of flags, opened in stages")

LIST = f"{ENVIRONMENT}/releases"
ONE = f"{LIST}/<key:release>"


def answer(
    view: ReleaseView, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """A release; its ETag tells evaluations of one revision apart."""
    suffix = str(view.progress_revision) if view.progress is not None else ""
    return responses.document(
        ReleaseAnswer(), view, view.revision, suffix=suffix, status=status, headers=headers
    )


@blueprint.operation("GET", LIST, role=Role.READER, query=ReleaseListQuery, response=ReleasePage)
def list_releases(asked: ReleaseListRequest, project: str, environment: str) -> Response:
    """List releases, the latest first."""
    store = backend().store
    document_reader.environment_of(store, project, environment)
    found = {
        _latest_first(stored.document.started_ms, id): stored
        for id, stored in store.all(project, Kind.RELEASE, environment).items()
        if asked.flag in (None, stored.document.flag)
        and asked.state in (None, stored.document.state)
    }
    page, following = paginate(found, asked.page)
    return responses.page(
        ReleasePage(), service.views(store, project, environment, page), following
    )


def _latest_first(started_ms: int, id: str) -> str:
    return f"{10**15 - started_ms:016d} {id}"


@blueprint.operation(
    "POST",
    LIST,
    role=Role.WRITER,
    body=ReleaseBody,
    response=ReleaseAnswer,
    status=HTTPStatus.CREATED,
)
def start_release(asked: ReleaseRequest, project: str, environment: str) -> Response:
    """Start a release at the first stage of its policy."""
    store = backend().store
    document_reader.environment_of(store, project, environment)
    stored = service.start(store, project, environment, asked, current_actor())
    view = service.view_of(store, project, environment, stored)
    location = url_for(
        "releases.get_release",
        project=project,
        environment=environment,
        release=view.release.id,
    )
    return answer(view, HTTPStatus.CREATED, {"Location": location})


@blueprint.operation("GET", ONE, role=Role.READER, response=ReleaseAnswer)
def get_release(project: str, environment: str, release: str) -> Response:
    """Read a release and how far it has come."""
    return answer(service.view(backend().store, project, environment, release))


@blueprint.operation(
    "POST", f"{ONE}/pause", role=Role.WRITER, body=PauseBody, response=ReleaseAnswer
)
def pause_release(asked: ActionRequest, project: str, environment: str, release: str) -> Response:
    """Stop raising the percentage until someone resumes it.

    The policy may still roll back, unless `stop` asks for a full stop.
    """
    return _act("pause", asked, project, environment, release)


@blueprint.operation(
    "POST", f"{ONE}/resume", role=Role.WRITER, body=ActionBody, response=ReleaseAnswer
)
def resume_release(asked: ActionRequest, project: str, environment: str, release: str) -> Response:
    """Let a paused release go on where it was."""
    return _act("resume", asked, project, environment, release)


@blueprint.operation(
    "POST", f"{ONE}/advance", role=Role.WRITER, body=ActionBody, response=ReleaseAnswer
)
def advance_release(asked: ActionRequest, project: str, environment: str, release: str) -> Response:
    """Open the next stage now, without waiting for the policy."""
    return _act("advance", asked, project, environment, release)


@blueprint.operation(
    "POST", f"{ONE}/begin", role=Role.WRITER, body=ActionBody, response=ReleaseAnswer
)
def begin_release(asked: ActionRequest, project: str, environment: str, release: str) -> Response:
    """Open the first stage of a draft."""
    return _act("begin", asked, project, environment, release)


@blueprint.operation(
    "POST", f"{ONE}/approve", role=Role.WRITER, body=ActionBody, response=ReleaseAnswer
)
def approve_release(asked: ActionRequest, project: str, environment: str, release: str) -> Response:
    """Agree that the release leaves its stage; the policy says how many must, and who may."""
    store = backend().store
    stored = service.approve(store, project, environment, release, asked, current_token())
    return answer(service.view_of(store, project, environment, stored))


@blueprint.operation(
    "POST", f"{ONE}/retry", role=Role.WRITER, body=ActionBody, response=ReleaseAnswer
)
def retry_release(asked: ActionRequest, project: str, environment: str, release: str) -> Response:
    """Begin the next attempt now, without waiting for the end of the cooldown."""
    return _act("retry", asked, project, environment, release)


@blueprint.operation(
    "POST", f"{ONE}/rollback", role=Role.WRITER, body=ActionBody, response=ReleaseAnswer
)
def roll_back_release(
    asked: ActionRequest, project: str, environment: str, release: str
) -> Response:
    """Close the release: everyone gets the control again."""
    return _act("rollback", asked, project, environment, release)


@blueprint.operation(
    "POST", f"{ONE}/complete", role=Role.WRITER, body=ActionBody, response=ReleaseAnswer
)
def complete_release(
    asked: ActionRequest, project: str, environment: str, release: str
) -> Response:
    """End the release with the treatment for everyone."""
    return _act("complete", asked, project, environment, release)


def _act(
    action: str, asked: ActionRequest, project: str, environment: str, release: str
) -> Response:
    store = backend().store
    stored = service.act(store, project, environment, release, action, asked, current_actor())
    return answer(service.view_of(store, project, environment, stored))
