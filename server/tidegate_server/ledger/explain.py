"""The story of a release in plain words: who did what when, on which numbers, how it ended.

It is told from the ledger (every decision of the policy with its evidence), the audit log
(what people did), and the release as it stands. ``telling`` has the sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tidegate.counts import NOTHING, Counts

from tidegate_server.decisions import reasons
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.domain.evidence import NO_TRIPS, Trips, total
from tidegate_server.domain.release import Release
from tidegate_server.ledger import narrative
from tidegate_server.ledger.entry import Entry, Standing, standing

POLICY = "policy"
"""Who acts when the policy job does, as the audit log names it."""

OPENING = frozenset({"release.begin", "release.advance", "release.retry"})
"""What people do to end a chapter: it belongs to the one that it ends."""

MOMENT_MS = 2_000
"""An act is noted at most so long after the time that it is dated."""

WAVERING = frozenset({"hold", "go on"})
MOST_WAVERING = 8
"""So many holds and their ends in a row are told one by one."""


@dataclass(frozen=True, slots=True)
class Act:
    """What someone did to a release or its flag, as the audit log has it.

    ``action`` is a ``noun.verb``, ``release.pause`` or ``flag.kill`` for example.
    """

    at_ms: int
    actor: str
    action: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened to a release.

    Attributes:
        at_ms: when (store clock).
        actor: who; the policy job is ``policy``.
        action: what, in a word or two.
        text: the same in a sentence with its numbers.
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
        title: the stage in words, with whom it opens.
        from_ms, to_ms: store clock; None: it goes on.
        evaluations: how often the policy job looked, as far as the ledger goes back.
        control, treatment: what both arms did meanwhile.
        text: these numbers in a sentence.
        happenings: in their order.
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
    text: str
    happenings: tuple[Happening, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """The story of a release.

    Attributes:
        headline: what it was and what became of it.
        beginning: when it was started, by whom, under which policy.
        chapters: one for each stretch in a stage.
        ending: why it ended, or where it stands.
        cleanup: what is left to do, in the code and elsewhere.
        limits: what cannot be told, and why.
    """

    headline: str
    beginning: str
    chapters: tuple[Chapter, ...]
    ending: str
    cleanup: tuple[str, ...]
    limits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the flag does at present, in all environments.

    Attributes:
        served: pairs of an environment and a variant that the flag can serve there.
        releases: environments in which it has an active release.
    """

    served: tuple[tuple[str, str], ...] = ()
    releases: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    """A chapter being written."""

    at: Standing
    evaluations: int = 0
    control: Counts = NOTHING
    treatment: Counts = NOTHING
    happenings: list[Happening] = field(default_factory=list)


def explain(
    release: Release,
    environment: str,
    ledger: Iterable[Entry],
    acts: Sequence[Act],
    elsewhere: Elsewhere,
    now_ms: int,
    trips: Trips = NO_TRIPS,
) -> Story:
    """Tell a release's story.

    Args:
        release: as it stands.
        environment: where it runs.
        ledger: its entries, the oldest first; they may begin late.
        acts: what the audit log has of it and of its flag's kills, in any order.
        elsewhere: what its flag does at present.
        now_ms: store clock.
        trips: how often instances closed it for themselves, as far as they told by now.
    """
    drafts: list[_Draft] = []
    first: Entry | None = None
    last: Entry | None = None
    for entry in ledger:
        first = first or entry
        if not drafts or drafts[-1].at.step != entry.before.step:
            drafts.append(_Draft(entry.before))
        _write(drafts[-1], entry, last)
        last = entry
    if not drafts or drafts[-1].at.step != release.step:
        drafts.append(_Draft(standing(release)))
    heard_from_ms = first.at_ms if first is not None else now_ms
    for act in acts:
        # What the policy did is told by the ledger, as far as it goes back.
        told = act.actor == POLICY and act.at_ms >= heard_from_ms
        if act.action != "release.start" and not told:
            _place(drafts, act)
    said = next((act.reason for act in acts if act.action == "release.start"), "")
    chapters = tuple(_chapters(release, drafts))
    return Story(
        headline=narrative.headline(release, environment, now_ms),
        beginning=narrative.beginning(release, said),
        chapters=chapters,
        ending=narrative.ending(
            release,
            total(chapter.control for chapter in chapters),
            total(chapter.treatment for chapter in chapters),
            complete=first is None or first.decision.window == 1,
            now_ms=now_ms,
            trips=trips,
        ),
        cleanup=tuple(
            narrative.cleanup(release, environment, elsewhere.served, elsewhere.releases)
        ),
        limits=tuple(narrative.limits(first)),
    )


