"""The history of a release in plain words: who did what, when and why, and how it ended.

It is made from the ledger (every decision of the policy with its evidence), the audit log
(what people did), and the release as it is now. ``narrative`` has the sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tidegate.counts import NOTHING, Counts

from tidegate_server.decisions import reasons
from tidegate_server.decisions.decision import Action, CheckResult, Decision
from tidegate_server.decisions.people import AffectedUsers
from tidegate_server.domain.evidence import NO_TRIPS, Trips, total
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.policy_risks import release_risks
from tidegate_server.domain.release import Release
from tidegate_server.ledger import narrative
from tidegate_server.ledger.cleanup import CleanupStep, FlagUse, cleanup
from tidegate_server.ledger.entry import Entry, ReleaseStatus, release_status

POLICY = "policy"
"""The actor of the policy job in the audit log."""

STAGE_ENDING_ACTIONS = frozenset({"release.begin", "release.advance", "release.retry"})
"""Actions of people that end a chapter. They belong to the chapter that they end."""

AUDIT_DELAY_MS = 2_000
"""The audit log dates an action at most this long after the release does."""

HOLDS = frozenset({"hold", "go on"})
MAX_HOLDS = 8
"""How many holds and their ends in a row are listed one by one."""


@dataclass(frozen=True, slots=True)
class AuditedAction:
    """An action on a release or its flag, from the audit log.

    ``action`` is a ``noun.verb``, such as ``release.pause`` or ``flag.kill``; ``tag``: it
    was done to every flag with this tag.
    """

    at_ms: int
    actor: str
    action: str
    reason: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a release.

    Attributes:
        at_ms: store clock.
        actor: who did it; the policy job is ``policy``.
        action: what happened, in a word or two.
        text: what happened, in a sentence with its numbers.
        decision: the policy's decision behind it, with every number; None for people.
    """

    at_ms: int
    actor: str
    action: str
    text: str
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Chapter:
    """A stretch of a release in one stage.

    Attributes:
        stage, attempt, step: as in the release.
        title: the stage in words, with its share and segments.
        from_ms, to_ms: store clock; ``to_ms`` is None while the stage lasts.
        evaluations: the number of evaluations that the ledger still has.
        control, treatment: the counts of both arms in this time, as servers reported them.
        client_control, client_treatment: the same as clients reported them.
        text: these numbers in a sentence.
        happenings: the events, in their order.
    """

    stage: int
    attempt: int
    step: int
    title: str
    from_ms: int
    to_ms: int | None
    evaluations: int
    control: Counts
    treatment: Counts
    client_control: Counts
    client_treatment: Counts
    text: str
    happenings: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The history of a release.

    Attributes:
        headline: what was released, and the result.
        beginning: when it was started, who started it, and its policy.
        chapters: one for each stretch in a stage.
        ending: why it ended, or its present state.
        cleanup: what is left to do, in the code and elsewhere, after what is done of it.
        limits: what the history leaves out, and why, and what the policy does not watch.
        users: whom it has harmed and spared; None: it was never evaluated.
    """

    headline: str
    beginning: str
    chapters: tuple[Chapter, ...]
    ending: str
    cleanup: tuple[CleanupStep, ...]
    limits: tuple[str, ...]
    users: AffectedUsers | None = None


@dataclass(slots=True)
class _OpenChapter:
    """A chapter that is not complete."""

    status: ReleaseStatus
    evaluations: int = 0
    control: Counts = NOTHING
    treatment: Counts = NOTHING
    client_control: Counts = NOTHING
    client_treatment: Counts = NOTHING
    happenings: list[Event] = field(default_factory=list)


def explain(
    release: Release,
    environment: str,
    ledger: Iterable[Entry],
    actions: Sequence[AuditedAction],
    flag_use: FlagUse,
    now_ms: int,
    trips: Trips = NO_TRIPS,
    users: AffectedUsers | None = None,
) -> Explanation:
    """Return the history of a release.

    Args:
        release: as it is now.
        environment: where it runs.
        ledger: its entries, the oldest first; the first ones may be missing.
        actions: the actions on it and the kills of its flag, in any order.
        flag_use: what its flag does at present.
        now_ms: store clock.
        trips: the trips of local breakers that were reported.
        users: whom it has harmed and spared; None: it was never evaluated.
    """
    drafts: list[_OpenChapter] = []
    first: Entry | None = None
    last: Entry | None = None
    for entry in ledger:
        first = first or entry
        if not drafts or drafts[-1].status.step != entry.before.step:
            drafts.append(_OpenChapter(entry.before))
        _add_entry(drafts[-1], entry, last, release.policy)
        last = entry
    if not drafts or drafts[-1].status.step != release.step:
        drafts.append(_OpenChapter(release_status(release)))
    ledger_from_ms = first.at_ms if first is not None else now_ms
    for action in actions:
        # The actions of the policy are in the ledger, as far as it goes back.
        in_ledger = action.actor == POLICY and action.at_ms >= ledger_from_ms
        if action.action != "release.start" and not in_ledger:
            _add_action(drafts, action)
    reason = next((each.reason for each in actions if each.action == "release.start"), "")
    chapters = tuple(_chapters(release, drafts))
    return Explanation(
        headline=narrative.headline_text(release, environment, flag_use.ladder, now_ms),
        beginning=narrative.beginning_text(release, reason),
        chapters=chapters,
        ending=narrative.ending_text(
            release,
            flag_use.ladder,
            total(chapter.control for chapter in chapters),
            total(chapter.treatment for chapter in chapters),
            complete=first is None or first.decision.window == 1,
            now_ms=now_ms,
            trips=trips,
            last=last.decision if last is not None else None,
            users=users,
        ),
        users=users,
        cleanup=tuple(cleanup(release, environment, flag_use)),
        limits=(
            *narrative.limits(first),
            *(
                each.detail
                for each in release_risks(release.policy, client_side=flag_use.client_side)
            ),
        ),
    )


def _began_to_fail(entry: Entry, last: Entry | None) -> list[CheckResult]:
    known = last.decision.failed_checks if last is not None else ()
    return [each for each in entry.decision.checks if each.failed and each.number not in known]


def _add_entry(draft: _OpenChapter, entry: Entry, last: Entry | None, policy: Policy) -> None:
    """Add an evaluation to its chapter, as an event if it changed something or warns."""
    draft.evaluations += 1
    draft.control += entry.window.control
    draft.treatment += entry.window.treatment
    if entry.window.client is not None:
        draft.client_control += entry.window.client.control
        draft.client_treatment += entry.window.client.treatment
    if last is not None and last.after.attempt != entry.before.attempt:
        text = f"The evidence restarts (attempt {entry.before.attempt}): {entry.before.reason}"
        at_ms = entry.before.stage_entered_ms
        draft.happenings.append(Event(at_ms, "", "evidence restarts", text))
    if entry.window.trips.count:
        text = f"{narrative.sentence(reasons.tripped(entry.window.trips))}."
        draft.happenings.append(Event(entry.at_ms, "", "local breaker", text))
    decision = entry.decision
    if decision.action is not Action.HOLD or entry.before.state is not entry.after.state:
        word, text = narrative.action_word(decision, entry.after), narrative.decision_text(entry)
    elif began := _began_to_fail(entry, last):
        word, text = "warn", narrative.warning_text(policy, began, decision.reason)
    elif failed := _failed_by_clients(decision, last.decision if last else None):
        word, text = "warn", narrative.client_warning_text(failed, decision.reason)
    else:
        return
    draft.happenings.append(Event(entry.at_ms, POLICY, word, text, decision))


def _failed_by_clients(decision: Decision, last: Decision | None) -> list[str]:
    """Return the checks that began to fail by the reports of clients."""
    if decision.client is None:
        return []
    known = last.client.failed_checks if last is not None and last.client is not None else ()
    return [
        each.label for each in decision.client.checks if each.failed and each.number not in known
    ]


def _add_action(drafts: Sequence[_OpenChapter], action: AuditedAction) -> None:
    """Add an action to the chapter in which it happened."""
    verb = action.action.partition(".")[2].replace("_", " ")
    text = narrative.action_text(
        action.actor,
        action.action,
        action.reason,
        tag=action.tag,
        by_policy=action.actor == POLICY,
    )
    delay_ms = AUDIT_DELAY_MS if action.action in STAGE_ENDING_ACTIONS else 0
    begun = [
        draft for draft in drafts[1:] if draft.status.stage_entered_ms + delay_ms <= action.at_ms
    ]
    chapter = begun[-1] if begun else drafts[0]
    chapter.happenings.append(Event(action.at_ms, action.actor, verb, text))


def _chapters(release: Release, drafts: Sequence[_OpenChapter]) -> Iterator[Chapter]:
    ends = [draft.status.stage_entered_ms for draft in drafts[1:]]
    for draft, to_ms in zip(drafts, [*ends, release.ended_ms], strict=True):
        status = draft.status
        span_ms = None if to_ms is None else to_ms - status.stage_entered_ms
        yield Chapter(
            stage=status.stage,
            attempt=status.attempt,
            step=status.step,
            title=narrative.stage_title(release.policy, status),
            from_ms=status.stage_entered_ms,
            to_ms=to_ms,
            evaluations=draft.evaluations,
            control=draft.control,
            treatment=draft.treatment,
            client_control=draft.client_control,
            client_treatment=draft.client_treatment,
            text=narrative.stage_summary_text(
                draft.evaluations, span_ms, draft.control, draft.treatment
            )
            + narrative.client_summary_text(
                release.policy, draft.client_control, draft.client_treatment
            ),
            happenings=_shorten_holds(sorted(draft.happenings, key=lambda each: each.at_ms)),
        )


def _shorten_holds(events: Sequence[Event]) -> tuple[Event, ...]:
    """Keep only the first and the last of many holds in a row."""
    kept: list[Event] = []
    for are_holds, group in groupby(events, key=lambda each: each.action in HOLDS):
        run = list(group)
        if not are_holds or len(run) <= MAX_HOLDS:
            kept += run
            continue
        left_out = run[2:-2]
        until_ms = left_out[-1].at_ms
        times = sum(each.action == "hold" for each in left_out)
        text = narrative.repeated_holds_text(times, until_ms)
        kept += [
            *run[:2],
            Event(left_out[0].at_ms, POLICY, "hold", text),
            *run[-2:],
        ]
    return tuple(kept)
