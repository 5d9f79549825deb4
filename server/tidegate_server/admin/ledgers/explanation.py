"""Explain a release from its ledger, the audit log and the targeting of its flag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.ladders import read_ladders
from tidegate_server.admin.ledgers.stored_ledger import read_entry, read_ledger
from tidegate_server.decisions.people import affected_users
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.change import Address
from tidegate_server.domain.evidence import NO_TRIPS, Trips
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.ladder import serve_text
from tidegate_server.domain.project_documents import (
    flag_address,
    progress_address,
    targeting_address,
)
from tidegate_server.domain.references import variants_of
from tidegate_server.domain.release import LIVE_STATES, Release
from tidegate_server.domain.rule_variants import find_serve
from tidegate_server.ledger.cleanup import FlagUse
from tidegate_server.ledger.explain import AuditedAction, Explanation, explain
from tidegate_server.store import Store
from tidegate_server.store.logs import AuditEntry, Period

AUDIT_DELAY_MS = 60_000
"""The audit log dates an action when it is committed, a little after the release does."""

FLAG_ACTIONS = frozenset({"flag.kill", "flag.restore"})
"""Actions on a flag that also change its release."""


def explain_release(store: Store, project: str, environment: str, id: str) -> Explanation:
    """Return what happened to a release.

    Raises:
        NotFound: there is no such release.
        NotPossible: this version cannot read its ledger.
    """
    stored = read_document(store, project, Address(Kind.RELEASE, id, environment))
    release: Release = stored.document
    known = store.get(project, progress_address(environment, id))
    progress: Progress | None = None if known is None else known.document
    now_ms = store.now_ms()
    return explain(
        release,
        environment,
        (each.entry for each in read_ledger(store, project, environment, id)),
        list(_read_audited_actions(store, project, environment, release, now_ms)),
        _flag_use(store, project, environment, release),
        now_ms,
        _trips(store, project, environment, release, progress),
        None if progress is None else affected_users(progress.users),
    )


def _trips(
    store: Store, project: str, environment: str, release: Release, progress: Progress | None
) -> Trips:
    """Return the trips of a release; its evidence is deleted when it ends."""
    if release.state in LIVE_STATES:
        return store.evidence.totals(project, environment, release.id).trips
    return NO_TRIPS if progress is None else progress.trips


def _read_audited_actions(
    store: Store, project: str, environment: str, release: Release, now_ms: int
) -> Iterator[AuditedAction]:
    began_ms = release.started_ms
    for first in store.logs.ledger_after(project, environment, release.id, None, 1):
        # A draft is measured before it begins.
        began_ms = min(began_ms, read_entry(first).entry.before.stage_entered_ms)
    until_ms = now_ms if release.ended_ms is None else release.ended_ms + AUDIT_DELAY_MS
    # The entries of a release also name its flag.
    period = Period(began_ms, until_ms + 1)
    for each in store.logs.audit_between(project, period, about=release.flag):
        if _concerns(each, release, environment):
            tag = str(each.details.get("tag", ""))
            yield AuditedAction(each.at_ms, each.actor, each.action, each.reason, tag)


def _concerns(entry: AuditEntry, release: Release, environment: str) -> bool:
    if entry.environment != environment:
        return False
    return entry.target == release.id or (
        entry.target == release.flag and entry.action in FLAG_ACTIONS
    )


def _flag_use(store: Store, project: str, environment: str, release: Release) -> FlagUse:
    """Return what the flag of a release does now, here and in the other environments."""
    flag = release.flag
    definition = store.get(project, flag_address(flag))
    environments = sorted(store.all(project, Kind.ENVIRONMENT))
    stored = store.get_many(project, [targeting_address(each, flag) for each in environments])
    targetings: list[tuple[str, Targeting]] = [
        (environment, each.document)
        for environment, each in zip(environments, stored, strict=True)
        if each is not None
    ]
    use = FlagUse(
        tuple(
            (place, variant)
            for place, targeting in targetings
            for variant in _servable_variants(targeting)
        ),
        tuple(place for place, targeting in targetings if targeting.release is not None),
        client_side=definition is not None and definition.document.client_side,
    )
    here = dict(zip(environments, stored, strict=True)).get(environment)
    if here is None:
        return use
    [rungs] = read_ladders(store, project, environment, [here])
    serve = find_serve(here.document, release.rule)
    return replace(use, ladder=rungs, serves=None if serve is None else serve_text(serve))


def _servable_variants(targeting: Targeting) -> list[str]:
    """Return the variants that a targeting can serve now."""
    if targeting.kill is not None:
        return [targeting.kill_variant or targeting.off_variant]
    if not targeting.enabled:
        return [targeting.off_variant]
    serves = [targeting.default, *(rule.serve for rule in targeting.rules)]
    variants = {variant for serve in serves for variant in variants_of(serve)}
    if targeting.prerequisites:
        variants.add(targeting.off_variant)
    return sorted(variants)
