"""One evaluation carried out: read, decide, and commit everything at once.

The commit rests on the release's revision, so whatever a person did in between wins;
and on the fence, so a process that was deposed in between writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidegate_server.decisions.apply import applied
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.entry import record
from tidegate_server.decisions.progress import Progress, begin
from tidegate_server.decisions.warned import newly_warned
from tidegate_server.decisions.windows import Answer, Measured, Window
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
from tidegate_server.domain.contents import flag_address, release_address, targeting_address
from tidegate_server.domain.gates import Event
from tidegate_server.domain.notices import outgoing_of
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_changes import change_of, progress_address
from tidegate_server.errors import NotFound
from tidegate_server.policy_job.asking import Asker, Question
from tidegate_server.policy_job.reading import read_window
from tidegate_server.policy_job.roster import Roster
from tidegate_server.store import Store

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


def evaluate(
    store: Store,
    project: str,
    environment: str,
    release_id: str,
    fence: Fence,
    now_ms: int,
    asker: Asker | None = None,
    *,
    roster: Roster | None = None,
    measured: Sequence[Measured] = (),
) -> Evaluated:
    """Evaluate a release if it is due, and commit the decision.

    While webhooks are asked to confirm nothing is committed, and the release stays due.

    Args:
        store: where everything is.
        project, environment, release_id: which release.
        fence: what the commit rests on.
        now_ms: store clock.
        asker: who asks webhooks; without one, none confirms.
        roster: who reports; looked up when not given.
        measured: what outside sources said for its checks.

    Raises:
        StaleRevision: someone changed the release meanwhile; nothing was written.
        Deposed: another process leads; nothing was written.
        StoreUnavailable: whether it was written is not known; the next evaluation reads
            what is there.
    """
    where = Address(Kind.RELEASE, release_id, environment)
    stored, known = store.get_many(project, [where, progress_address(environment, release_id)])
    if stored is None or stored.document.state not in LIVE_STATES:
        return Evaluated(None)
    release: Release = stored.document
    progress: Progress = known.document if known else begin(release)
    if now_ms < progress.next_due_ms:
        return Evaluated(progress.next_due_ms)
    if release.state is State.KILLED:
        return Evaluated(now_ms + release.policy.interval_ms)
    window, totals = read_window(
        store,
        project,
        environment,
        release,
        progress,
        now_ms,
        roster=roster,
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
        asker.forget((project, environment, release_id))
    moved = applied(release, decision)
    change = _release_change(store, project, environment, stored, moved, decision)
    warning = newly_warned(release.policy, progress.decision, decision)
    warned = (
        outgoing_of(
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
                progress_address(environment, release_id),
                totals.kept_in(after),
                known.revision if known else 0,
            ),
        ),
        ledger=(
            LedgerEntry(
                environment, release_id, record(release, moved, progress, window, decision)
            ),
        ),
        generations=(EvidenceGeneration(environment, release_id, after.generation),)
        if new_epoch
        else (),
        outgoing=(*change.outgoing, *warned),
        fence=fence,
    )
    store.commit(change, durable=moved != release or new_epoch or bool(warned))
    over = moved.state not in LIVE_STATES
    return Evaluated(None if over else after.next_due_ms, decision)


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
    return change_of(
        project,
        environment,
        definition,
        targeting,
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
