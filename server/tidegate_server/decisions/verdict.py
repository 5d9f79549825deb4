"""The precedence of what may happen to a release, first that applies.

A kill; a person's full stop; a draft; a failed check that asks for rollback; the probe's
retreat, or in a cooldown its rollback; a failed check that asks for a pause; a person's
pause of advancing; a cooldown; no data; a broken split of the traffic; out of retreats; a
source that cannot be read; a stage that took too long; a freeze or a closed window; time,
samples and evidence; approvals and confirmations; complete or advance. Only a cooldown's
end and the last two raise a percentage, so whatever stops comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate_server.decisions import reasons
from tidegate_server.decisions.check_status import CheckStanding
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.exposure_groups import keeps_control
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.probe import MOST_RETREATS
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.sample_ratio import LOG_IMBALANCE_AT, log_imbalance
from tidegate_server.decisions.stage_exit import Exit, Verdict, hold, hold_up, rolled_back
from tidegate_server.domain.calendar import closed_because
from tidegate_server.domain.checks import OnFailure
from tidegate_server.domain.policy import NoDataAction
from tidegate_server.domain.release import Release, State

LOST_WINDOWS = 2
"""Windows in a row with lost instances that hold a release; one may be a server's restart."""


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
        or _drafted(release, progress)
        or _failed(release, progress, window, checks)
        or _paused(release, progress)
        or _cooling(release, now_ms)
        or _without_data(release, progress, window, now_ms)
        or _untrustworthy(release, progress, window, checks)
        or Exit(release, progress, window, checks, now_ms).verdict()
    )


def _stopped(release: Release) -> Verdict | None:
    if release.state is State.KILLED:
        return hold(release, "the flag is killed")
    if release.stopped:
        return hold(release, "stopped by a person: nothing happens by itself")
    return None


def _drafted(release: Release, progress: Progress) -> Verdict | None:
    if release.state is not State.DRAFT:
        return None
    seen = progress.before
    return hold(
        release,
        f"a draft: everyone has the control; {seen.outcomes} operations measured, "
        f"{seen.errors} of them failed",
    )


def _failed(
    release: Release, progress: Progress, window: Window, checks: Sequence[CheckStanding]
) -> Verdict | None:
    failed = {
        check.check.on_failure: check
        for check in reversed(checks)
        if check.failed and not release.closed
    }
    if check := failed.get(OnFailure.ROLLBACK):
        return rolled_back(release, check.why_failed(progress))
    probe = progress.probe
    if probe.fires and State.COOLDOWN in (release.state, release.resumes_to):
        # It has gone back already, and what was left open fails there too.
        return rolled_back(release, reasons.probe_fired(window, progress))
    if probe.fires and probe.retreats < MOST_RETREATS and release.stage > 1:
        state = State.PAUSED if release.state is State.PAUSED else State.RUNNING
        return Verdict(Action.RETREAT, reasons.retreat(window, progress), state)
    if (check := failed.get(OnFailure.PAUSE)) and release.state is not State.PAUSED:
        return Verdict(Action.PAUSE, check.why_failed(progress), State.PAUSED)
    return None


def _paused(release: Release, progress: Progress) -> Verdict | None:
    if release.state is not State.PAUSED:
        return None
    seen = reasons.failures(progress) if progress.compared_treatment.outcomes else ""
    return hold(release, f"paused: {release.reason or 'by a person'}; {seen}".rstrip("; "))


def _cooling(release: Release, now_ms: int) -> Verdict | None:
    if release.state is not State.COOLDOWN:
        return None
    until = release.cooldown_until_ms or 0
    if now_ms < until:
        return hold(release, f"cooling down, {reasons.duration(until - now_ms)} left")
    if closed := closed_because(release.policy.windows, now_ms):
        return hold(release, f"cooled down; {closed}")
    stages = release.policy.stages
    name = stages[release.stage - 1].name
    last = release.stage == len(stages)
    return Verdict(
        Action.RETRY,
        f"cooled down: attempt {release.attempt} begins at stage {name} "
        f"(retry {release.retries} of {release.policy.rollback.max_retries})",
        State.BAKING if last else State.RUNNING,
    )


def _without_data(
    release: Release, progress: Progress, window: Window, now_ms: int
) -> Verdict | None:
    """Silence of both arms asks for the policy's action, of one arm for holding."""
    no_data = release.policy.no_data
    silent_ms = now_ms - max(progress.control_ms, progress.treatment_ms)
    if silent_ms >= no_data.after_ms:
        reason = reasons.silence(silent_ms, window, progress)
        if no_data.action is NoDataAction.ROLLBACK:
            return rolled_back(release, reason)
        if no_data.action is NoDataAction.PAUSE:
            return Verdict(Action.PAUSE, reason, State.PAUSED)
        return hold_up(reason)
    treatment_ms = now_ms - progress.treatment_ms
    if treatment_ms >= no_data.after_ms:
        return hold_up(reasons.silent_arm("treated", treatment_ms, progress.stage_control))
    control_ms = now_ms - progress.control_ms
    if window.has_control and control_ms >= no_data.after_ms:
        return hold_up(reasons.silent_arm("control", control_ms, progress.stage_treatment))
    return None


def _untrustworthy(
    release: Release, progress: Progress, window: Window, checks: Sequence[CheckStanding]
) -> Verdict | None:
    """What a person has to look at before the release may go on."""
    log_split = log_imbalance(progress.imbalance)
    if window.has_control and log_split >= LOG_IMBALANCE_AT:
        return hold_up(reasons.imbalance(log_split, progress, window))
    if progress.probe.fires:
        return hold_up(reasons.probe_fired(window, progress))
    last = len(release.policy.stages)
    spent = progress.probe.retreats >= MOST_RETREATS
    if spent and release.stage < last and not keeps_control(release.policy, release.stage + 1):
        return hold_up(reasons.RETREATS_SPENT)
    if progress.lost_windows >= LOST_WINDOWS:
        return hold_up(reasons.lost(window))
    for check in checks:
        if check.unreadable:
            return hold_up(reasons.unreadable(check.check, check.progress))
    return None
