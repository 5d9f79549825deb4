"""The sentences of a release's history."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tidegate.counts import Counts

from tidegate_server.decisions.decision import Action, CheckResult, Decision
from tidegate_server.decisions.evidence_words import (
    duration,
    format_number,
    harm,
    noticeable,
    safety,
    wobble,
)
from tidegate_server.decisions.people import AffectedUsers, Range
from tidegate_server.decisions.reasons import tripped
from tidegate_server.decisions.stage_exit import ADVANCED, HOLD_ENDED
from tidegate_server.domain.calendar import utc_text
from tidegate_server.domain.checks import OnFailure
from tidegate_server.domain.evidence import NO_TRIPS, Trips
from tidegate_server.domain.ladder import Cause, Rung
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.ledger.entry import Entry, ReleaseStatus

_DECIDED = {
    Action.ADVANCE: "advances to stage {stage}",
    Action.PAUSE: "pauses the release",
    Action.ROLLBACK: "rolls the release back to the control",
    Action.RETREAT: "goes back to stage {stage}",
    Action.ASK: "asks for approval",
    Action.COOL_DOWN: "closes the release for a cooldown",
    Action.RETRY: "tries again at stage {stage}",
    Action.COMPLETE: "completes the release with the treatment",
}

_SHOWS_EVIDENCE = frozenset(_DECIDED) - {Action.RETRY}

_DONE = {
    "release.begin": "began the release",
    "release.pause": "paused it",
    "release.resume": "resumed it",
    "release.advance": "advanced it by hand",
    "release.retry": "retried it at once",
    "release.approve": "approved",
    "release.rollback": "rolled it back",
    "release.complete": "completed it by hand",
    "flag.kill": "killed the flag: everyone gets its kill variant",
    "flag.restore": "restored the flag",
}

_DONE_BY_POLICY = {
    "release.advance": "advanced to the next stage",
    "release.hold": "held the release",
    "release.go_on": "ended the hold",
    "release.pause": "paused the release",
    "release.ask": "asked for approval",
    "release.retreat": "went back a stage",
    "release.cool_down": "closed the release for a cooldown",
    "release.retry": "tried again",
}


def instant(at_ms: int) -> str:
    """Return a time as ``2026-01-31 09:00:00 UTC``."""
    return utc_text(at_ms)


def action_word(decision: Decision, after: ReleaseStatus) -> str:
    """Return what a decision did, in a word or two."""
    if decision.action is not Action.HOLD:
        return str(decision.action).replace("_", " ")
    return "hold" if after.state is State.HOLDING else "go on"


def decision_text(entry: Entry) -> str:
    """Return a sentence about a decision that changed something."""
    decision = entry.decision
    if decision.action is not Action.HOLD:
        what = _DECIDED[decision.action].format(stage=entry.after.stage)
        return f"The policy {what}{_because(decision.reason)}{_evidence(entry)}"
    if entry.after.state is State.HOLDING:
        return f"The policy holds the release: {decision.reason}"
    if entry.before.state is State.AWAITING_APPROVAL:
        return f"The policy no longer waits for approval: {decision.reason}"
    if decision.reason == HOLD_ENDED:
        return "The policy ends the hold: its reason has ended"
    return f"The policy ends the hold: {decision.reason}"


def _because(reason: str) -> str:
    """Return a reason as the end of a sentence; that of an advance says "advanced" itself."""
    if reason.startswith(ADVANCED):
        return reason.removeprefix(ADVANCED)
    return f": {reason}" if reason else "."


def _evidence(entry: Entry) -> str:
    """Return the evidence at a decision whose reason does not mention it.

    Without a check against control there is none; without a control group in the window, none
    of safety.
    """
    decision = entry.decision
    if decision.action not in _SHOWS_EVIDENCE or "evidence" in decision.reason:
        return ""
    if not decision.compares:
        return ""
    numbers = f"; {harm(decision.evidence, decision.rollback_at)}"
    if not entry.window.has_control:
        return numbers
    return f"{numbers}, {safety(decision.advance, decision.advance_at)}"


def warning_text(policy: Policy, failed: Sequence[CheckResult], reason: str) -> str:
    """Return a sentence about checks that began to fail without changing the release."""
    labels = " and ".join(each.label for each in failed)
    warns = all(policy.checks[each.number].on_failure is OnFailure.WARN for each in failed)
    begins = "The policy warns: " if warns else "It changes nothing now: "
    return f"{begins}{labels} failed; {reason}"


def action_text(
    actor: str, action: str, reason: str, *, tag: str = "", by_policy: bool = False
) -> str:
    """Return a sentence about an action in the audit log."""
    noun, _, verb = action.partition(".")
    words = _DONE_BY_POLICY if by_policy else _DONE
    what = words.get(action, f"did to the {noun}: {verb.replace('_', ' ')}")
    if tag and action == "flag.kill":
        what = what.replace("the flag", f"every flag with the tag {tag}")
    if by_policy:
        return f"The policy {what}{_because(reason)}"
    return f"{actor} {what}" + (f": {reason}" if reason else ".")


def stage_title(policy: Policy, status: ReleaseStatus) -> str:
    """Return a stage in words, with its share and segments."""
    stages = policy.stages
    if status.closed:
        draft = State.DRAFT in (status.state, status.resumes_to)
        what = "Draft, open to nobody" if draft else "Closed, cooling down"
        return f"{what} (stage {status.stage} of {len(stages)} is next)"
    stage = stages[status.stage - 1]
    segments = ", ".join(stage.segments) or "everyone"
    again = f", attempt {status.attempt}" if status.attempt > 1 else ""
    opened = format_number(policy.opened(status.stage))
    return f"Stage {status.stage} of {len(stages)}, {stage.name}: {opened} % of {segments}{again}"


def stage_summary_text(
    evaluations: int, span_ms: int | None, control: Counts, treatment: Counts
) -> str:
    """Return the counts of a stage in a sentence; ``span_ms`` is None while it lasts."""
    if not evaluations:
        return "The ledger has no evaluation of this stage."
    span = f" in {duration(span_ms)}" if span_ms is not None else ""
    times = "evaluation" if evaluations == 1 else "evaluations"
    return (
        f"{evaluations} {times}{span}. Control: {arm_counts(control)}. "
        f"Treatment: {arm_counts(treatment)}."
    )


def client_summary_text(policy: Policy, control: Counts, treatment: Counts) -> str:
    """Return what clients reported in a stage, and whether it decides; empty: nothing."""
    if not control.outcomes and not treatment.outcomes:
        return ""
    decides = "and it decides" if policy.clients_decide else "which decides nothing"
    return (
        f" These are the counts of servers. Clients reported, {decides}: control "
        f"{arm_counts(control)}; treatment {arm_counts(treatment)}."
    )


def client_warning_text(labels: Sequence[str], reason: str) -> str:
    """Return a sentence about checks that fail by the reports of clients alone."""
    return f"Client reports say that {' and '.join(labels)} failed: {reason}"


def arm_counts(counts: Counts) -> str:
    """Return the counts of an arm in words."""
    if not counts.outcomes:
        return "no operations"
    rate = format_number(round(100 * counts.errors / counts.outcomes, 3))
    operations = "operation" if counts.outcomes == 1 else "operations"
    errors = "error" if counts.errors == 1 else "errors"
    users = "user" if counts.failing == 1 else "users"
    return (
        f"{counts.outcomes} {operations}, {counts.errors} {errors} ({rate} %), "
        f"{counts.failing} {users} failed for the first time"
    )


def repeated_holds_text(times: int, until_ms: int) -> str:
    """Return a sentence that summarizes repeated holds."""
    return f"It was held and continued {times} more times until {instant(until_ms)}."


def headline_text(release: Release, environment: str, ladder: Sequence[Rung], now_ms: int) -> str:
    """Return what was released, and the result, or what decides now."""
    change = f"{release.flag} in {environment}, {release.control} to {release.treatment}"
    stage = f"stage {release.stage} of {len(release.policy.stages)}"
    span = duration((release.ended_ms or now_ms) - release.started_ms)
    if release.state is State.COMPLETED:
        return f"{change}: completed after {span}."
    if release.state is State.ROLLED_BACK:
        return f"{change}: rolled back after {span}, at {stage}."
    return f"{change}: {_state(release, ladder)} at {stage}, {span} after its start."


def beginning_text(release: Release, reason: str) -> str:
    """Return when a release was started, who started it, its policy and the reason."""
    rule = f", in rule {release.rule}" if release.rule else ""
    return (
        f"Started {instant(release.started_ms)} by {release.started_by}{rule}, under policy "
        f"{release.policy.key}, revision {release.policy_revision}"
        + (f": {reason}" if reason else ".")
    )


def ending_text(
    release: Release,
    ladder: Sequence[Rung],
    control: Counts,
    treatment: Counts,
    *,
    complete: bool,
    now_ms: int,
    trips: Trips = NO_TRIPS,
    users: AffectedUsers | None = None,
    last: Decision | None = None,
) -> str:
    """Return why a release ended, or what decides now, and its total counts.

    Args:
        release: as it is now.
        ladder: what decides now what its flag serves.
        control, treatment: the counts of both arms.
        complete: whether the counts go back to the start of the release.
        now_ms: store clock.
        trips: the trips of local breakers.
        users: whom it has harmed and spared; None: not known.
        last: the last decision.
    """
    since = "In total" if complete else "As far as the ledger goes back"
    totals = f"{since}: control {arm_counts(control)}; treatment {arm_counts(treatment)}."
    if trips.count:
        totals += f" {sentence(tripped(trips))}."
    if users is not None and users.failed:
        totals += f" {users_text(users)}"
    reason = release.reason.rstrip(".")
    if release.state in LIVE_STATES:
        if not ladder:
            return f"Its flag does not exist any more. {totals}"
        rungs = [each.text for each in ladder if each.cause not in (Cause.RULE, Cause.DEFAULT)]
        return f"Now: {'. Behind it: '.join(rungs)}. {_noticed(release, last)}{totals}"
    what = "Completed" if release.state is State.COMPLETED else "Rolled back"
    return f"{what} {instant(release.ended_ms or now_ms)}: {reason}. {totals}"


def users_text(users: AffectedUsers) -> str:
    """Return how many users a release has harmed and spared, in two sentences."""
    return (
        f"Harmed: about {_range(users.harmed)}; {users.failed:,} failed with the treatment, of "
        f"whom control's rate explains about {round(users.expected):,}. "
        f"Spared: about {_range(users.spared)} who had the control."
    )


def _range(users: Range) -> str:
    """Return ``22 users (9 to 32)``."""
    number = round(users.estimate)
    return (
        f"{number:,} {'user' if number == 1 else 'users'} "
        f"({math.floor(users.low):,} to {math.ceil(users.high):,})"
    )


def _noticed(release: Release, last: Decision | None) -> str:
    """Return what would have been noticed by now, as a sentence; empty if it is not known."""
    # Version 1 of the statistics does not compute it.
    if last is None or release.statistics == 1 or not release.policy.compares_errors:
        return ""
    wobbles = wobble(last.wobble)
    return f"By now, {noticeable(last.detectable_ratio)}{f'; {wobbles}' if wobbles else ''}. "


def sentence(text: str) -> str:
    """Return a text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _state(release: Release, ladder: Sequence[Rung]) -> str:
    state = str(release.state).replace("_", " ")
    if not ladder:
        return state
    first = ladder[0]
    return f"disabled ({state})" if first.cause is Cause.DISABLED else first.state


def limits(first: Entry | None) -> list[str]:
    """Return what the history leaves out, and why."""
    if first is None:
        return ["The policy job has not decided anything yet, or the ledger is gone."]
    earlier = first.decision.window - 1
    if not earlier:
        return []
    return [
        f"The ledger no longer has its first {earlier} decisions: it starts at "
        f"{instant(first.at_ms)}. Earlier events are from the audit log, and the totals leave "
        "them out."
    ]
