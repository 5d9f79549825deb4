"""The events of a release, and the messages that webhooks receive about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate_server.domain.change import WebhookMessage
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Basis, Release, State
from tidegate_server.domain.release_gates import Event

TEST = "test"
"""The event of a message that a person sends to test a webhook."""


@dataclass(frozen=True, slots=True)
class ReleaseSummary:
    """A release as messages to webhooks describe it.

    ``percentage`` is what its stage opens now, 0 while everyone has the control.
    ``state_before`` and ``percentage_before`` are the values before the event (None and 0 for
    a release that has just started). ``stage_basis`` is what the advance to the stage rested
    on; None: no advance led to it.
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
    stage_basis: Basis | None = None


@dataclass(frozen=True, slots=True)
class ReleaseEvent:
    """One event, as queued for a webhook.

    Attributes:
        event: one of ``Event``, or ``test``.
        at_ms: when (the store's time).
        actor: who caused it, as in the audit log; the policy job is ``policy``.
        reason: why, in words.
        environment: where; empty in a test.
        release: the release; None in a test, and where a flag without one was killed or restored.
        url: the link to the incident that a person gave with a kill or a restore; may be empty.
        flag: the flag, where there is no release; empty otherwise.
    """

    event: str
    at_ms: int
    actor: str
    reason: str
    environment: str = ""
    release: ReleaseSummary | None = None
    url: str = ""
    flag: str = ""

    @property
    def about(self) -> str | None:
        """The flag; None in a test."""
        return self.release.flag if self.release is not None else self.flag or None


def events_between(before: Release | None, after: Release) -> tuple[Event, ...]:
    """Return the events of one change of a release; ``before`` is None if it just started.

    A change of neither the state nor the stage, such as a new reason for a hold, has no event.
    """
    if before is None:
        return () if after.state is State.DRAFT else (Event.STARTED,)
    if len(after.approvals) > len(before.approvals):
        return (Event.APPROVED,)
    event = (
        _end_event(before, after)
        or _kill_event(before, after)
        or _stage_event(before, after)
        or _state_event(before, after)
    )
    return () if event is None else (event,)


def _end_event(before: Release, after: Release) -> Event | None:
    if after.state is State.COMPLETED:
        return Event.COMPLETED
    rolled_back = after.state is State.ROLLED_BACK or after.retries > before.retries
    return Event.ROLLED_BACK if rolled_back else None


def _kill_event(before: Release, after: Release) -> Event | None:
    if (before.state is State.KILLED) is (after.state is State.KILLED):
        return None
    return Event.KILLED if after.state is State.KILLED else Event.RESTORED


def _stage_event(before: Release, after: Release) -> Event | None:
    opened = after.state in (State.RUNNING, State.BAKING)
    if before.state is State.DRAFT and opened:
        return Event.STARTED
    if before.state is State.COOLDOWN and opened:
        return Event.RETRIED
    if after.stage == before.stage:
        return None
    return Event.ADVANCED if after.stage > before.stage else Event.RETREATED


def _state_event(before: Release, after: Release) -> Event | None:
    if after.state is before.state and after.stopped is before.stopped:
        return None
    if after.state in _EVENT_OF_STATE:
        return _EVENT_OF_STATE[after.state]
    return Event.RESUMED if before.state is State.PAUSED else Event.WENT_ON


_EVENT_OF_STATE = {
    State.PAUSED: Event.PAUSED,
    State.HOLDING: Event.HELD,
    State.AWAITING_APPROVAL: Event.APPROVAL_NEEDED,
}


def webhooks_to_notify(policy: Policy, event: Event) -> tuple[str, ...]:
    """Return the keys of the webhooks that a policy notifies of an event, without repetition."""
    keys = (each.webhook for each in policy.notify if not each.events or event in each.events)
    return tuple(dict.fromkeys(keys))


def webhook_messages(
    environment: str,
    before: Release | None,
    after: Release,
    *,
    actor: str,
    reason: str = "",
    events: Iterable[Event] | None = None,
    url: str = "",
) -> tuple[WebhookMessage, ...]:
    """Return the messages that a change of a release sends.

    Args:
        environment: where the release is.
        before: the release before the change; None: it just started.
        after: the release after the change.
        actor: who changed it.
        reason: why; if empty, the release's own reason.
        events: the events, where they do not follow from ``before`` and ``after``.
        url: a link to an incident.
    """
    return tuple(
        WebhookMessage(
            webhook,
            ReleaseEvent(
                event=str(event),
                at_ms=after.updated_ms,
                actor=actor,
                reason=reason or _event_reason(event, after),
                environment=environment,
                release=summarize_release(before, after),
                url=url,
            ),
        )
        for event in (events_between(before, after) if events is None else events)
        for webhook in webhooks_to_notify(after.policy, event)
    )


def kill_messages(
    policies: Iterable[Policy],
    environment: str,
    flag: str,
    event: Event,
    *,
    actor: str,
    reason: str,
    now_ms: int,
    url: str = "",
) -> tuple[WebhookMessage, ...]:
    """Return the messages about a kill or a restore of a flag without a release.

    No policy is in force for it, so everyone is told whom any policy of the project tells of such
    an event.
    """
    told = [key for policy in policies for key in webhooks_to_notify(policy, event)]
    notice = ReleaseEvent(str(event), now_ms, actor, reason, environment, url=url, flag=flag)
    return tuple(WebhookMessage(webhook, notice) for webhook in dict.fromkeys(told))


def _event_reason(event: Event, after: Release) -> str:
    gate = after.current_stage.approval
    if event is Event.APPROVED and gate is not None:
        # The release's own reason is still the request for approval.
        comment = after.approvals[-1].comment
        given = f"{len(after.approvals)} of {gate.count} approvals"
        return f"{given}: {comment}" if comment else given
    return after.reason


def summarize_release(before: Release | None, after: Release) -> ReleaseSummary:
    """Describe a release for webhooks; ``before`` is None if it just started."""
    return ReleaseSummary(
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
        stage_name=after.current_stage.name,
        percentage=after.open_percentage,
        percentage_before=before.open_percentage if before is not None else 0.0,
        attempt=after.attempt,
        stage_basis=after.stage_basis,
    )
