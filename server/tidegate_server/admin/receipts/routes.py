"""How far versions have reached the SDK instances, and the kills that are in force."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response

from tidegate_server.admin.document_reader import read_environment, read_project
from tidegate_server.admin.receipts.schemas import KillPage, VersionReceiptAnswer
from tidegate_server.admin.targeting.service import Receipt as KillReceipt
from tidegate_server.admin.targeting.service import kill_receipt
from tidegate_server.domain.flags import Kill, Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import NotFound
from tidegate_server.store import Store
from tidegate_server.store.document_cache import targeting_index
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import ENVIRONMENT, PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

MOST_WAITING = 100
"""How many of the instances that wait are named."""

blueprint = Blueprint("receipts", __name__, description="How far changes have reached instances")


@dataclass(frozen=True, slots=True)
class KilledFlag:
    """A kill in force: where, of which flag, and how far it has reached."""

    environment: str
    flag: str
    killed: Kill
    serves: str
    receipt: KillReceipt | None


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/receipts/<int:version>",
    permission=Permission.READ,
    response=VersionReceiptAnswer,
    etag=False,
)
def get_receipt(project: str, environment: str, version: int) -> Response:
    """Get how far a version of the environment has reached the instances; kept for 30 days.

    An edit, a kill and each step of a release make a version. An instance reports a kill at once
    and other versions with its next report; the times are those until it applied the version.
    """
    store = backend().store
    read_environment(store, project, environment)
    receipt = store.receipts.of_version(project, environment, version)
    if receipt is None:
        present = store.version(project, environment)
        why = f"the environment is at version {present}"
        if version <= present:
            why = "receipts are kept for 30 days, and those of earlier versions of Tidegate not"
        raise NotFound(f"There is no receipt of version {version}: {why}.")
    live = [each for each in store.instances.all(project, environment) if each.live]
    waiting = sorted(
        (each for each in live if each.version < version), key=lambda each: each.seen_ms
    )
    answer = {
        "version": version,
        "at_ms": receipt.at_ms,
        "actor": receipt.actor,
        "action": receipt.action,
        "live": len(live),
        "applied": len(live) - len(waiting),
        "waiting": waiting[:MOST_WAITING],
        "confirmed": receipt.confirmed,
        "median_ms": receipt.quantile_ms(0.5),
        "p95_ms": receipt.quantile_ms(0.95),
        "slowest_ms": receipt.slowest_ms,
    }
    return responses.value(VersionReceiptAnswer(), answer)


@blueprint.operation(
    "GET", f"{PROJECT}/kills", permission=Permission.READ, query=PageQuery, response=KillPage
)
def list_kills(page: PageRequest, project: str) -> Response:
    """List the kills in force, in all environments that you may read."""
    store, caller = backend().store, current_caller()
    read_project(store, project)
    killed = {}
    for environment in store.cached(project, Kind.ENVIRONMENT).stored:
        if not caller.allows(Permission.READ, project, environment):
            continue
        targetings = store.cached(project, Kind.TARGETING, environment)
        for flag in targeting_index(targetings).killed:
            killed[f"{environment} {flag}"] = (environment, targetings.stored[flag].document)
    chosen, following = paginate(killed, page)
    items = [_killed_flag(store, project, *each) for each in chosen]
    return responses.page(KillPage(), items, following)


def _killed_flag(store: Store, project: str, environment: str, targeting: Targeting) -> KilledFlag:
    assert targeting.kill is not None
    return KilledFlag(
        environment,
        targeting.flag,
        targeting.kill,
        targeting.kill_variant or targeting.off_variant,
        kill_receipt(store, project, environment, targeting.flag),
    )
