"""Promote flags from one environment to another, and copy a flag under a new key."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin.document_commits import create_document
from tidegate_server.admin.flags.schemas import FlagAnswer
from tidegate_server.admin.previews.routes import preview_change
from tidegate_server.admin.promotions import service
from tidegate_server.admin.promotions.schemas import (
    CopyBody,
    PlanQuery,
    PromotionAnswer,
    PromotionBody,
    PromotionRequest,
)
from tidegate_server.domain.change import Change
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import ProjectDocuments, flag_address
from tidegate_server.domain.promotions import CopyRequest, copy_flag
from tidegate_server.web import responses
from tidegate_server.web.access_control import require_permission
from tidegate_server.web.backend import backend, current_actor, current_caller
from tidegate_server.web.blueprint import ENVIRONMENT, PROJECT, Blueprint
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint(
    "promotions", __name__, description="Serve in one environment what another one serves"
)


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/promote",
    permission=Permission.WRITE,
    query=PlanQuery,
    body=PromotionBody,
    response=PromotionAnswer,
    etag=False,
    errors=(HTTPStatus.PRECONDITION_REQUIRED,),
)
def promote_flags(
    plan_only: bool, request: PromotionRequest, project: str, environment: str
) -> Response:
    """Let flags serve here what they serve in another environment, all of them or none.

    Rules, prerequisites, the default, the off and the kill variant, and whether a flag is enabled
    are copied. A kill and a release stay where they are. With `plan=true` nothing changes: the
    answer says what differs and who is affected. To carry a plan out, send the `revisions` of each
    flag; if a targeting has changed since, nothing is promoted.
    """
    store, caller = backend().store, current_caller()
    require_permission(caller, Permission.READ, project, request.source)
    if plan_only:
        plan = service.plan_promotion(store, project, environment, request, current_actor())
    else:
        plan = service.carry_out(
            store, project, environment, request, current_actor(), current_reason()
        )
    flags = service.promoted_flags(store, project, environment, plan)
    preview = None
    if plan_only and plan.change is not None:
        preview = preview_change(plan.change, project, environment)
    answer = {
        "source": request.source,
        "target": environment,
        "flags": flags,
        "live_instances": sum(each.live for each in store.instances.all(project, environment)),
        "preview": preview,
        "applied": not plan_only and plan.change is not None,
    }
    return responses.value(PromotionAnswer(), answer)


@blueprint.operation(
    "POST",
    f"{PROJECT}/flags/<key:flag>/copy",
    permission=Permission.WRITE,
    body=CopyBody,
    response=FlagAnswer,
    status=HTTPStatus.CREATED,
)
def copy_flag_under_another_key(request: CopyRequest, project: str, flag: str) -> Response:
    """Create a flag that serves in every environment what another one serves.

    A kill, a release and an archive are not copied.
    """
    actor, reason, store = current_actor(), current_reason(), backend().store

    def make_change(documents: ProjectDocuments) -> Change:
        return copy_flag(documents, flag, request, actor=actor, reason=reason)

    stored = create_document(store, project, flag_address(request.key), make_change)
    path = {"project": project, "flag": request.key}
    return responses.created(FlagAnswer(), stored, stored.revision, "flags.get_flag", **path)
