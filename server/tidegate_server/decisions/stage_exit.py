"""The way out of a stage: everything that must be there, then approvals, then confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate_server.decisions import reasons
from tidegate_server.decisions.check_status import CheckStanding
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.calendar import closed_because
from tidegate_server.domain.release import Release, State
from tidegate_server.domain.release_gates import OnTimeout
from tidegate_server.domain.release_state_machine import is_approved

NOTHING_NEW = "no new outcomes since the last evaluation"

MIN_WINDOWS = 2
"""Windows that a stage must have had before the release may leave it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done, why, the state it leads to, and whom to ask before more is done."""

    action: Action
    reason: str
    state: State
    asks: tuple[str, ...] = ()


def hold(release: Release, reason: str) -> Verdict:
    """Nothing changes."""
    return Verdict(Action.HOLD, reason, release.state)


def hold_up(reason: str) -> Verdict:
    """The release does not go on until the reason is over."""
    return Verdict(Action.HOLD, reason, State.HOLDING)


@dataclass(frozen=True, slots=True)
class Exit:
    """A release at the end of an evaluation that nothing has stopped."""

    release: Release
    progress: Progress
    window: Window
    checks: Sequence[CheckStanding]
    now_ms: int

    def verdict(self) -> Verdict:
        """Leave the stage, or say what stands in the way."""
        release = self.release
        missing = self._missing()
        if missing == [NOTHING_NEW]:
            # People take longer than a window: nobody is asked again for a quiet one.
            if release.state is State.AWAITING_APPROVAL:
                return Verdict(Action.ASK, release.reason, State.AWAITING_APPROVAL)
            if release.state is State.HOLDING and self._held_by_people([], None):
                return hold(release, release.reason)
        if missing and self._is_overdue():
            return hold_up(f"{self._overdue()}; {'; '.join(missing)}")
        closed = self._closed()
        if release.state is State.HOLDING and not self._held_by_people(missing, closed):
            before = release.resumes_to or State.RUNNING
            return Verdict(Action.HOLD, "what held the release is over, it goes on", before)
        if missing or closed:
            return self._wait(missing, closed)
        return self._without_approval() or self._without_confirmation() or self._leave()

    @property
    def last(self) -> bool:
        """Whether this is the last stage."""
        return self.release.stage == len(self.release.policy.stages)

    @property
    def _elapsed(self) -> int:
        return self.now_ms - self.release.stage_entered_ms

    def _missing(self) -> list[str]:
        """What time, samples and the checks still lack."""
        policy = self.release.policy
        stage = policy.stages[self.release.stage - 1]
        needed_ms = policy.bake_ms if self.last else stage.min_duration_ms
        compared = self.window.has_control
        missing = [
            f"warning: {check.why_failed(self.progress)}" for check in self.checks if check.failed
        ]
        if self._elapsed < needed_ms:
            missing.append(reasons.missing_time(self._elapsed, needed_ms))
        missing += _missing_samples(self.progress, stage.min_samples, compared=compared)
        if self.progress.stage_data_windows < MIN_WINDOWS:
            missing.append(f"{self.progress.stage_data_windows} of {MIN_WINDOWS} windows with data")
        for check in self.checks:
            missing += check.missing(self.progress, compared=compared)
        if reasons.all_outcomes(self.window) == 0:
            missing.append(NOTHING_NEW)
        return missing

    def _is_overdue(self) -> bool:
        longest = self.release.policy.stages[self.release.stage - 1].max_duration_ms
        return longest is not None and self._elapsed >= longest

    def _overdue(self) -> str:
        return (
            f"undecided after {reasons.duration(self._elapsed)} in this stage: a person decides "
            "whether it advances or is rolled back"
        )

    def _closed(self) -> str | None:
        """Why no percentage may be raised now; completing raises one only after a holdback."""
        policy = self.release.policy
        if self.last and not policy.holdback:
            return None
        return closed_because(policy.windows, self.now_ms)

    def _held_by_people(self, missing: list[str], closed: str | None) -> bool:
        """Whether only people or their webhooks still hold the release."""
        if missing or closed:
            return False
        asked = self.release.asked_ms is not None and not is_approved(self.release)
        return asked or bool(self.release.policy.confirm)

    def _wait(self, missing: list[str], closed: str | None) -> Verdict:
        reason = closed or ("baking: " if self.last else "waiting: ") + "; ".join(missing)
        if self.release.state is State.AWAITING_APPROVAL:
            return Verdict(Action.HOLD, reason, self.release.resumes_to or State.RUNNING)
        return hold(self.release, reason)

    def _without_approval(self) -> Verdict | None:
        release = self.release
        gate = release.policy.stages[release.stage - 1].approval
        if gate is None or is_approved(release):
            return None
        given = f"{len(release.approvals)} of {gate.count} approvals"
        whom = f" of {', '.join(gate.approvers)}" if gate.approvers else ""
        asked_ms = release.asked_ms
        if asked_ms is not None and gate.timeout_ms is not None:
            waited = self.now_ms - asked_ms
            if waited >= gate.timeout_ms:
                reason = f"{given} after {reasons.duration(waited)}: nobody else approved in time"
                if gate.on_timeout is OnTimeout.ROLLBACK:
                    return rolled_back(release, reason)
                return hold_up(reason)
        if release.state is State.HOLDING:
            return hold(release, release.reason)
        return Verdict(
            Action.ASK, f"everything else has passed; {given}{whom}", State.AWAITING_APPROVAL
        )

    def _without_confirmation(self) -> Verdict | None:
        asked = tuple(each.webhook for each in self.release.policy.confirm)
        if not asked:
            return None
        answers = {answer.webhook: answer for answer in self.window.answers}
        if any(webhook not in answers for webhook in asked):
            words = f"asks {', '.join(asked)} to confirm"
            return Verdict(Action.HOLD, words, self.release.state, asks=asked)
        refused = [answers[webhook] for webhook in asked if not answers[webhook].confirmed]
        if not refused:
            return None
        said = "; ".join(f"{each.webhook}: {each.reason or 'no reason given'}" for each in refused)
        return hold_up(f"not confirmed by {said}")

    def _leave(self) -> Verdict:
        release, progress = self.release, self.progress
        found = (
            reasons.harmless(progress, self.checks)
            if self.window.has_control
            else reasons.uncompared(progress)
        )
        given = ", ".join(approval.actor for approval in release.approvals)
        if given:
            found = f"{found}; approved by {given}"
        if self.last:
            percentage = reasons.number(release.policy.opened(release.stage))
            baked = f"healthy for {reasons.duration(self._elapsed)} at {percentage} %"
            return Verdict(Action.COMPLETE, f"{baked}: {found}", State.COMPLETED)
        arrives_last = release.stage + 1 == len(release.policy.stages)
        return Verdict(Action.ADVANCE, found, State.BAKING if arrives_last else State.RUNNING)


def rolled_back(release: Release, reason: str) -> Verdict:
    """The release closes: for a while when a retry remains, else for good."""
    rollback = release.policy.rollback
    if release.retries >= rollback.max_retries:
        if rollback.max_retries:
            reason = f"{reason}; none of {rollback.max_retries} retries is left"
        return Verdict(Action.ROLLBACK, reason, State.ROLLED_BACK)
    state = State.PAUSED if release.state is State.PAUSED else State.COOLDOWN
    again = (
        f"{reason}; retry {release.retries + 1} of {rollback.max_retries} after "
        f"{reasons.duration(rollback.cooldown_ms)}"
    )
    return Verdict(Action.COOL_DOWN, again, state)


def _missing_samples(progress: Progress, needed: int, *, compared: bool) -> list[str]:
    if not compared:
        seen = progress.stage_treatment.outcomes
        return [] if seen >= needed else [reasons.missing_samples("treatment", seen, needed)]
    arms = (
        ("treatment", progress.compared_treatment.outcomes),
        ("control", progress.compared_control.outcomes),
    )
    return [reasons.missing_samples(arm, seen, needed) for arm, seen in arms if seen < needed]
