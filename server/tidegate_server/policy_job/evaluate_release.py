"""One evaluation carried out: read, decide, and commit everything at once.

The commit rests on the release's revision, so whatever a person did in between wins;
and on the fence, so a process that was deposed in between writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidegate_server.decisions.apply_decision import applied
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.observations import Answer, Window
from tidegate_server.decisions.progress import Progress, begin
from tidegate_server.decisions.warnings import newly_warned
from tidegate_server.domain.change import (
    Address,
    Change,
    EvidenceGeneration,
    Fence,
    Guard,
    Kind,
    LedgerEntry,
    Put,
    Stored,
)
from tidegate_server.domain.evidence import Evidence
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    flag_address,
    progress_address,
    release_address,
    targeting_address,
)
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_commits import release_change
from tidegate_server.domain.release_events import webhook_messages
from tidegate_server.domain.release_gates import Event
from tidegate_server.errors import NotFound, StoreUnavailable
from tidegate_server.ledger.entry import record
from tidegate_server.policy_job.evidence_sources import Sources
from tidegate_server.policy_job.instance_cache import Roster
from tidegate_server.policy_job.read_window import read_window
from tidegate_server.store import Store
from tidegate_server.webhooks.confirmations import Asker, Question

ACTOR = "policy"

ASK_AGAIN_MS = 500
"""How long a release that waits for answers is left alone when none comes."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What became of an evaluation.

    ``next_due_ms`` is when the release is due again, None when it is over; ``decision`` is
    None when it was not due after all.
    """

    next_due_ms: int | None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class _Draft:
    """A decision that is not committed yet."""

    change: Change
    durable: bool
    evaluated: Evaluated


def evaluate(
    store: Store,
    project: str,
    environment: str,
    release_id: str,
    fence: Fence,
    now_ms: int,
    asker: Asker | None = None,
) -> Evaluated:
    """Evaluate a release if it is due, and commit the decision; see ``evaluate_many``.

    Raises:
        StaleRevision: someone changed the release meanwhile; nothing was written.
        Deposed: another process leads; nothing was written.
        StoreUnavailable: whether it was written is not known; the next evaluation reads
            what is there.
    """
    found = evaluate_many(store, project, environment, [release_id], fence, now_ms, asker)
    outcome = found[release_id]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def evaluate_many(
    store: Store,
    project: str,
    environment: str,
    release_ids: Sequence[str],
    fence: Fence,
    now_ms: int,
    asker: Asker | None = None,
    *,
    roster: Roster | None = None,
    sources: Sources | None = None,
) -> dict[str, Evaluated | Exception]:
    """Evaluate the releases that are due, and commit each decision by itself.

    They are read in one round trip and committed in another, so that many cost little more
    than one. While outside sources are asked, or webhooks to confirm, nothing is committed
    and the release stays due.

    Args:
        store: where everything is.
        project, environment, release_ids: which releases.
        fence: what the commits rest on.
        now_ms: store clock.
        asker: who asks webhooks; without one, none confirms.
        roster: who reports; looked up when not given.
        sources: who asks outside sources; without one, they have no value.

    Returns:
        For each release what became of it, or why nothing was written: ``StaleRevision``,
        ``Deposed``, or whatever keeps it from being evaluated.

    Raises:
        StoreUnavailable: whether anything was written is not known; the next evaluation
            reads what is there.
    """
    roster = roster or Roster(store)
    addresses = [
        address
        for each in release_ids
        for address in (
            Address(Kind.RELEASE, each, environment),
            progress_address(environment, each),
        )
    ]
    found = store.get_many(project, addresses)
    counters = store.evidence_many(project, environment, release_ids)
    outcomes: dict[str, Evaluated | Exception] = {}
    drafts: dict[str, _Draft] = {}
    for number, release_id in enumerate(release_ids):
        stored, known = found[2 * number], found[2 * number + 1]
        if stored is None or stored.document.state not in LIVE_STATES:
            outcomes[release_id] = Evaluated(None)
            continue
        reader = _Reader(store, project, environment, counters[number], roster, now_ms)
        try:
            made = _draft(reader, stored, known, fence, asker, sources)
        except StoreUnavailable:
            raise
        except Exception as error:
            outcomes[release_id] = error
            continue
        if isinstance(made, Evaluated):
            outcomes[release_id] = made
        else:
            drafts[release_id] = made
    for durable in (False, True):
        chosen = {id: draft for id, draft in drafts.items() if draft.durable is durable}
        if not chosen:
            continue
        committed = store.commit_many([draft.change for draft in chosen.values()], durable)
        for (release_id, draft), outcome in zip(chosen.items(), committed, strict=True):
            if isinstance(outcome, Exception):
                outcomes[release_id] = outcome
                continue
            outcomes[release_id] = draft.evaluated
            if sources is not None:
                sources.forget((project, environment, release_id))
    return outcomes


@dataclass(frozen=True, slots=True)
class _Reader:
    """What a draft may still have to read, and what was read for it."""

    store: Store
    project: str
    environment: str
    evidence: Evidence
    roster: Roster
    now_ms: int


def _draft(
    reader: _Reader,
    stored: Stored,
    known: Stored | None,
    fence: Fence,
    asker: Asker | None,
    sources: Sources | None,
) -> _Draft | Evaluated:
    """The decision on a release, and the change that carries it out."""
    store, project, environment = reader.store, reader.project, reader.environment
    now_ms = reader.now_ms
    release: Release = stored.document
    progress: Progress = known.document if known else begin(release)
    if now_ms < progress.next_due_ms:
        return Evaluated(progress.next_due_ms)
    if release.state is State.KILLED:
        return Evaluated(now_ms + release.policy.interval_ms)
    measured = () if sources is None else sources.measured(project, environment, release)
    if measured is None:
        return Evaluated(now_ms + ASK_AGAIN_MS)
    window, totals = read_window(
        store,
        project,
        environment,
        release,
        progress,
        now_ms,
        evidence=reader.evidence,
        roster=reader.roster,
        measured=measured,
    )
    after, decision = decide(release, progress, window, now_ms)
    if decision.asks:
        answers = _answers(asker, project, environment, stored, progress, window, decision)
        if answers is None:
            return Evaluated(now_ms + ASK_AGAIN_MS)
        window = replace(window, answers=answers)
        after, decision = decide(release, progress, window, now_ms)
    elif asker is not None:
        asker.forget((project, environment, release.id))
    moved = applied(release, decision)
    change = _release_change(store, project, environment, stored, moved, decision)
    warning = newly_warned(release.policy, progress.decision, decision, window.trips)
    warned = (
        webhook_messages(
            environment,
            release,
            replace(moved, updated_ms=now_ms),
            actor=ACTOR,
            reason=warning,
            events=(Event.WARNED,),
        )
        if warning
        else ()
    )
    new_epoch = after.generation != window.generation
    change = replace(
        change,
        writes=(
            *change.writes,
            Put(
                progress_address(environment, release.id),
                after.with_readings(totals),
                known.revision if known else 0,
            ),
        ),
        ledger=(
            LedgerEntry(
                environment, release.id, record(release, moved, progress, window, decision)
            ),
        ),
        generations=(EvidenceGeneration(environment, release.id, after.generation),)
        if new_epoch
        else (),
        outgoing=(*change.outgoing, *warned),
        fence=fence,
    )
    over = moved.state not in LIVE_STATES
    return _Draft(
        change=change,
        durable=moved != release or new_epoch or bool(warned),
        evaluated=Evaluated(None if over else after.next_due_ms, decision),
    )


def _answers(
    asker: Asker | None,
    project: str,
    environment: str,
    stored: Stored,
    progress: Progress,
    window: Window,
    decision: Decision,
) -> tuple[Answer, ...] | None:
    """What the webhooks say to what would be decided if all of them confirmed."""
    if asker is None:
        return tuple(Answer(key, False, "nobody here can ask it") for key in decision.asks)
    release: Release = stored.document
    confirmed = tuple(Answer(key, True) for key in decision.asks)
    agreed = replace(window, answers=confirmed)
    _, then = decide(release, progress, agreed, decision.at_ms)
    return asker.answers(
        Question(
            project=project,
            environment=environment,
            release=release,
            revision=stored.revision,
            webhooks=decision.asks,
            action=str(then.action),
            then=applied(release, then),
            reason=then.reason,
        )
    )


def _release_change(
    store: Store,
    project: str,
    environment: str,
    before: Stored,
    after: Release,
    decision: Decision,
) -> Change:
    """The part of the commit that is about the release itself."""
    release: Release = before.document
    if after == release:
        where = release_address(environment, release)
        return Change(scope=project, writes=(Guard(where, before.revision),))
    definition, targeting = store.get_many(
        project, [flag_address(release.flag), targeting_address(environment, release.flag)]
    )
    if definition is None or targeting is None:
        raise NotFound(f"Flag {release.flag} of release {release.id} is gone.")
    documents = ProjectDocuments(
        project,
        flags={release.flag: definition},
        targetings={environment: {release.flag: targeting}},
    )
    return release_change(
        documents,
        environment,
        before,
        after,
        actor=ACTOR,
        action=f"release.{_verb(release, after, decision)}",
        reason=decision.reason,
    )


def _verb(before: Release, after: Release, decision: Decision) -> str:
    if decision.action is Action.HOLD and before.state is State.HOLDING:
        return "go_on"
    return str(decision.action)
