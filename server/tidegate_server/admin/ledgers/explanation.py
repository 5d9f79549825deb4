"""Gathering what a release's story is told from."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.model import Serve

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.ledgers.stored_ledger import read_entry, read_ledger
from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.project_documents import targeting_address
from tidegate_server.domain.release import Release
from tidegate_server.ledger.explain import AuditedAction, Explanation, FlagUse, explain
from tidegate_server.store import Store
from tidegate_server.store.logs import AuditEntry

NOTED_MS = 60_000
"""The audit log dates an act when it is committed, a little after the time it is done at."""

LATCHES = frozenset({"flag.kill", "flag.restore"})


def explanation(store: Store, project: str, environment: str, id: str) -> Explanation:
    """A release's story.

    Raises:
        NotFound: there is no such release.
        NotPossible: its ledger cannot be read by this version.
    """
    stored = read_document(store, project, Address(Kind.RELEASE, id, environment))
    release: Release = stored.document
    now_ms = store.now_ms()
    return explain(
        release,
        environment,
        (each.entry for each in read_ledger(store, project, environment, id)),
        list(_acts(store, project, environment, release, now_ms)),
        _elsewhere(store, project, release.flag),
        now_ms,
        store.evidence(project, environment, id).trips,
    )


def _acts(
    store: Store, project: str, environment: str, release: Release, now_ms: int
) -> Iterator[AuditedAction]:
    began_ms = release.started_ms
    for first in store.ledger_after(project, environment, release.id, None, 1):
        # A draft was made before it was begun.
        began_ms = min(began_ms, read_entry(first).entry.before.stage_entered_ms)
    until_ms = now_ms if release.ended_ms is None else release.ended_ms + NOTED_MS
    for each in store.audit_between(project, began_ms, until_ms):
        if _concerns(each, release, environment):
            yield AuditedAction(each.at_ms, each.actor, each.action, each.reason)


def _concerns(entry: AuditEntry, release: Release, environment: str) -> bool:
    if entry.environment != environment:
        return False
    return entry.target == release.id or (entry.target == release.flag and entry.action in LATCHES)


def _elsewhere(store: Store, project: str, flag: str) -> FlagUse:
    """What the flag serves in every environment at present."""
    places = sorted(store.all(project, Kind.ENVIRONMENT))
    found = store.get_many(project, [targeting_address(place, flag) for place in places])
    targetings: list[tuple[str, Targeting]] = [
        (place, stored.document)
        for place, stored in zip(places, found, strict=True)
        if stored is not None
    ]
    return FlagUse(
        tuple((place, each) for place, targeting in targetings for each in _variants(targeting)),
        tuple(place for place, targeting in targetings if targeting.release is not None),
    )


def _variants(targeting: Targeting) -> list[str]:
    """The variants that a flag can serve there, as it is configured."""
    if targeting.kill is not None:
        return [targeting.kill_variant or targeting.off_variant]
    if not targeting.enabled:
        return [targeting.off_variant]
    serves = [targeting.default, *(rule.serve for rule in targeting.rules)]
    found = [variant for serve in serves for variant in _of_serve(serve)]
    if targeting.prerequisites:
        found.append(targeting.off_variant)
    return sorted(set(found))


def _of_serve(serve: Serve) -> list[str]:
    if serve.variant is not None:
        return [serve.variant]
    return [part.variant for part in serve.split]