def _write(draft: _Draft, entry: Entry, last: Entry | None) -> None:
    """Add an evaluation to its chapter."""
    draft.evaluations += 1
    draft.control += entry.window.control
    draft.treatment += entry.window.treatment
    if last is not None and last.after.attempt != entry.before.attempt:
        text = f"The evidence begins anew (attempt {entry.before.attempt}): {entry.before.reason}"
        at_ms = entry.before.stage_entered_ms
        draft.happenings.append(Happening(at_ms, "", "evidence begins anew", text))
    if entry.window.trips.count:
        text = f"{reasons.tripped(entry.window.trips)}."
        draft.happenings.append(Happening(entry.at_ms, "", "closed by instances", text))
    decision = entry.decision
    if decision.action is not Action.HOLD or entry.before.state is not entry.after.state:
        word, text = narrative.word_of(decision, entry.after), narrative.decided(entry)
    elif set(decision.failed_checks) - set(last.decision.failed_checks if last else ()):
        word, text = "warn", f"The policy warns: {decision.reason}"
    else:
        return
    draft.happenings.append(Happening(entry.at_ms, POLICY, word, text, decision))


def _place(drafts: Sequence[_Draft], act: Act) -> None:
    """Put what someone did into the chapter in which it happened."""
    verb = act.action.partition(".")[2].replace("_", " ")
    text = narrative.done(act.actor, act.action, act.reason, by_policy=act.actor == POLICY)
    slack = MOMENT_MS if act.action in OPENING else 0
    begun = [draft for draft in drafts[1:] if draft.at.stage_entered_ms + slack <= act.at_ms]
    chapter = begun[-1] if begun else drafts[0]
    chapter.happenings.append(Happening(act.at_ms, act.actor, verb, text))


def _chapters(release: Release, drafts: Sequence[_Draft]) -> Iterator[Chapter]:
    ends = [draft.at.stage_entered_ms for draft in drafts[1:]]
    for draft, to_ms in zip(drafts, [*ends, release.ended_ms], strict=True):
        at = draft.at
        span_ms = None if to_ms is None else to_ms - at.stage_entered_ms
        yield Chapter(
            stage=at.stage,
            attempt=at.attempt,
            step=at.step,
            title=narrative.title(release.policy, at),
            from_ms=at.stage_entered_ms,
            to_ms=to_ms,
            evaluations=draft.evaluations,
            control=draft.control,
            treatment=draft.treatment,
            text=narrative.summary(draft.evaluations, span_ms, draft.control, draft.treatment),
            happenings=_condensed(sorted(draft.happenings, key=lambda each: each.at_ms)),
        )


def _condensed(happenings: Sequence[Happening]) -> tuple[Happening, ...]:
    """Holds that come and go are told by their first and their last ones."""
    found: list[Happening] = []
    for wavers, run in groupby(happenings, key=lambda each: each.action in WAVERING):
        some = list(run)
        if not wavers or len(some) <= MOST_WAVERING:
            found += some
            continue
        left_out = some[2:-2]
        until_ms = left_out[-1].at_ms
        times = sum(each.action == "hold" for each in left_out)
        text = narrative.held_again(times, until_ms)
        found += [
            *some[:2],
            Happening(left_out[0].at_ms, POLICY, "hold", text),
            *some[-2:],
        ]
    return tuple(found)
