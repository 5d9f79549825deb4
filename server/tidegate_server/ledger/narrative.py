"""The sentences of a release's story."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tidegate.counts import Counts

from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.reasons import duration, from_log, number, tripped
from tidegate_server.domain.evidence import NO_TRIPS, Trips
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.ledger.entry import Entry, Standing

_DECIDED = {
    Action.ADVANCE: "advances to stage {stage}",
    Action.PAUSE: "pauses the release",
    Action.ROLLBACK: "rolls back: everyone gets the control",
    Action.RETREAT: "goes back to stage {stage}",
    Action.ASK: "asks for approval",
    Action.COOL_DOWN: "closes the release for a while",
    Action.RETRY: "tries again at stage {stage}",
    Action.COMPLETE: "completes: everyone gets the treatment",
}

_ON_EVIDENCE = frozenset(_DECIDED) - {Action.RETRY}

_DONE = {
    "release.begin": "began the release",
    "release.pause": "paused it",
    "release.resume": "resumed it",
    "release.advance": "advanced it by hand",
    "release.retry": "let it try again at once",
    "release.approve": "approved",
    "release.rollback": "rolled it back",
    "release.complete": "completed it by hand",
    "flag.kill": "killed the flag: everyone gets its kill variant",
    "flag.restore": "restored the flag",
}

_DONE_BY_POLICY = {
    "release.advance": "advanced to the next stage",
    "release.hold": "held the release",
    "release.go_on": "let it go on",
    "release.pause": "paused the release",
    "release.ask": "asked for approval",
    "release.retreat": "went back a stage",
    "release.cool_down": "closed the release for a while",
    "release.retry": "tried again",
}


def instant(at_ms: int) -> str:
    """``2026-01-31 09:00:00 UTC``."""
    return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


def word_of(decision: Decision, after: Standing) -> str:
    """What a decision did, in a word or two."""
    if decision.action is not Action.HOLD:
        return str(decision.action).replace("_", " ")
    return "hold" if after.state is State.HOLDING else "go on"


def decided(entry: Entry) -> str:
    """A decision that changed something."""
    decision = entry.decision
    if decision.action is not Action.HOLD:
        what = _DECIDED[decision.action].format(stage=entry.after.stage)
        return f"The policy {what}: {decision.reason}{_evidence(decision)}"
    if entry.after.state is State.HOLDING:
        return f"The policy holds the release: {decision.reason}"
    return f"The policy lets it go on: {decision.reason}"


def _evidence(decision: Decision) -> str:
    """The evidence at the moment of a decision, where its reason does not name it."""
    compared = any(check.rollback_at is not None for check in decision.checks)
    if not compared or decision.action not in _ON_EVIDENCE or "evidence" in decision.reason:
        return ""
    return (
        f" (evidence against it {from_log(decision.log_evidence)} of "
        f"{number(decision.rollback_at)}, to go on {from_log(decision.log_advance)} of "
        f"{number(decision.advance_at)})"
    )


def done(actor: str, action: str, reason: str, *, by_policy: bool = False) -> str:
    """What someone did, or the policy before the ledger begins."""
    noun, _, verb = action.partition(".")
    words = _DONE_BY_POLICY if by_policy else _DONE
    what = words.get(action, f"did to the {noun}: {verb.replace('_', ' ')}")
    return f"{'The policy' if by_policy else actor} {what}" + (f": {reason}" if reason else ".")


def title(policy: Policy, at: Standing) -> str:
    """A stage in words, with whom it opens."""
    stages = policy.stages
    if at.closed:
        what = "Draft, nobody is open" if at.state is State.DRAFT else "Closed, cooling down"
        return f"{what} (stage {at.stage} of {len(stages)} is next)"
    stage = stages[at.stage - 1]
    whom = ", ".join(stage.segments) or "everyone"
    again = f", attempt {at.attempt}" if at.attempt > 1 else ""
    opened = number(policy.opened(at.stage))
    return f"Stage {at.stage} of {len(stages)}, {stage.name}: {opened} % of {whom}{again}"


def summary(evaluations: int, span_ms: int | None, control: Counts, treatment: Counts) -> str:
    """What was counted in a stage; ``span_ms`` is None while it goes on."""
    if not evaluations:
        return "The ledger has no evaluation of it."
    span = f" in {duration(span_ms)}" if span_ms is not None else ""
    times = "evaluation" if evaluations == 1 else "evaluations"
    return (
        f"{evaluations} {times}{span}. Control: {counted(control)}. "
        f"Treatment: {counted(treatment)}."
    )


def counted(counts: Counts) -> str:
    """The counts of an arm."""
    if not counts.outcomes:
        return "no operations"
    rate = number(round(100 * counts.errors / counts.outcomes, 3))
    operations = "operation" if counts.outcomes == 1 else "operations"
    errors = "error" if counts.errors == 1 else "errors"
    users = "user" if counts.failing == 1 else "users"
    return (
        f"{counts.outcomes} {operations}, {counts.errors} {errors} ({rate} %), "
        f"{counts.failing} {users} failed for the first time"
    )


def held_again(times: int, until_ms: int) -> str:
    """Holds of which one is like the other."""
    return f"It was held and let go on {times} more times until {instant(until_ms)}."


def headline(release: Release, environment: str, now_ms: int) -> str:
    """What the release was and what became of it."""
    change = f"{release.flag} in {environment}, {release.control} to {release.treatment}"
    stage = f"stage {release.stage} of {len(release.policy.stages)}"
    span = duration((release.ended_ms or now_ms) - release.started_ms)
    if release.state is State.COMPLETED:
        return f"{change}: completed after {span}."
    if release.state is State.ROLLED_BACK:
        return f"{change}: rolled back after {span}, at {stage}."
    return f"{change}: {_state(release)} at {stage}, {span} after its start."


def beginning(release: Release, said: str) -> str:
    """When it was started, by whom, under which policy."""
    rule = f", in rule {release.rule}" if release.rule else ""
    return (
        f"Started {instant(release.started_ms)} by {release.started_by}{rule}, under policy "
        f"{release.policy.key}, revision {release.policy_revision}" + (f": {said}" if said else ".")
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
    """Why it ended, or where it stands, and what was counted altogether."""
    since = "Altogether" if complete else "As far as the ledger goes back"
    sums = f"{since}: control {counted(control)}; treatment {counted(treatment)}."
    if trips.count:
        sums += f" {tripped(trips)}."
    reason = release.reason.rstrip(".")
    if release.state in LIVE_STATES:
        because = f": {reason}." if reason else "."
        return f"It is {_state(release)} since {instant(release.updated_ms)}{because} {sums}"
    what = "Completed" if release.state is State.COMPLETED else "Rolled back"
    return f"{what} {instant(release.ended_ms or now_ms)}: {reason}. {sums}"


def _state(release: Release) -> str:
    stopped = " (full stop)" if release.stopped else ""
    return str(release.state).replace("_", " ") + stopped


def cleanup(
    release: Release, environment: str, served: Sequence[tuple[str, str]], releases: Sequence[str]
) -> list[str]:
    """What is left to do, in the code and elsewhere.

    Args:
        release: as it stands.
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
    under_way = [f"{place} has a release under way" for place in releases]
    if others or under_way:
        lines.append(
            f"The code still needs both variants: {'; '.join([*others, *under_way])}. "
            "Bring them in line first."
        )
    if release.state is State.COMPLETED:
        lines.append(
            f"In the code: keep what {won} does, remove what {lost} did together with the call "
            f"that asks for {release.flag}, and then delete the flag."
        )
    else:
        lines.append(
            f"In the code: mend what {lost} does and start another release, or remove it "
            f"together with the call that asks for {release.flag}, and then delete the flag."
        )
    return lines


def limits(first: Entry | None) -> list[str]:
    """What cannot be told, and why."""
    if first is None:
        return ["The policy job has decided nothing yet, or its ledger is gone."]
    earlier = first.decision.window - 1
    if not earlier:
        return []
    return [
        f"The ledger does not have its first {earlier} decisions any more: it begins "
        f"{instant(first.at_ms)}. What is told of the time before is from the audit log, and "
        "sums leave it out."
    ]
