"""Leaving a stage: time, samples and evidence first, then approvals, then confirmations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate_server.decisions import reasons
from tidegate_server.decisions.check_status import CheckStatus
from tidegate_server.decisions.client_reports import ClientStatus
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.evidence_words import duration, format_number
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.stage_needs import (
    MIN_WINDOWS,
    harm_counts,
    needed_ms,
    needs_safety,
    raises_percentage,
    stage_outcomes,
)
from tidegate_server.domain.calendar import closed_because
from tidegate_server.domain.policy import Undecided
from tidegate_server.domain.release import Basis, Release, State
from tidegate_server.domain.release_gates import OnTimeout
from tidegate_server.domain.release_state_machine import is_approved

NOTHING_NEW = "no new outcomes since the last evaluation"

APPROVED = "approved; waits for new outcomes"

ADVANCED = "advanced"
"""How the reason of an advance begins; what it rests on follows."""

HOLD_ENDED = "the reason to hold has ended"

UNDECIDED_IN_TIME = "the stage's time is over and the evidence has not decided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done and why, the state that follows, and the webhooks to ask for confirmation.

    ``basis`` as in ``Decision``.
    """

    action: Action
    reason: str
    state: State
    asks: tuple[str, ...] = ()
    basis: Basis | None = None


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
        f"{duration(rollback.cooldown_ms)}",
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
        evidence = self._missing_evidence()
        on_time = bool(evidence) and self._leaves_on_time
        missing = self._missing_conditions() + ([] if on_time else evidence)
        if missing == [NOTHING_NEW]:
            # People take longer than a window: do not ask again in a window without data.
            if release.state is State.AWAITING_APPROVAL:
                reason = APPROVED if is_approved(release) else release.reason
                return Verdict(Action.ASK, reason, State.AWAITING_APPROVAL)
            if release.state is State.HOLDING and self._waits_for_people_only([], None):
                return no_change(release, release.reason)
        if self._is_undecided(missing):
            return self._end_undecided([*missing, *evidence] if on_time else missing)
        closed = self._closed_window()
        if release.state is State.HOLDING and not self._waits_for_people_only(missing, closed):
            before = release.resumes_to or State.RUNNING
            return Verdict(Action.HOLD, HOLD_ENDED, before)
        if missing or closed:
            return self._wait(missing, closed)
        basis = Basis.TIME if on_time or not self._shows_evidence else Basis.EVIDENCE
        return (
            self._await_approval(on_time=on_time)
            or self._await_confirmation()
            or self._leave(basis, evidence)
        )

    @property
    def _is_version_1(self) -> bool:
        return self.release.statistics == 1

    @property
    def _elapsed_ms(self) -> int:
        return self.now_ms - self.release.stage_entered_ms

    @property
    def _is_overdue(self) -> bool:
        longest = self.release.current_stage.max_duration_ms
        return longest is not None and self._elapsed_ms >= longest

    @property
    def _leaves_on_time(self) -> bool:
        """Whether the stage may be left now without the evidence that it lacks."""
        return self._is_overdue and self.release.current_stage.undecided is Undecided.ADVANCE

    def _missing_conditions(self) -> list[str]:
        """Return what the stage needs in any case: time, data, and nothing that looks bad."""
        missing = [
            f"warning: {reasons.failed_check(check, self.progress)}"
            for check in self.checks
            if check.failed
        ]
        least_ms = needed_ms(self.release)
        if self._elapsed_ms < least_ms:
            missing.append(reasons.missing_time(self._elapsed_ms, least_ms))
        if self.progress.stage_data_windows < MIN_WINDOWS:
            missing.append(f"{self.progress.stage_data_windows} of {MIN_WINDOWS} windows with data")
        has_control = self.window.has_control
        for check in self.checks:
            counts = harm_counts(self.release, check.check, has_control=has_control)
            missing += reasons.looks_bad(check, self.progress, harm_counts=counts)
        if self.clients is not None:
            missing += [
                reasons.suspicious_clients(check, self.clients.progress)
                for check in self.clients.holding_checks
                if check.suspicious
            ]
        if reasons.window_outcomes(self.window) == 0:
            missing.append(NOTHING_NEW)
        return missing

    def _missing_evidence(self) -> list[str]:
        """Return what could still show that the stage is safe: samples, evidence, values."""
        compared = needs_safety(self.release, has_control=self.window.has_control)
        needed = self.release.current_stage.min_samples
        missing = [
            reasons.missing_samples(arm, outcomes, needed)
            for arm, outcomes in stage_outcomes(self.progress, needs_safety=compared).items()
            if outcomes < needed
        ]
        for check in self.checks:
            missing += reasons.missing_from_check(check, compared=compared)
        return missing

    def _is_undecided(self, missing: list[str]) -> bool:
        """Return whether the stage's time is over and something but new outcomes is missing."""
        needed = (
            missing if self._is_version_1 else [each for each in missing if each != NOTHING_NEW]
        )
        return self._is_overdue and bool(needed)

    def _end_undecided(self, missing: list[str]) -> Verdict:
        undecided = f"undecided after {duration(self._elapsed_ms)} in this stage"
        if self.release.current_stage.undecided is Undecided.ROLLBACK:
            reason = (
                f"{undecided}, so the policy rolls it back; this is no evidence of harm: "
                f"{'; '.join(missing)}"
            )
            return roll_back(self.release, reason)
        act = "complete" if self.release.is_in_last_stage else "advance"
        return hold(
            f"{undecided}: a person must {act} the release or roll it back; {'; '.join(missing)}"
        )

    def _closed_window(self) -> str | None:
        """Return why no percentage may be raised now, if leaving the stage raises one."""
        if not raises_percentage(self.release):
            return None
        closed = closed_because(self.release.policy.windows, self.now_ms)
        return closed or self.window.frozen or None

    def _waits_for_people_only(self, missing: list[str], closed: str | None) -> bool:
        """Return whether only approvals or confirmations are still needed."""
        if missing or closed:
            return False
        asked = self.release.asked_ms is not None and not is_approved(self.release)
        return asked or bool(self.release.policy.confirm)

    def _wait(self, missing: list[str], closed: str | None) -> Verdict:
        prefix = "baking: " if self.release.is_in_last_stage else "waiting: "
        reason = closed or prefix + "; ".join(missing)
        if self.release.state is State.AWAITING_APPROVAL:
            return Verdict(Action.HOLD, reason, self.release.resumes_to or State.RUNNING)
        return no_change(self.release, reason)

    def _await_approval(self, *, on_time: bool) -> Verdict | None:
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
                reason = f"{needed}: timed out after {duration(waited_ms)} {given}"
                if gate.on_timeout is OnTimeout.ROLLBACK:
                    return roll_back(release, reason)
                return hold(reason)
        if release.state is State.HOLDING:
            return no_change(release, release.reason)
        approvers = f" (approvers: {', '.join(gate.approvers)})" if gate.approvers else ""
        # The release keeps this reason, so it has no number that changes with every window.
        passed = UNDECIDED_IN_TIME if on_time else "everything else has passed"
        return Verdict(Action.ASK, f"{passed}; {needed}{approvers}", State.AWAITING_APPROVAL)

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

    def _leave(self, basis: Basis, missing: list[str]) -> Verdict:
        """Return the verdict that leaves the stage on this basis, without what is missing."""
        release, progress, checks = self.release, self.progress, self.checks
        compared = self.window.has_control
        elapsed = duration(self._elapsed_ms)
        approved = ""
        if release.approvals:
            approvers = ", ".join(approval.actor for approval in release.approvals)
            approved = f"; approved by {approvers}"
        if self.release.is_in_last_stage:
            percentage = format_number(release.policy.opened(release.stage))
            if self._is_version_1:
                passed = reasons.all_checks_pass if compared else reasons.nothing_compared
                why = passed(progress, checks)
            else:
                why = reasons.baked(progress, checks, missing, compared=compared)
            reason = f"after {elapsed} at {percentage} %: {why}{approved}"
            on_time = Basis.TIME if missing else None
            return Verdict(Action.COMPLETE, reason, State.COMPLETED, basis=on_time)
        if missing:
            why = reasons.noticeable_by_now(progress, checks, missing, compared=compared)
        elif compared:
            why = reasons.all_checks_pass(progress, checks)
        else:
            why = reasons.nothing_compared(progress, checks)
        on = f"time after {elapsed}, not on evidence" if basis is Basis.TIME else "evidence"
        next_is_last = release.stage + 1 == len(release.policy.stages)
        return Verdict(
            Action.ADVANCE,
            f"{ADVANCED} on {on}: {why}{approved}",
            State.BAKING if next_is_last else State.RUNNING,
            basis=basis,
        )

    @property
    def _shows_evidence(self) -> bool:
        """Whether a check that passes can show anything in this stage."""
        return self.window.has_control or any(not each.check.sequential for each in self.checks)
