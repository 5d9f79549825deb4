"""Releases: start one, read how far it has come, and act on it."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from flask import Response, json, url_for

from tidegate_server.admin.action_schemas import ActionBody, ActionRequest
from tidegate_server.admin.document_reader import read_environment
from tidegate_server.admin.ladders import RungSchema
from tidegate_server.admin.releases import service
from tidegate_server.admin.releases.schemas import (
    PauseBody,
    ReleaseAnswer,
    ReleaseBody,
    ReleaseListQuery,
    ReleaseListRequest,
    ReleasePage,
    ReleaseRequest,
)
from tidegate_server.admin.releases.service import ReleaseWithProgress
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.etags import content_suffix, read_if_match
from tidegate_server.web.pagination import paginate
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint("releases", __name__, description="Changes of flags, opened in stages")

COLLECTION = f"{ENVIRONMENT}/releases"
ITEM = f"{COLLECTION}/<key:release>"

EMERGENCIES = ("pause", "rollback")
"""Actions that only stop something: they never need a reason."""


def answer(
    release: ReleaseWithProgress,
    status: HTTPStatus = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with a release; its ETag differs between evaluations of one revision."""
    ladder = json.dumps(RungSchema(many=True).dump(release.ladder))
    suffix = f"{release.progress_revision}-{content_suffix(ladder)}"
    return responses.document(
        ReleaseAnswer(), release, release.revision, suffix=suffix, status=status, headers=headers
    )


@blueprint.operation(
    "GET", COLLECTION, permission=Permission.READ, query=ReleaseListQuery, response=ReleasePage
)
def list_releases(query: ReleaseListRequest, project: str, environment: str) -> Response:
    """List releases, the latest first."""
    store = backend().store
    read_environment(store, project, environment)
    matching = {
        _latest_first(stored.document.started_ms, id): stored
        for id, stored in store.cached(project, Kind.RELEASE, environment).stored.items()
        if query.flag in (None, stored.document.flag)
        and query.state in (None, stored.document.state)
    }
    releases, following = paginate(matching, query.page)
    items = service.with_progress(store, project, environment, releases)
    return responses.page(ReleasePage(), items, following)


def _latest_first(started_ms: int, id: str) -> str:
    return f"{10**15 - started_ms:016d} {id}"


@blueprint.operation(
    "POST",
    COLLECTION,
    permission=Permission.RELEASE,
    body=ReleaseBody,
    response=ReleaseAnswer,
    status=HTTPStatus.CREATED,
)
def start_release(new: ReleaseRequest, project: str, environment: str) -> Response:
    """Start a release at the first stage of its policy, or as a draft."""
    store = backend().store
    read_environment(store, project, environment)
    new = replace(new, reason=current_reason(new.reason))
    stored = service.start_release(store, project, environment, new, current_caller())
    [started] = service.with_progress(store, project, environment, [stored])
    location = url_for(
        "releases.get_release",
        project=project,
        environment=environment,
        release=stored.document.id,
    )
    return answer(started, HTTPStatus.CREATED, {"Location": location})


@blueprint.operation("GET", ITEM, permission=Permission.READ, response=ReleaseAnswer)
def get_release(project: str, environment: str, release: str) -> Response:
    """Get a release and its progress."""
    return answer(service.read_release(backend().store, project, environment, release))


def _serve_action(
    action: str,
    permission: Permission,
    summary: str,
    body: type[ActionBody] = ActionBody,
) -> None:
    def act(request: ActionRequest, project: str, environment: str, release: str) -> Response:
        store = backend().store
        reason = current_reason(request.reason, emergency=action in EMERGENCIES)
        stored = service.act_on_release(
            store,
            project,
            environment,
            release,
            action,
            replace(request, reason=reason),
            current_caller(),
            read_if_match(),
        )
        [moved] = service.with_progress(store, project, environment, [stored])
        return answer(moved)

    act.__name__, act.__doc__ = f"{action}_release", summary
    blueprint.operation(
        "POST", f"{ITEM}/{action}", permission=permission, body=body, response=ReleaseAnswer
    )(act)


_serve_action(
    "pause",
    Permission.KILL,
    """Pause a release: stop opening it further until a person resumes it.

    The policy may still roll it back, unless `stop` makes this a full stop.
    """,
    body=PauseBody,
)
_serve_action(
    "resume", Permission.RELEASE, "Resume a paused release in the state that it was paused in."
)
_serve_action(
    "advance", Permission.RELEASE, "Open the next stage now, without waiting for the policy."
)
_serve_action("begin", Permission.RELEASE, "Open the first stage of a draft.")
_serve_action(
    "approve",
    Permission.APPROVE,
    "Approve that the release leaves its stage. The policy says how many approvals it needs, and "
    "who may approve.",
)
_serve_action(
    "retry",
    Permission.RELEASE,
    "Begin the next attempt now, without waiting for the cooldown to end.",
)
_serve_action(
    "rollback", Permission.KILL, "Roll the release back: everyone gets the control again."
)
_serve_action("complete", Permission.RELEASE, "End the release with the treatment for everyone.")
