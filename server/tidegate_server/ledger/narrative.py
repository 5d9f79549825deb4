"""The sentences of a release's history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tidegate.counts import Counts

from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.reasons import duration, format_log, format_number, tripped
from tidegate_server.domain.evidence import NO_TRIPS, Trips
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.ledger.entry import Entry, ReleaseStatus

_DECIDED = {
    Action.ADVANCE: "advances to stage {stage}",
    Action.PAUSE: "pauses the release",
    Action.ROLLBACK: "rolls back: everyone gets the control",
    Action.RETREAT: "goes back to stage {stage}",
    Action.ASK: "asks for approval",
    Action.COOL_DOWN: "closes the release for a cooldown",
    Action.RETRY: "tries again at stage {stage}",
    Action.COMPLETE: "completes: everyone gets the treatment",
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
    return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


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
        return f"The policy {what}: {decision.reason}{_evidence(decision)}"
    if entry.after.state is State.HOLDING:
        return f"The policy holds the release: {decision.reason}"
    return f"The policy ends the hold: {decision.reason}"


def _evidence(decision: Decision) -> str:
    """Return the evidence at a decision whose reason does not mention it."""
    compared = any(check.rollback_at is not None for check in decision.checks)
    if not compared or decision.action not in _SHOWS_EVIDENCE or "evidence" in decision.reason:
        return ""
    return (
        f"; evidence of harm {format_log(decision.log_evidence)} (rolls back at "
        f"{format_number(decision.rollback_at)}), evidence of safety "
        f"{format_log(decision.log_advance)} (advances at {format_number(decision.advance_at)})"
    )


def action_text(actor: str, action: str, reason: str, *, by_policy: bool = False) -> str:
    """Return a sentence about an action in the audit log."""
    noun, _, verb = action.partition(".")
    words = _DONE_BY_POLICY if by_policy else _DONE
    what = words.get(action, f"did to the {noun}: {verb.replace('_', ' ')}")
    return f"{'The policy' if by_policy else actor} {what}" + (f": {reason}" if reason else ".")


def title(policy: Policy, status: ReleaseStatus) -> str:
    """Return a stage in words, with its share and segments."""
    stages = policy.stages
    if status.closed:
        what = "Draft, open to nobody" if status.state is State.DRAFT else "Closed, cooling down"
        return f"{what} (stage {status.stage} of {len(stages)} is next)"
    stage = stages[status.stage - 1]
    segments = ", ".join(stage.segments) or "everyone"
    again = f", attempt {status.attempt}" if status.attempt > 1 else ""
    opened = format_number(policy.opened(status.stage))
    return f"Stage {status.stage} of {len(stages)}, {stage.name}: {opened} % of {segments}{again}"


def summary(evaluations: int, span_ms: int | None, control: Counts, treatment: Counts) -> str:
    """Return the counts of a stage in a sentence; ``span_ms`` is None while it lasts."""
    if not evaluations:
        return "The ledger has no evaluation of this stage."
    span = f" in {duration(span_ms)}" if span_ms is not None else ""
    times = "evaluation" if evaluations == 1 else "evaluations"
    return (
        f"{evaluations} {times}{span}. Control: {arm_counts(control)}. "
        f"Treatment: {arm_counts(treatment)}."
    )


def client_summary(policy: Policy, control: Counts, treatment: Counts) -> str:
    """Return what clients reported in a stage, and whether it decides; empty: nothing."""
    if not control.outcomes and not treatment.outcomes:
        return ""
    decides = "and it decides" if policy.clients_decide else "which decides nothing"
    return (
        f" These are the counts of servers. Clients reported, {decides}: control "
        f"{arm_counts(control)}; treatment {arm_counts(treatment)}."
    )


def client_warning(labels: Sequence[str], reason: str) -> str:
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


def repeated_holds(times: int, until_ms: int) -> str:
    """Return a sentence that summarizes repeated holds."""
    return f"It was held and continued {times} more times until {instant(until_ms)}."


def headline(release: Release, environment: str, now_ms: int) -> str:
    """Return what was released, and the result."""
    change = f"{release.flag} in {environment}, {release.control} to {release.treatment}"
    stage = f"stage {release.stage} of {len(release.policy.stages)}"
    span = duration((release.ended_ms or now_ms) - release.started_ms)
    if release.state is State.COMPLETED:
        return f"{change}: completed after {span}."
    if release.state is State.ROLLED_BACK:
        return f"{change}: rolled back after {span}, at {stage}."
    return f"{change}: {_state(release)} at {stage}, {span} after its start."


def beginning(release: Release, reason: str) -> str:
    """Return when a release was started, who started it, its policy and the reason."""
    rule = f", in rule {release.rule}" if release.rule else ""
    return (
        f"Started {instant(release.started_ms)} by {release.started_by}{rule}, under policy "
        f"{release.policy.key}, revision {release.policy_revision}"
        + (f": {reason}" if reason else ".")
    )


def ending(
    release: Release,
    control: Counts,
    treatment: Counts,
    *,
    complete: bool,
    now_ms: int,
    trips: Trips = NO_TRIPS,
) -> str:
    """Return why a release ended, or its present state, and its total counts.

    ``complete``: whether the counts go back to the start of the release.
    """
    since = "In total" if complete else "As far as the ledger goes back"
    totals = f"{since}: control {arm_counts(control)}; treatment {arm_counts(treatment)}."
    if trips.count:
        totals += f" {sentence(tripped(trips))}."
    reason = release.reason.rstrip(".")
    if release.state in LIVE_STATES:
        because = f": {reason}." if reason else "."
        return f"It is {_state(release)} since {instant(release.updated_ms)}{because} {totals}"
    what = "Completed" if release.state is State.COMPLETED else "Rolled back"
    return f"{what} {instant(release.ended_ms or now_ms)}: {reason}. {totals}"


def sentence(text: str) -> str:
    """Return a text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _state(release: Release) -> str:
    stopped = " (full stop)" if release.stopped else ""
    return str(release.state).replace("_", " ") + stopped


def cleanup(
    release: Release, environment: str, served: Sequence[tuple[str, str]], releases: Sequence[str]
) -> list[str]:
    """Return what is left to do, in the code and elsewhere.

    Args:
        release: as it is now.
        environment: where it runs.
        served: environments and variants that the flag can serve at present.
        releases: environments in which the flag has an active release.
    """
    if release.state in LIVE_STATES:
        return []
    won = release.treatment if release.state is State.COMPLETED else release.control
    lost = release.control if release.state is State.COMPLETED else release.treatment
    where = f"rule {release.rule} of {release.flag}" if release.rule else release.flag
    lines = [f"In {environment} {where} serves {won} now."]
    others = [f"{place} can serve {variant}" for place, variant in served if variant != won]
    running = [f"{place} has an active release" for place in releases]
    if others or running:
        lines.append(
            f"The code still needs both variants: {'; '.join([*others, *running])}. "
            "Change these first."
        )
    if release.state is State.COMPLETED:
        lines.append(
            f"In the code: keep what {won} does, remove what {lost} did together with the call "
            f"that evaluates {release.flag}, and then delete the flag."
        )
    else:
        lines.append(
            f"In the code: fix what {lost} does and start another release, or remove it "
            f"together with the call that evaluates {release.flag}, and then delete the flag."
        )
    return lines


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
