"""Targeting and the kill switch: what a flag serves in one environment."""

from __future__ import annotations

import hashlib

from flask import Response, json

from tidegate_server.admin.action_schemas import ActionBody, ActionRequest
from tidegate_server.admin.document_commits import with_key
from tidegate_server.admin.document_history import DocumentHistory
from tidegate_server.admin.document_reader import read_environment
from tidegate_server.admin.ladders import RungSchema
from tidegate_server.admin.targeting import service
from tidegate_server.admin.targeting.schemas import (
    ReceiptSchema,
    TargetingAnswer,
    TargetingBody,
    TargetingPage,
)
from tidegate_server.admin.targeting.service import KillSwitch, TargetingWithReceipt
from tidegate_server.domain import kill_switch
from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.permissions import Permission
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.etags import read_if_match
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint("targeting", __name__, description="What a flag serves in an environment")
kill_blueprint = Blueprint(
    "kill switch", __name__, description="Serve the kill variant to everyone at once"
)

COLLECTION = f"{ENVIRONMENT}/flags"
ITEM = f"{COLLECTION}/<key:flag>"


def answer(targeting: TargetingWithReceipt) -> Response:
    """Answer with a targeting; its ETag differs between receipts, and states of a release."""
    suffix = ""
    document: Targeting = targeting.document
    if document.kill is not None or document.release is not None:
        shown = [
            ReceiptSchema().dump(targeting.receipt),
            RungSchema(many=True).dump(targeting.ladder),
        ]
        suffix = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:12]
    return responses.document(TargetingAnswer(), targeting, targeting.revision, suffix=suffix)


@blueprint.operation(
    "GET", COLLECTION, permission=Permission.READ, query=PageQuery, response=TargetingPage
)
def list_targeting(page: PageRequest, project: str, environment: str) -> Response:
    """List what the project's flags serve in an environment."""
    store = backend().store
    read_environment(store, project, environment)
    targetings, following = paginate(store.all(project, Kind.TARGETING, environment), page)
    items = service.with_receipts(store, project, environment, targetings)
    return responses.page(TargetingPage(), items, following)


@blueprint.operation("GET", ITEM, permission=Permission.READ, response=TargetingAnswer)
def get_targeting(project: str, environment: str, flag: str) -> Response:
    """Get what a flag serves in an environment, with the receipt if it is killed."""
    return answer(service.read_targeting(backend().store, project, environment, flag))


@blueprint.operation(
    "PUT", ITEM, permission=Permission.WRITE, body=TargetingBody, response=TargetingAnswer
)
def replace_targeting(targeting: Targeting, project: str, environment: str, flag: str) -> Response:
    """Replace what a flag serves in an environment. Its kill and its release stay."""
    new = with_key(targeting, flag, field="flag")
    replaced = service.replace_targeting(
        backend().store,
        project,
        environment,
        new,
        current_actor(),
        current_reason(),
        read_if_match(),
    )
    return answer(replaced)


def restore_targeting(project: str, address: Address, old: Targeting, revision: int) -> Response:
    """Make what a flag serves what it was at a revision again. Its kill and its release stay."""
    restored = service.replace_targeting(
        backend().store,
        project,
        address.environment,
        old,
        current_actor(),
        current_reason(),
        read_if_match(),
        restored_revision=revision,
    )
    return answer(restored)


history = DocumentHistory(blueprint, Kind.TARGETING, ITEM, "targeting", "flag", Permission.WRITE)
history.serve(restore_targeting, TargetingAnswer)


@kill_blueprint.operation(
    "POST", f"{ITEM}/kill", permission=Permission.KILL, body=ActionBody, response=TargetingAnswer
)
def kill_flag(action: ActionRequest, project: str, environment: str, flag: str) -> Response:
    """Serve the kill variant to everyone at once, and stop the active release.

    The server retries until the kill succeeds, even if something else changes the flag at the
    same time. Killing a killed flag succeeds too.
    """
    return _switch(kill_switch.kill, action, project, environment, flag)


@kill_blueprint.operation(
    "POST", f"{ITEM}/restore", permission=Permission.KILL, body=ActionBody, response=TargetingAnswer
)
def restore_flag(action: ActionRequest, project: str, environment: str, flag: str) -> Response:
    """End a kill. The release that it stopped stays paused until a person resumes it."""
    return _switch(kill_switch.restore, action, project, environment, flag)


def _switch(
    switch: KillSwitch, action: ActionRequest, project: str, environment: str, flag: str
) -> Response:
    switched = service.switch_flag(
        switch,
        backend().store,
        project,
        environment,
        flag,
        actor=current_actor(),
        reason=current_reason(action.reason, emergency=switch is kill_switch.kill),
        if_match=read_if_match(),
    )
    return answer(switched)
