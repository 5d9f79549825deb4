"""What others are told of a release: which events a move is, and whom its policy tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate_server.domain.change import Outgoing
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Release, State
from tidegate_server.domain.release_gates import Event

TEST = "test"
"""The event of a message that a person sends to try a webhook out."""


@dataclass(frozen=True, slots=True)
class ReleaseTold:
    """A release as others are told of it.

    ``percentage`` is what its stage opens now, 0 when everyone has the control, and
    ``state_before`` and ``percentage_before`` are what they were until this moment (None and
    0: it did not exist).
    """

    id: str
    flag: str
    rule: str | None
    control: str
    treatment: str
    policy: str
    state: State
    state_before: State | None
    stage: int
    stages: int
    stage_name: str
    percentage: float
    percentage_before: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened.

    Attributes:
        event: one of ``Event``, or ``test``.
        at_ms: when (store clock).
        actor: who did it, as the audit log names them; the policy job is ``policy``.
        reason: why, in words.
        environment: where; empty in a test.
        release: to which release; None in a test.
    """

    event: str
    at_ms: int
    actor: str
    reason: str
    environment: str = ""
    release: ReleaseTold | None = None


def events_of(before: Release | None, after: Release) -> tuple[Event, ...]:
    """The events that a move of a release is; ``before`` is None for one that just started.

    A move that neither changes the state nor the stage, such as a hold whose reason reads
    otherwise, is none.
    """
    if before is None:
        return () if after.state is State.DRAFT else (Event.STARTED,)
    if len(after.approvals) > len(before.approvals):
        return (Event.APPROVED,)
    event = _of_end(before, after) or _of_kill(before, after) or _of_stage(before, after)
    event = event or _of_state(before, after)
    return () if event is None else (event,)


def _of_end(before: Release, after: Release) -> Event | None:
    if after.state is State.COMPLETED:
        return Event.COMPLETED
    closes = after.state is State.ROLLED_BACK or after.retries > before.retries
    return Event.ROLLED_BACK if closes else None


def _of_kill(before: Release, after: Release) -> Event | None:
    if (before.state is State.KILLED) is (after.state is State.KILLED):
        return None
    return Event.KILLED if after.state is State.KILLED else Event.RESTORED


def _of_stage(before: Release, after: Release) -> Event | None:
    opened = after.state in (State.RUNNING, State.BAKING)
    if before.state is State.DRAFT and opened:
        return Event.STARTED
    if before.state is State.COOLDOWN and opened:
        return Event.RETRIED
    if after.stage == before.stage:
        return None
    return Event.ADVANCED if after.stage > before.stage else Event.RETREATED


def _of_state(before: Release, after: Release) -> Event | None:
    if after.state is before.state and after.stopped is before.stopped:
        return None
    if after.state in _ENTERED:
        return _ENTERED[after.state]
    return Event.RESUMED if before.state is State.PAUSED else Event.WENT_ON


_ENTERED = {
    State.PAUSED: Event.PAUSED,
    State.HOLDING: Event.HELD,
    State.AWAITING_APPROVAL: Event.APPROVAL_NEEDED,
}


def told_of(policy: Policy, event: Event) -> tuple[str, ...]:
    """The webhooks that a policy tells of an event, each once."""
    named = (each.webhook for each in policy.notify if not each.events or event in each.events)
    return tuple(dict.fromkeys(named))


def outgoing_of(
    environment: str,
    before: Release | None,
    after: Release,
    *,
    actor: str,
    reason: str = "",
    events: Iterable[Event] | None = None,
) -> tuple[Outgoing, ...]:
    """What a move of a release sends to whom.

    Args:
        environment: where the release is.
        before: the release as it was; None: it just started.
        after: the release as it is now.
        actor: who moved it.
        reason: why; the release's own reason when it is empty.
        events: what happened, when it does not follow from the two.
    """
    found = events_of(before, after) if events is None else events
    return tuple(
        Outgoing(
            webhook,
            Notice(
                event=str(event),
                at_ms=after.updated_ms,
                actor=actor,
                reason=reason or _reason(event, after),
                environment=environment,
                release=release_told(before, after),
            ),
        )
        for event in found
        for webhook in told_of(after.policy, event)
    )


def _reason(event: Event, after: Release) -> str:
    gate = after.policy.stages[after.stage - 1].approval
    if event is Event.APPROVED and gate is not None:
        # The release's own reason is still the question.
        said = after.approvals[-1].comment
        return f"{len(after.approvals)} of {gate.count} approvals" + (f": {said}" if said else "")
    return after.reason


def release_told(before: Release | None, after: Release) -> ReleaseTold:
    """A release as others are told of it."""
    return ReleaseTold(
        id=after.id,
        flag=after.flag,
        rule=after.rule,
        control=after.control,
        treatment=after.treatment,
        policy=after.policy.key,
        state=after.state,
        state_before=before.state if before is not None else None,
        stage=after.stage,
        stages=len(after.policy.stages),
        stage_name=after.policy.stages[after.stage - 1].name,
        percentage=after.open_percentage,
        percentage_before=before.open_percentage if before is not None else 0.0,
        attempt=after.attempt,
    )
