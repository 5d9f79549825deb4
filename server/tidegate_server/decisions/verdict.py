"""The precedence of what may happen to a release, first that applies.

A kill; a person's full stop; a failed check that asks for rollback; the probe's
retreat; a failed check that asks for a pause; a person's pause of advancing; no data; a
broken split of the traffic; out of retreats; time, samples and evidence; complete or
advance. Only the last two raise a percentage, so whatever stops comes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate_server.decisions import reasons
from tidegate_server.decisions.advance import LOG_ADVANCE_AT
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.evidence import log_value, threshold
from tidegate_server.decisions.imbalance import LOG_IMBALANCE_AT, log_imbalance
from tidegate_server.decisions.probe import MOST_RETREATS
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.strata import keeps_control
from tidegate_server.decisions.windows import Window
from tidegate_server.domain.policy import NoDataAction, OnFailure
from tidegate_server.domain.release import Release, State

LOG_HOLD_AT = math.log(5.0)
"""No advance while the evidence of any check is at least this."""

MIN_ERRORS = 3
"""Treated users who must have failed before a check can fail."""

MIN_WINDOWS = 2
"""Windows that a stage must have had before the release may leave it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done, why, and the state it leads to."""

    action: Action
    reason: str
    state: State


@dataclass(frozen=True, slots=True)
class CheckStanding:
    """How near a check is to its threshold.

    ``number`` is its place in the policy, from 0.
    """

    number: int
    on_failure: OnFailure
    log_evidence: float
    threshold: float
    failed: bool

    @property
    def margin(self) -> float:
        """How far the evidence is beyond the threshold, in logs."""
        return self.log_evidence - math.log(self.threshold)


def standings(release: Release, progress: Progress) -> list[CheckStanding]:
    """Every check of the policy after the window, in the policy's order."""
    checks = release.policy.checks
    result = []
    for number, (check, mixture) in enumerate(zip(checks, progress.evidence, strict=True)):
        log_evidence = log_value(mixture)
        limit = threshold(check.false_alarm, spending=progress.spending, checks=len(checks))
        failed = log_evidence >= math.log(limit) and progress.failing_treated >= MIN_ERRORS
        result.append(CheckStanding(number, check.on_failure, log_evidence, limit, failed))
    return result


def judge(
    release: Release,
    progress: Progress,
    window: Window,
    checks: Sequence[CheckStanding],
    now_ms: int,
) -> Verdict:
    """What happens to the release, given everything seen up to this window."""
    return (
        _stopped(release)
        or _failed(release, progress, window, checks)
        or _paused(release, progress)
        or _without_data(release, progress, window, now_ms)
        or _untrustworthy(release, progress, window)
        or _recovered(release)
        or _leaving(release, progress, window, checks, now_ms)
    )


def _hold(release: Release, reason: str) -> Verdict:
    return Verdict(Action.HOLD, reason, release.state)


def _hold_up(reason: str) -> Verdict:
    return Verdict(Action.HOLD, reason, State.HOLDING)


def _stopped(release: Release) -> Verdict | None:
    if release.state is State.KILLED:
        return _hold(release, "the flag is killed")
    if release.stopped:
        return _hold(release, "stopped by a person: nothing happens by itself")
    return None


def _failed(
    release: Release, progress: Progress, window: Window, checks: Sequence[CheckStanding]
) -> Verdict | None:
    failed = {check.on_failure: check for check in reversed(checks) if check.failed}
    if check := failed.get(OnFailure.ROLLBACK):
        reason = reasons.failed_check(check.log_evidence, check.threshold, progress)
        return Verdict(Action.ROLLBACK, reason, State.ROLLED_BACK)
    probe = progress.probe
    if probe.fires and probe.retreats < MOST_RETREATS and release.stage > 1:
        state = State.PAUSED if release.state is State.PAUSED else State.RUNNING
        return Verdict(Action.RETREAT, reasons.retreat(window, progress), state)
    if (check := failed.get(OnFailure.PAUSE)) and release.state is not State.PAUSED:
        reason = reasons.failed_check(check.log_evidence, check.threshold, progress)
        return Verdict(Action.PAUSE, reason, State.PAUSED)
    return None


def _paused(release: Release, progress: Progress) -> Verdict | None:
    if release.state is not State.PAUSED:
        return None
    seen = reasons.failures(progress) if progress.compared_treatment.outcomes else ""
    return _hold(release, f"paused: {release.reason or 'by a person'}; {seen}".rstrip("; "))


