"""Releases and their states."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate_server.domain.policy import Policy, Stage


class State(StrEnum):
    """The state of a release. The last two are final."""

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


class Basis(StrEnum):
    """What an advance rests on."""

    EVIDENCE = "evidence"
    TIME = "time"
    PERSON = "person"


STATISTICS = 2
"""The version of the decision statistics under which a new release starts."""

LIVE_STATES = frozenset(State) - {State.COMPLETED, State.ROLLED_BACK}


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's agreement that a release may leave its stage (``at_ms``: the store's time).

    ``actor`` is the name in the audit log, ``name`` what policies call the person (the name of the
    token, the email of the person), ``answerable`` the id of the person (``Caller.answerable``);
    empty: an earlier version did not note it.
    """

    actor: str
    name: str
    at_ms: int
    comment: str = ""
    answerable: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """One change of one flag in one environment, from a control to a treatment variant.

    Attributes:
        stage: the number of the present stage, from 1.
        step: rises whenever the openings change; reports contain it.
        state: ``HOLDING`` is ``RUNNING`` or ``BAKING`` with a reason not to advance (no data,
            no retreat left). A ``DRAFT`` measures the control before the release begins. In
            ``COOLDOWN`` the release waits for its next attempt.
        reason: why it is in this state, in words.
        stopped: whether it is under a full stop: nothing automatic happens, not even a rollback.
        resumes_to: the live state before a hold, a wait for approvals, a pause or a kill.
        policy_revision: the revision of the policy that it started under.
        stage_entered_ms: when the present stage began (the store's time).
        attempt: the number of the attempt, from 1. Each has the whole false-alarm budget; in
            version 1 of the statistics each used its own part.
        closed: whether everyone gets the control, whatever the stage: in a draft or a cooldown.
        retries: how many of the policy's retries have begun.
        cooldown_until_ms: when the next attempt may begin.
        asked_ms: when approvals of this stage were requested; None: they were not.
        approvals: the approvals of this stage.
        state_since_ms: when ``state`` or ``stopped`` last changed; None: an earlier version
            did not note it.
        state_by: who changed it; empty: not known.
        state_reason: why, in words; ``reason`` may be of a later change within the state.
        statistics: the version of the decision statistics that it started under, and ends under.
        stage_basis: what the advance to the present stage rested on; None: no advance led to it
            (the first stage, going back, a retry), or an earlier version did not note it.
        starter: the id of the person who started it (``Caller.answerable``); empty: an earlier
            version did not note it.
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
    state_since_ms: int | None = None
    state_by: str = ""
    state_reason: str = ""
    statistics: int = 1
    stage_basis: Basis | None = None
    starter: str = ""

    @property
    def current_stage(self) -> Stage:
        """The stage it is in."""
        return self.policy.stages[self.stage - 1]

    @property
    def is_in_last_stage(self) -> bool:
        """Whether no stage follows the one it is in."""
        return self.stage == len(self.policy.stages)

    @property
    def moved_since_its_state(self) -> bool:
        """Whether it entered a stage within its state: a paused release that went back."""
        return self.state_since_ms is not None and self.stage_entered_ms > self.state_since_ms

    @property
    def open_percentage(self) -> float:
        """The percentage that is open to the users of its stage now, 0 to 100."""
        if self.state is State.COMPLETED:
            return 100.0
        if self.closed or self.state in (State.ROLLED_BACK, State.KILLED):
            return 0.0
        return self.policy.opened(self.stage)
