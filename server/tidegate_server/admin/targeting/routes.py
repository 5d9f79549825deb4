"""Targeting and the kill switch: what a flag serves in one environment."""

from __future__ import annotations

from flask import Response, json

from tidegate_server.admin.action_schemas import ActionRequest, IncidentBody
from tidegate_server.admin.document_commits import with_key
from tidegate_server.admin.document_history import DocumentHistory
from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.ladders import RungSchema
from tidegate_server.admin.targeting import service
from tidegate_server.admin.targeting.schemas import (
    DependentPage,
    ReceiptSchema,
    TagAnswer,
    TagBody,
    TagRequest,
    TargetingAnswer,
    TargetingBody,
)
from tidegate_server.admin.targeting.service import KillSwitch, TagSwitch, TargetingWithReceipt
from tidegate_server.domain import kill_switch
from tidegate_server.domain.change import Address
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import targeting_address
from tidegate_server.domain.release import LIVE_STATES, Release
from tidegate_server.errors import NotPossible
from tidegate_server.store.document_cache import targeting_index
from tidegate_server.store.evaluations import Evaluated
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.etags import content_suffix, read_if_match
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint("targeting", __name__, description="What a flag serves in an environment")
kill_blueprint = Blueprint(
    "kill switch", __name__, description="Serve the kill variant to everyone at once"
)

ITEM = f"{ENVIRONMENT}/flags/<key:flag>"


def answer(targeting: TargetingWithReceipt) -> Response:
    """Answer with a targeting; its ETag also differs with what it shows besides the document."""
    suffix = ""
    document: Targeting = targeting.document
    observed = targeting.stale is not None or targeting.evaluated != Evaluated()
    if document.kill is not None or document.release is not None or observed:
        shown = [
            ReceiptSchema().dump(targeting.receipt),
            RungSchema(many=True).dump(targeting.ladder),
            repr((targeting.evaluated, targeting.stale)),
        ]
        suffix = content_suffix(json.dumps(shown))
    return responses.document(TargetingAnswer(), targeting, targeting.revision, suffix=suffix)


@blueprint.operation("GET", ITEM, permission=Permission.READ, response=TargetingAnswer)
def get_targeting(project: str, environment: str, flag: str) -> Response:
    """Get what a flag serves in an environment, with the receipt if it is killed."""
    return answer(service.read_targeting(backend().store, project, environment, flag))


@blueprint.operation(
    "GET",
    f"{ITEM}/dependents",
    permission=Permission.READ,
    query=PageQuery,
    response=DependentPage,
)
def list_dependent_flags(page: PageRequest, project: str, environment: str, flag: str) -> Response:
    """List the flags that have this one as a prerequisite in an environment."""
    store = backend().store
    read_document(store, project, targeting_address(environment, flag))
    flags = store.cached(project, Kind.FLAG).stored
    targetings = store.cached(project, Kind.TARGETING, environment)
    requiring = targeting_index(targetings).requiring
    found = {
        key: {"flag": key, "variants": each.variants}
        for key in requiring.get(flag, ())
        for each in targetings.stored[key].document.prerequisites
        if each.flag == flag and key in flags and flags[key].document.archived is None
    }
    return responses.page(DependentPage(), *paginate(found, page))


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
    "POST", f"{ITEM}/kill", permission=Permission.KILL, body=IncidentBody, response=TargetingAnswer
)
def kill_flag(action: ActionRequest, project: str, environment: str, flag: str) -> Response:
    """Serve the kill variant to everyone at once, and stop the active release.

    The server retries until the kill succeeds, even if something else changes the flag at the
    same time. Killing a killed flag succeeds too.
    """
    return _switch(kill_switch.kill, action, project, environment, flag)


@kill_blueprint.operation(
    "POST",
    f"{ITEM}/restore",
    permission=Permission.KILL,
    body=IncidentBody,
    response=TargetingAnswer,
)
def restore_flag(action: ActionRequest, project: str, environment: str, flag: str) -> Response:
    """End a kill. The release that it stopped stays paused until a person resumes it."""
    return _switch(kill_switch.restore, action, project, environment, flag)


@kill_blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/releases/<key:release>/kill",
    permission=Permission.KILL,
    body=IncidentBody,
    response=TargetingAnswer,
)
def kill_release(action: ActionRequest, project: str, environment: str, release: str) -> Response:
    """Kill the flag of an active release, as a kill of the flag does."""
    address = Address(Kind.RELEASE, release, environment)
    found: Release = read_document(backend().store, project, address).document
    if found.state not in LIVE_STATES:
        raise NotPossible(
            f"Release {release} has ended, so it serves nothing. Kill its flag, {found.flag}."
        )
    return _switch(kill_switch.kill, action, project, environment, found.flag)


@kill_blueprint.operation(
    "POST", f"{ENVIRONMENT}/kill", permission=Permission.KILL, body=TagBody, response=TagAnswer
)
def kill_tagged_flags(action: TagRequest, project: str, environment: str) -> Response:
    """Kill every flag with a tag at once: all of them, or none.

    Flags that are killed already stay as they are. The answer's version has a receipt.
    """
    return _switch_tagged(kill_switch.kill_tagged, action, project, environment)


@kill_blueprint.operation(
    "POST", f"{ENVIRONMENT}/restore", permission=Permission.KILL, body=TagBody, response=TagAnswer
)
def restore_tagged_flags(action: TagRequest, project: str, environment: str) -> Response:
    """Restore every flag that was killed with a tag. One that was killed by itself stays killed."""
    return _switch_tagged(kill_switch.restore_tagged, action, project, environment)


def _switch_tagged(
    switch: TagSwitch, action: TagRequest, project: str, environment: str
) -> Response:
    switched = service.switch_tagged(
        switch,
        backend().store,
        project,
        environment,
        action.tag,
        actor=current_actor(),
        reason=current_reason(action.reason, emergency=switch is kill_switch.kill_tagged),
        url=action.url,
    )
    return responses.value(TagAnswer(), switched)


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
        url=action.url,
        if_match=read_if_match(),
    )
    return answer(switched)
