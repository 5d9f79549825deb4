"""Lists of flags: of a project, and of what they serve in one of its environments."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Response

from tidegate_server.admin.document_reader import read_environment, read_project
from tidegate_server.admin.evaluation_counts.service import flag_activity, stale_targetings
from tidegate_server.admin.flag_lists.schemas import (
    EnvironmentFlagListQuery,
    FlagListQuery,
    FlagListRequest,
    FlagPage,
    ListedTargeting,
    TargetingPage,
)
from tidegate_server.admin.flag_lists.service import Listing, flag_lists
from tidegate_server.admin.releases.service import ReleaseWithProgress, with_progress
from tidegate_server.admin.targeting.service import with_receipts
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.store import Store
from tidegate_server.web import responses
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import ENVIRONMENT, PROJECT, Blueprint
from tidegate_server.web.pagination import encode_cursor

blueprint = Blueprint("flag lists", __name__, description="Flags of a project or an environment")


@blueprint.operation(
    "GET",
    f"{PROJECT}/flags",
    permission=Permission.READ,
    query=FlagListQuery,
    response=FlagPage,
)
def list_flags(wanted: FlagListRequest, project: str) -> Response:
    """List the flags of a project."""
    store = backend().store
    read_project(store, project)
    listing = flag_lists().of(store, project)
    found = listing.find(wanted.filter, wanted.order)
    if wanted.stale:
        activity = flag_activity(store, project, [listing.flags[key] for key in found.keys])
        stale = {each.document.key: each for each in activity if each.stale is not None}
        found = found.only(stale.keys())
    keys, following = found.page(wanted.page.after, wanted.page.limit)
    if wanted.stale:
        items = [stale[key] for key in keys]
    else:
        items = flag_activity(store, project, [listing.flags[key] for key in keys])
    return responses.page(FlagPage(), items, encode_cursor(following), total=len(found.keys))


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/flags",
    permission=Permission.READ,
    query=EnvironmentFlagListQuery,
    response=TargetingPage,
)
def list_targeting(wanted: FlagListRequest, project: str, environment: str) -> Response:
    """List what the project's flags serve in an environment."""
    store = backend().store
    read_environment(store, project, environment)
    listing = flag_lists().of(store, project, environment)
    found = listing.find(wanted.filter, wanted.order)
    if wanted.stale:
        targetings = [listing.targetings[key] for key in found.keys]
        definitions = {key: listing.flags[key] for key in found.keys}
        now_ms = store.now_ms()
        stale = stale_targetings(store, project, environment, targetings, definitions, now_ms)
        found = found.only(stale.keys())
    keys, following = found.page(wanted.page.after, wanted.page.limit)
    return responses.page(
        TargetingPage(),
        _listed(store, project, environment, listing, keys, wanted.expand),
        encode_cursor(following),
        total=len(found.keys),
        totals={"all": found.all, **found.by_state},
    )


def _listed(
    store: Store,
    project: str,
    environment: str,
    listing: Listing,
    keys: Sequence[str],
    expand: frozenset[str],
) -> list[ListedTargeting]:
    targetings = [listing.targetings[key] for key in keys]
    releases: dict[str, ReleaseWithProgress] = {}
    if "release" in expand:
        ids = [each.document.release for each in targetings if each.document.release is not None]
        stored = store.get_many(project, [Address(Kind.RELEASE, id, environment) for id in ids])
        found = [each for each in stored if each is not None]
        shown = with_progress(store, project, environment, found)
        releases = {each.document.id: each for each in shown}
    return [
        ListedTargeting(
            document=each.document,
            revision=each.revision,
            updated_ms=each.updated_ms,
            receipt=each.receipt,
            ladder=each.ladder,
            evaluated=each.evaluated,
            stale=each.stale,
            definition=listing.flags[each.document.flag],
            active_release=releases.get(each.document.release or ""),
            expand=expand,
        )
        for each in with_receipts(store, project, environment, targetings)
    ]
