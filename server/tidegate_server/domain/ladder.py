"""What decides now what a flag serves: the one answer that every view gives.

The ladder has everything that applies at present, the strongest first: a kill, a disabled
flag, a person's stop, the policy of an active release, a rule, the default rule. The first
rung decides; the others say what would decide if it ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate.model import Serve

from tidegate_server.domain.calendar import closed_now, utc_text
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.release import LIVE_STATES, Release, State

POLICY = "policy"
"""The actor of the policy job."""


class Cause(StrEnum):
    """A kind of rung, the strongest first."""

    KILL = "kill"
    DISABLED = "disabled"
    STOP = "stop"
    POLICY = "policy"
    RULE = "rule"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class LastDecision:
    """The last decision of the policy job on a release: why, when and at which step."""

    reason: str
    at_ms: int
    step: int


@dataclass(frozen=True, slots=True)
class Rung:
    """One thing that applies to a flag at present.

    Attributes:
        cause: what it is.
        state: its state in a word or two, for example ``killed`` or ``frozen``.
        serves: what the flag serves while this rung is the first.
        reason: why, in words; empty: nobody said.
        actor: who did it: a person, an alert, or ``policy``; empty: nobody, or not known.
        since_ms: since when; None: not known.
        release: the id of the release that it is about.
    """

    cause: Cause
    state: str
    serves: str
    reason: str = ""
    actor: str = ""
    since_ms: int | None = None
    release: str | None = None

    @property
    def text(self) -> str:
        """The rung in words: what, who, since when and why."""
        by = f" by {self.actor}" if self.actor not in ("", POLICY) else ""
        if self.actor == POLICY and self.state in ("holding", "paused"):
            by = " by the policy"
        since = "" if self.since_ms is None else f" since {utc_text(self.since_ms)}"
        why = f": {self.reason.rstrip('.')}" if self.reason else ""
        return f"{self.state}{by}{since}{why}"


def ladder(
    targeting: Targeting, release: Release | None, decision: LastDecision | None, now_ms: int
) -> tuple[Rung, ...]:
    """Return everything that applies to a flag in an environment now, the strongest first.

    Args:
        targeting: the flag in the environment.
        release: its active release; None, or one that has ended: there is none.
        decision: the last decision of the policy job on the release.
        now_ms: the store's time.
    """
    rungs = []
    if targeting.kill is not None:
        kill = targeting.kill
        variant = targeting.kill_variant or targeting.off_variant
        state = f"killed with the tag {kill.tag}" if kill.tag else "killed"
        rungs.append(Rung(Cause.KILL, state, variant, kill.reason, kill.actor, kill.at_ms))
    if not targeting.enabled:
        rungs.append(_disabled_rung(targeting))
    if release is not None and release.state in LIVE_STATES:
        rungs += _release_rungs(release, decision, now_ms)
    count = len(targeting.rules)
    default = serve_text(targeting.default)
    if count:
        rules = "1 rule" if count == 1 else f"{count} rules"
        rungs.append(Rung(Cause.RULE, rules, f"{default}, after {rules}"))
    rungs.append(Rung(Cause.DEFAULT, "default rule", default))
    return tuple(rungs)


def serve_text(serve: Serve) -> str:
    """Return what is served: ``on``, or ``on 25 %, off 75 %``."""
    if serve.variant is not None:
        return serve.variant
    return ", ".join(f"{each.variant} {each.weight:g} %" for each in serve.split or ())


def open_percentage(targeting: Targeting, release: Release) -> float | None:
    """Return the percentage of its stage's users who get the treatment from a release now.

    0 while the flag is killed or disabled; None: the release has ended and decides nothing.
    """
    if release.state not in LIVE_STATES:
        return None
    if targeting.kill is not None or not targeting.enabled:
        return 0.0
    return release.open_percentage


def _disabled_rung(targeting: Targeting) -> Rung:
    disabled = targeting.disabled
    variant = targeting.off_variant
    if disabled is None:
        return Rung(Cause.DISABLED, "disabled", variant)
    return Rung(
        Cause.DISABLED, "disabled", variant, disabled.reason, disabled.actor, disabled.at_ms
    )


def _release_rungs(release: Release, decision: LastDecision | None, now_ms: int) -> list[Rung]:
    serves = _served_by_release(release)
    rungs = []
    paused = release.state is State.PAUSED
    if release.stopped or (paused and release.state_by != POLICY):
        state = "full stop" if release.stopped else "paused"
        rungs.append(
            Rung(
                Cause.STOP,
                state,
                serves,
                _reason_of_pause(release) if paused else "",
                release.state_by if paused else "",
                release.state_since_ms if paused else None,
                release.id,
            )
        )
    rungs.append(_policy_rung(release, serves, decision, now_ms))
    return rungs


def _policy_rung(release: Release, serves: str, decision: LastDecision | None, now_ms: int) -> Rung:
    """Return what the policy of a release does with it, or would do without a stop or a kill."""
    state, interrupted = release.state, False
    if state is State.KILLED or (
        state is State.PAUSED and (release.stopped or release.state_by != POLICY)
    ):
        state, interrupted = release.resumes_to or State.RUNNING, True
    since_ms = release.state_since_ms
    reason = _reason_of_pause(release) if state is State.PAUSED else release.reason
    if interrupted:
        # The release's reason and time are those of the stop.
        since_ms, reason = None, ""
    elif state is State.AWAITING_APPROVAL and release.current_stage.approval is not None:
        reason += f"; {len(release.approvals)} of {release.current_stage.approval.count} given"
    elif state in (State.RUNNING, State.BAKING):
        since_ms, reason = release.stage_entered_ms, _reason_to_wait(release, decision)
    word = str(state).replace("_", " ")
    if state in (State.RUNNING, State.BAKING, State.COOLDOWN):
        closure = closed_now(release.policy.windows, now_ms)
        raises = state is not State.BAKING or bool(release.policy.holdback)
        if closure is not None and raises:
            word, since_ms, reason = closure.word, closure.since_ms, closure.reason
    return Rung(Cause.POLICY, word, serves, reason, POLICY, since_ms, release.id)


def _reason_of_pause(release: Release) -> str:
    """Return why a release was paused; it may have gone back a stage since."""
    why = release.state_reason or release.reason
    return f"in an earlier stage: {why}" if release.moved_since_its_state else why


def _reason_to_wait(release: Release, decision: LastDecision | None) -> str:
    """Return why a running release does not advance at this moment, as far as it is known."""
    fresh = (
        decision is not None
        and decision.step == release.step
        and decision.at_ms >= release.updated_ms
    )
    if fresh and decision is not None:
        return decision.reason
    reason = release.reason.rstrip(".")
    return f"{reason}; not evaluated since" if reason else "not evaluated yet"


def _served_by_release(release: Release) -> str:
    where = f" in rule {release.rule}" if release.rule else ""
    percentage = release.policy.opened(release.stage)
    if release.closed or not percentage:
        return f"{release.control}{where}"
    users = ", ".join(release.current_stage.segments) or "everyone"
    return f"{release.treatment} to {percentage:g} % of {users}, else {release.control}{where}"
