"""What a release is, and the states it goes through."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate_server.domain.policy import Policy, Stage


class State(StrEnum):
    """Where a release stands. The last two are final for it."""

    DRAFT = "draft"
    RUNNING = "running"
    BAKING = "baking"
    HOLDING = "holding"
    AWAITING_APPROVAL = "awaiting_approval"
    COOLDOWN = "cooldown"
    PAUSED = "paused"
    KILLED = "killed"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"


LIVE_STATES = frozenset(State) - {State.COMPLETED, State.ROLLED_BACK}


@dataclass(frozen=True, slots=True)
class Approval:
    """Who agreed that the release leaves its stage, and when (store clock).

    ``actor`` is the name and id that the audit log has, ``name`` the token's name alone.
    """

    actor: str
    name: str
    at_ms: int
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """One change of one flag in one environment, from a control to a treatment variant.

    Attributes:
        stage: the present stage's number, from 1.
        step: rises whenever the openings change; reports name it.
        state: where it stands; ``HOLDING`` is ``RUNNING``/``BAKING`` that has a reason not
            to go on by itself (no data, out of retreats). A ``DRAFT`` measures how things
            are before it begins; in ``COOLDOWN`` it waits for its next attempt.
        reason: why it is in this state, in words.
        stopped: a person paused everything, rollback included (full stop).
        resumes_to: the live state it left when it was held, asked, paused or killed.
        policy_revision: the revision of the policy it started under.
        stage_entered_ms: when the present stage began (store clock).
        attempt: which attempt this is, from 1; each spends its own part of the false-alarm
            budget.
        closed: everyone gets the control, whatever the stage: a draft, or a cooldown.
        retries: how many of the policy's retries have begun.
        cooldown_until_ms: when the next attempt may begin.
        asked_ms: when approvals were asked for in this stage; None: they were not.
        approvals: those given in this stage.
    """

    id: str
    flag: str
    rule: str | None
    control: str
    treatment: str
    salt: str
    policy: Policy
    policy_revision: int
    state: State
    stage: int
    step: int
    reason: str
    started_by: str
    started_ms: int
    stage_entered_ms: int
    updated_ms: int
    stopped: bool = False
    resumes_to: State | None = None
    attempt: int = 1
    ended_ms: int | None = None
    closed: bool = False
    retries: int = 0
    cooldown_until_ms: int | None = None
    asked_ms: int | None = None
    approvals: tuple[Approval, ...] = ()

    @property
    def current_stage(self) -> Stage:
        """The stage it is in."""
        return self.policy.stages[self.stage - 1]

    @property
    def open_percentage(self) -> float:
        """The percentage that is open to the users of its stage now, 0 to 100."""
        if self.state is State.COMPLETED:
            return 100.0
        if self.closed or self.state in (State.ROLLED_BACK, State.KILLED):
            return 0.0
        return self.policy.opened(self.stage)
