"""The kill switch: POST kills, POST restores, and each answers with the receipt."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin.kills import service
from tidegate_server.admin.releases.schemas import ActionBody, ActionRequest
from tidegate_server.admin.targeting.routes import answer
from tidegate_server.admin.targeting.schemas import TargetingAnswer
from tidegate_server.domain.tokens import Role
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint

blueprint = Blueprint("kill switch", __name__, description="Everyone off, at once")


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/flags/<key:flag>/kill",
    role=Role.WRITER,
    body=ActionBody,
    response=TargetingAnswer,
)
def kill_flag(asked: ActionRequest, project: str, environment: str, flag: str) -> Response:
    """Serve everyone the kill variant, at once, and stop the active release.

    It is repeated until it succeeds when something else changes the flag at the same time.
    Killing a killed flag succeeds too.
    """
    killed = service.kill(
        backend().store, project, environment, flag, actor=current_actor(), reason=asked.reason
    )
    return answer(killed)


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/flags/<key:flag>/restore",
    role=Role.WRITER,
    body=ActionBody,
    response=TargetingAnswer,
)
def restore_flag(asked: ActionRequest, project: str, environment: str, flag: str) -> Response:
    """End a kill. The release that it stopped stays paused until it is resumed."""
    restored = service.restore(
        backend().store, project, environment, flag, actor=current_actor(), reason=asked.reason
    )
    return answer(restored)
