"""Leaving a stage: time, samples and evidence first, then approvals, then confirmations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate_server.decisions import reasons
from tidegate_server.decisions.check_status import CheckStatus
from tidegate_server.decisions.client_reports import ClientStatus
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.calendar import closed_because
from tidegate_server.domain.release import Release, State
from tidegate_server.domain.release_gates import OnTimeout
from tidegate_server.domain.release_state_machine import is_approved

NOTHING_NEW = "no new outcomes since the last evaluation"

APPROVED = "approved; waits for new outcomes"

HOLD_ENDED = "the reason to hold has ended"

MIN_WINDOWS = 2
"""Windows that a stage must have had before the release may leave it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done and why, the state that follows, and the webhooks to ask for confirmation."""

    action: Action
    reason: str
    state: State
    asks: tuple[str, ...] = ()


def no_change(release: Release, reason: str) -> Verdict:
    """Return the verdict that changes nothing."""
    return Verdict(Action.HOLD, reason, release.state)


def hold(reason: str) -> Verdict:
    """Return the verdict that holds the release until the reason ends."""
    return Verdict(Action.HOLD, reason, State.HOLDING)


def roll_back(release: Release, reason: str) -> Verdict:
    """Return the verdict that closes the release, for a cooldown if a retry is left."""
    rollback = release.policy.rollback
    if release.retries >= rollback.max_retries:
        if rollback.max_retries:
            reason = f"{reason}; no retries left ({release.retries} of {rollback.max_retries} used)"
        return Verdict(Action.ROLLBACK, reason, State.ROLLED_BACK)
    state = State.PAUSED if release.state is State.PAUSED else State.COOLDOWN
    return Verdict(
        Action.COOL_DOWN,
        f"{reason}; retry {release.retries + 1} of {rollback.max_retries} after "
        f"{reasons.duration(rollback.cooldown_ms)}",
        state,
    )


@dataclass(frozen=True, slots=True)
class StageExit:
    """A release at the end of an evaluation that nothing has stopped.

    Attributes:
        release: as it is now.
        progress: its statistics, this window included.
        window: the window that was closed.
        checks: the status of every check.
        clients: what the reports of clients say; None: no client has reported.
        now_ms: store clock.
    """

    release: Release
    progress: Progress
    window: Window
    checks: Sequence[CheckStatus]
    clients: ClientStatus | None
    now_ms: int

    def verdict(self) -> Verdict:
        """Return the verdict that leaves the stage, or says what it still needs."""
        release = self.release
        missing = self._missing()
        if missing == [NOTHING_NEW]:
            # People take longer than a window: do not ask again in a window without data.
            if release.state is State.AWAITING_APPROVAL:
                reason = APPROVED if is_approved(release) else release.reason
                return Verdict(Action.ASK, reason, State.AWAITING_APPROVAL)
            if release.state is State.HOLDING and self._waits_for_people_only([], None):
                return no_change(release, release.reason)
        if missing and self._is_overdue():
            return hold(f"{self._overdue_reason()}; {'; '.join(missing)}")
        closed = self._closed_window()
        if release.state is State.HOLDING and not self._waits_for_people_only(missing, closed):
            before = release.resumes_to or State.RUNNING
            return Verdict(Action.HOLD, HOLD_ENDED, before)
        if missing or closed:
            return self._wait(missing, closed)
        return self._await_approval() or self._await_confirmation() or self._leave()

    @property
    def _is_last_stage(self) -> bool:
        return self.release.stage == len(self.release.policy.stages)

    @property
    def _elapsed_ms(self) -> int:
        return self.now_ms - self.release.stage_entered_ms

    def _missing(self) -> list[str]:
        """Return what time, samples and the checks still need."""
        policy = self.release.policy
        stage = self.release.current_stage
        needed_ms = policy.bake_ms if self._is_last_stage else stage.min_duration_ms
        compared = self.window.has_control
        missing = [
            f"warning: {reasons.failed_check(check, self.progress)}"
            for check in self.checks
            if check.failed
        ]
        if self._elapsed_ms < needed_ms:
            missing.append(reasons.missing_time(self._elapsed_ms, needed_ms))
        missing += _missing_samples(self.progress, stage.min_samples, compared=compared)
        if self.progress.stage_data_windows < MIN_WINDOWS:
            missing.append(f"{self.progress.stage_data_windows} of {MIN_WINDOWS} windows with data")
        for check in self.checks:
            missing += reasons.missing_from_check(check, self.progress, compared=compared)
        if self.clients is not None:
            missing += [
                reasons.suspicious_clients(check, self.clients.progress)
                for check in self.clients.holding_checks
                if check.suspicious
            ]
        if reasons.window_outcomes(self.window) == 0:
            missing.append(NOTHING_NEW)
        return missing

    def _is_overdue(self) -> bool:
        longest = self.release.current_stage.max_duration_ms
        return longest is not None and self._elapsed_ms >= longest

    def _overdue_reason(self) -> str:
        act = "complete" if self._is_last_stage else "advance"
        return (
            f"undecided after {reasons.duration(self._elapsed_ms)} in this stage: a person must "
            f"{act} the release or roll it back"
        )

    def _closed_window(self) -> str | None:
        """Return why no percentage may be raised now; completing raises one after a holdback."""
        policy = self.release.policy
        if self._is_last_stage and not policy.holdback:
            return None
        return closed_because(policy.windows, self.now_ms)

    def _waits_for_people_only(self, missing: list[str], closed: str | None) -> bool:
        """Return whether only approvals or confirmations are still needed."""
        if missing or closed:
            return False
        asked = self.release.asked_ms is not None and not is_approved(self.release)
        return asked or bool(self.release.policy.confirm)

    def _wait(self, missing: list[str], closed: str | None) -> Verdict:
        prefix = "baking: " if self._is_last_stage else "waiting: "
        reason = closed or prefix + "; ".join(missing)
        if self.release.state is State.AWAITING_APPROVAL:
            return Verdict(Action.HOLD, reason, self.release.resumes_to or State.RUNNING)
        return no_change(self.release, reason)

    def _await_approval(self) -> Verdict | None:
        release = self.release
        gate = release.current_stage.approval
        if gate is None or is_approved(release):
            return None
        approvals = "approval" if gate.count == 1 else "approvals"
        needed = f"needs {gate.count} {approvals}"
        asked_ms = release.asked_ms
        if asked_ms is not None and gate.timeout_ms is not None:
            waited_ms = self.now_ms - asked_ms
            if waited_ms >= gate.timeout_ms:
                given = f"with {len(release.approvals)}"
                reason = f"{needed}: timed out after {reasons.duration(waited_ms)} {given}"
                if gate.on_timeout is OnTimeout.ROLLBACK:
                    return roll_back(release, reason)
                return hold(reason)
        if release.state is State.HOLDING:
            return no_change(release, release.reason)
        approvers = f" (approvers: {', '.join(gate.approvers)})" if gate.approvers else ""
        return Verdict(
            Action.ASK,
            f"everything else has passed; {needed}{approvers}",
            State.AWAITING_APPROVAL,
        )

    def _await_confirmation(self) -> Verdict | None:
        webhooks = tuple(each.webhook for each in self.release.policy.confirm)
        if not webhooks:
            return None
        answers = {answer.webhook: answer for answer in self.window.answers}
        if any(webhook not in answers for webhook in webhooks):
            reason = f"asks {', '.join(webhooks)} to confirm"
            return Verdict(Action.HOLD, reason, self.release.state, asks=webhooks)
        refusals = [answers[webhook] for webhook in webhooks if not answers[webhook].confirmed]
        if not refusals:
            return None
        refused = "; ".join(
            f"{each.webhook}: {each.reason or 'no reason given'}" for each in refusals
        )
        return hold(f"not confirmed by {refused}")

    def _leave(self) -> Verdict:
        release, progress = self.release, self.progress
        reason = (
            reasons.all_checks_pass(progress, self.checks)
            if self.window.has_control
            else reasons.uncompared(progress)
        )
        if release.approvals:
            approvers = ", ".join(approval.actor for approval in release.approvals)
            reason = f"{reason}; approved by {approvers}"
        if self._is_last_stage:
            percentage = reasons.format_number(release.policy.opened(release.stage))
            baked = f"{reasons.duration(self._elapsed_ms)} at {percentage} %"
            return Verdict(Action.COMPLETE, f"after {baked}: {reason}", State.COMPLETED)
        next_is_last = release.stage + 1 == len(release.policy.stages)
        return Verdict(Action.ADVANCE, reason, State.BAKING if next_is_last else State.RUNNING)


def _missing_samples(progress: Progress, needed: int, *, compared: bool) -> list[str]:
    if not compared:
        outcomes = progress.stage_treatment.outcomes
        if outcomes >= needed:
            return []
        return [reasons.missing_samples("treatment", outcomes, needed)]
    arms = (
        ("treatment", progress.compared_treatment.outcomes),
        ("control", progress.compared_control.outcomes),
    )
    return [
        reasons.missing_samples(arm, outcomes, needed)
        for arm, outcomes in arms
        if outcomes < needed
    ]
