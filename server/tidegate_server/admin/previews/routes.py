"""Previews: who of the recently seen users would get another variant by a change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flask import Response
from tidegate import wire

from tidegate_server.admin.action_schemas import ActionRequest
from tidegate_server.admin.document_commits import with_key
from tidegate_server.admin.document_reader import (
    read_document,
    read_environment,
    read_flag_documents,
    read_project_documents,
)
from tidegate_server.admin.previews.schemas import (
    ActionPreviewBody,
    PreviewAnswer,
    RestorePreviewAnswer,
    SeenUserPage,
    SegmentReachAnswer,
)
from tidegate_server.admin.releases.schemas import ReleaseBody, ReleaseRequest
from tidegate_server.admin.releases.service import action_change
from tidegate_server.admin.segments.schemas import SegmentUpdate
from tidegate_server.admin.targeting.schemas import TargetingBody
from tidegate_server.domain import flag_edits, kill_switch, release_start, segment_edits
from tidegate_server.domain.change import Address, Change, Put
from tidegate_server.domain.flags import SegmentDefinition, Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.ladder import open_percentage
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import segment_address
from tidegate_server.domain.seen_users import SeenUserSample
from tidegate_server.domain.snapshot import snapshot_segment
from tidegate_server.web import responses, token_secrets
from tidegate_server.web.backend import backend, current_actor, current_caller
from tidegate_server.web.blueprint import ENVIRONMENT, PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.seen_user_names import name_of_key
from tidegate_server.whatif.who_changes_sides import Preview, who_changes_sides
from tidegate_server.whatif.who_is_in_a_segment import who_is_in_a_segment

NOT_ALLOWED = (
    "The environment does not let SDKs report users; `report_seen_users` of the environment does."
)

blueprint = Blueprint(
    "previews", __name__, description="Who of the recently seen users would change sides"
)


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/flags/<key:flag>/preview",
    permission=Permission.READ,
    body=TargetingBody,
    response=PreviewAnswer,
    etag=False,
)
def preview_targeting(targeting: Targeting, project: str, environment: str, flag: str) -> Response:
    """Say who would get another variant if this were the targeting of the flag. Changes nothing."""
    store = backend().store
    documents = read_project_documents(store, project)
    documents.environment(environment)
    change = flag_edits.edit_targeting(
        documents,
        environment,
        with_key(targeting, flag, field="flag"),
        actor=current_actor(),
        now_ms=store.now_ms(),
    )
    return _preview(change, project, environment)


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/flags/<key:flag>/restore/preview",
    permission=Permission.READ,
    response=RestorePreviewAnswer,
    etag=False,
)
def preview_restore(project: str, environment: str, flag: str) -> Response:
    """Say what a restore of a killed flag would bring back. Changes nothing."""
    store = backend().store
    documents = read_flag_documents(store, project, environment, flag)
    change = kill_switch.restore(
        documents, environment, flag, actor=current_actor(), reason="", now_ms=store.now_ms()
    )
    after = {each.address.kind: each.document for each in change.writes if isinstance(each, Put)}
    targeting, release = after[Kind.TARGETING], after.get(Kind.RELEASE)
    killed = documents.targeting(environment, flag).document.kill
    live = [each for each in store.instances.all(project, environment) if each.live]
    started = [
        each for each in live if each.started_ms is not None and each.started_ms > killed.at_ms
    ]
    answer = {
        "serves": targeting.default,
        "enabled": targeting.enabled,
        "release": release
        and {
            "id": release.id,
            "state": release.state,
            "treatment": release.treatment,
            "control": release.control,
            "percentage": open_percentage(targeting, release),
        },
        "instances": {"live": len(live), "started_since": len(started)},
        "users": preview_change(change, project, environment),
    }
    return responses.value(RestorePreviewAnswer(), answer)


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/segments/<key:segment>/preview",
    permission=Permission.READ,
    body=SegmentUpdate,
    response=PreviewAnswer,
    etag=False,
)
def preview_segment(
    definition: SegmentDefinition, project: str, environment: str, segment: str
) -> Response:
    """Say who would get another variant here if this were the segment. Changes nothing."""
    store = backend().store
    documents = read_project_documents(store, project)
    documents.environment(environment)
    change = segment_edits.put_segment(
        documents,
        with_key(definition, segment),
        actor=current_actor(),
        now_ms=store.now_ms(),
    )
    return _preview(change, project, environment)


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/releases/preview",
    permission=Permission.READ,
    body=ReleaseBody,
    response=PreviewAnswer,
    etag=False,
)
def preview_release(new: ReleaseRequest, project: str, environment: str) -> Response:
    """Say who would get another variant if this release started now. Changes nothing."""
    store = backend().store
    documents = read_project_documents(store, project)
    documents.environment(environment)
    change = release_start.start_release(
        documents,
        environment,
        # Its id is its salt: the release that starts later chooses other users, but as many.
        release_id=f"rel_{token_secrets.new_id()}",
        flag=new.flag,
        treatment=new.treatment,
        policy=new.policy,
        control=new.control,
        rule=new.rule,
        draft=new.draft,
        actor=current_actor(),
        now_ms=store.now_ms(),
    )
    return _preview(change, project, environment)


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/releases/<key:release>/preview",
    permission=Permission.READ,
    body=ActionPreviewBody,
    response=PreviewAnswer,
    etag=False,
)
def preview_release_action(action: str, project: str, environment: str, release: str) -> Response:
    """Say who would get another variant if this were done to the release. Changes nothing."""
    store = backend().store
    before = read_document(store, project, Address(Kind.RELEASE, release, environment))
    change = action_change(
        store, project, environment, before, action, ActionRequest(), current_caller()
    )
    return _preview(change, project, environment)


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/seen-users",
    permission=Permission.READ,
    query=PageQuery,
    response=SeenUserPage,
)
def list_seen_users(page: PageRequest, project: str, environment: str) -> Response:
    """List the recently seen users: a sample of those of the last hour, without their keys."""
    sample, _ = _sample(project, environment)
    users, following = paginate({user.name: user for user in sample.users}, page)
    return responses.page(
        SeenUserPage(), users, following, total=len(sample.users), population=sample.population
    )


@blueprint.operation(
    "GET",
    f"{PROJECT}/segments/<key:segment>/seen-users",
    permission=Permission.READ,
    response=SegmentReachAnswer,
    etag=False,
)
def get_seen_users_of_segment(project: str, segment: str) -> Response:
    """Say how many of the recently seen users a segment holds, in each environment."""
    store, caller = backend().store, current_caller()
    read_document(store, project, segment_address(segment))
    stored = store.cached(project, Kind.SEGMENT).stored
    segments = {key: snapshot_segment(each.document) for key, each in stored.items()}
    items = []
    for environment in store.keys(project, Kind.ENVIRONMENT):
        if caller.allows(Permission.READ, project, environment):
            sample, allowed = _sample(project, environment)
            reach = who_is_in_a_segment(
                environment, segments, segment, sample, _name(project, environment)
            )
            items.append(reach if allowed else replace(reach, caveats=(NOT_ALLOWED,)))
    return responses.value(SegmentReachAnswer(), {"items": items})


def _preview(change: Change, project: str, environment: str) -> Response:
    return responses.value(PreviewAnswer(), preview_change(change, project, environment))


def preview_change(change: Change, project: str, environment: str) -> Preview:
    """Return who of the recently seen users would get another variant by a change."""
    services = backend()
    refresh = next((each for each in change.refreshes if each.environment == environment), None)
    snapshot = wire.parse_snapshot(services.store.snapshot(project, environment).body)
    sample, allowed = _sample(project, environment)
    preview = who_changes_sides(snapshot, refresh, sample, _name(project, environment))
    if not allowed:
        preview = replace(preview, caveats=(NOT_ALLOWED, *preview.caveats))
    return preview


def _name(project: str, environment: str) -> Callable[[str], str]:
    """Return what gives the names under which users of an environment are known."""
    return name_of_key(backend().settings.secret_key, project, environment)


def _sample(project: str, environment: str) -> tuple[SeenUserSample, bool]:
    """Return the seen users of an environment, and whether it lets SDKs report any."""
    store = backend().store
    if not read_environment(store, project, environment).document.report_seen_users:
        return SeenUserSample((), 1.0), False
    return store.seen_users.sample(project, environment), True