def _without_data(
    release: Release, progress: Progress, window: Window, now_ms: int
) -> Verdict | None:
    """Silence of both arms asks for the policy's action, of one arm for holding."""
    no_data = release.policy.no_data
    silent_ms = now_ms - max(progress.control_ms, progress.treatment_ms)
    if silent_ms >= no_data.after_ms:
        reason = reasons.silence(silent_ms, window, progress)
        if no_data.action is NoDataAction.ROLLBACK:
            return Verdict(Action.ROLLBACK, reason, State.ROLLED_BACK)
        if no_data.action is NoDataAction.PAUSE:
            return Verdict(Action.PAUSE, reason, State.PAUSED)
        return _hold_up(reason)
    treatment_ms = now_ms - progress.treatment_ms
    if treatment_ms >= no_data.after_ms:
        return _hold_up(reasons.silent_arm("treated", treatment_ms, progress.stage_control))
    control_ms = now_ms - progress.control_ms
    if window.has_control and control_ms >= no_data.after_ms:
        return _hold_up(reasons.silent_arm("control", control_ms, progress.stage_treatment))
    return None


def _untrustworthy(release: Release, progress: Progress, window: Window) -> Verdict | None:
    """What a person has to look at before the release may go on."""
    log_split = log_imbalance(progress.imbalance)
    if window.has_control and log_split >= LOG_IMBALANCE_AT:
        return _hold_up(reasons.imbalance(log_split, progress, window))
    if progress.probe.fires:
        return _hold_up(reasons.probe_fired(window, progress))
    last = len(release.policy.stages)
    spent = progress.probe.retreats >= MOST_RETREATS
    if spent and release.stage < last and not keeps_control(release.policy, release.stage + 1):
        return _hold_up(reasons.RETREATS_SPENT)
    return None


def _recovered(release: Release) -> Verdict | None:
    """A release that was held goes on first; whatever else it may do waits for fresh data."""
    if release.state is not State.HOLDING:
        return None
    before = release.resumes_to or State.RUNNING
    return Verdict(Action.HOLD, "what held the release is over, it goes on", before)


def _leaving(
    release: Release,
    progress: Progress,
    window: Window,
    checks: Sequence[CheckStanding],
    now_ms: int,
) -> Verdict:
    """Leave the stage, or say everything that is still missing."""
    stage = release.policy.stages[release.stage - 1]
    last = release.stage == len(release.policy.stages)
    compared = window.has_control
    elapsed = now_ms - release.stage_entered_ms
    needed_ms = release.policy.bake_ms if last else stage.min_duration_ms
    missing = []
    if failed := [check for check in checks if check.failed]:
        missing.append(
            "warning: "
            + reasons.failed_check(failed[0].log_evidence, failed[0].threshold, progress)
        )
    if elapsed < needed_ms:
        missing.append(reasons.missing_time(elapsed, needed_ms))
    missing += _missing_samples(progress, stage.min_samples, compared=compared)
    if progress.stage_data_windows < MIN_WINDOWS:
        missing.append(f"{progress.stage_data_windows} of {MIN_WINDOWS} windows with data")
    highest = max((check.log_evidence for check in checks), default=0.0)
    if compared:
        if highest >= LOG_HOLD_AT and not failed:
            missing.append(
                f"rollback evidence {reasons.from_log(highest)} is too high to go on: "
                f"{reasons.failures(progress)}"
            )
        if progress.advance.log_value < LOG_ADVANCE_AT:
            missing.append(reasons.missing_advance(progress.advance.log_value))
    if reasons.all_outcomes(window) == 0:
        missing.append("no new outcomes since the last evaluation")
    if missing:
        return _hold(release, ("baking: " if last else "waiting: ") + "; ".join(missing))
    found = reasons.harmless(progress, highest) if compared else reasons.uncompared(progress)
    if last:
        baked = f"healthy for {reasons.duration(elapsed)} at {reasons.number(stage.percentage)} %"
        return Verdict(Action.COMPLETE, f"{baked}: {found}", State.COMPLETED)
    arrives_last = release.stage + 1 == len(release.policy.stages)
    return Verdict(Action.ADVANCE, found, State.BAKING if arrives_last else State.RUNNING)


def _missing_samples(progress: Progress, needed: int, *, compared: bool) -> list[str]:
    if not compared:
        seen = progress.stage_treatment.outcomes
        return [] if seen >= needed else [reasons.missing_samples("treatment", seen, needed)]
    arms = (
        ("treatment", progress.compared_treatment.outcomes),
        ("control", progress.compared_control.outcomes),
    )
    return [reasons.missing_samples(arm, seen, needed) for arm, seen in arms if seen < needed]
