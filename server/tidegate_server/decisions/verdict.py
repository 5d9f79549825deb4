"""The order of precedence of what may happen to a release; the first that applies happens.

1. a kill
2. a person's full stop
3. a draft
4. a failed check that asks for rollback
5. the probe's retreat, or in a cooldown its rollback
6. a failed check that asks for a pause
7. a person's pause
8. a cooldown
9. no data
10. a broken sample ratio, a firing probe without retreats left, lost instances, unreadable sources
11. what the reports of clients say
12. ``stage_exit``: a stage that took too long, a freeze or a closed window, missing time,
    samples and evidence, approvals and confirmations, and then completing or advancing

Only the end of a cooldown and the last step raise a percentage, so everything that stops a
release comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate_server.decisions import reasons
from tidegate_server.decisions.check_status import CheckStatus
from tidegate_server.decisions.client_reports import ClientStatus
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.evidence_words import duration
from tidegate_server.decisions.exposure_groups import keeps_control
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.probe import MAX_RETREATS
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.readings import ProbeReading, SplitReading
from tidegate_server.decisions.stage_exit import StageExit, Verdict, hold, no_change, roll_back
from tidegate_server.domain.calendar import closed_because
from tidegate_server.domain.checks import OnFailure
from tidegate_server.domain.policy import NoDataAction
from tidegate_server.domain.release import Release, State

LOST_WINDOWS = 2
"""Windows in a row with lost instances that hold a release; one may be a server's restart."""


def reach_verdict(
    release: Release,
    progress: Progress,
    window: Window,
    checks: Sequence[CheckStatus],
    probe: ProbeReading,
    split: SplitReading,
    clients: ClientStatus | None,
    now_ms: int,
) -> Verdict:
    """Return what happens to the release after a window.

    Args:
        release: as it is now.
        progress: its statistics, this window included.
        window: the window that decides.
        checks: the status of every check after it.
        probe, split: what the probe says, and what is known of the split.
        clients: what the reports of clients say; None: no client has reported.
        now_ms: store clock.
    """
    return (
        _killed_or_stopped(release)
        or _draft(release, progress)
        or _failed_checks(release, progress, window, checks, probe)
        or _paused(release, progress)
        or _cooldown(release, window, now_ms)
        or _no_data(release, progress, window, clients, now_ms)
        or _untrustworthy_data(release, progress, window, checks, probe, split)
        or _client_reports(clients)
        or StageExit(release, progress, window, checks, clients, now_ms).verdict()
    )


def _killed_or_stopped(release: Release) -> Verdict | None:
    if release.state is State.KILLED:
        return no_change(release, "the flag is killed")
    if release.stopped:
        return no_change(release, "full stop by a person: no automatic action")
    return None


def _draft(release: Release, progress: Progress) -> Verdict | None:
    if release.state is not State.DRAFT:
        return None
    before = progress.before
    return no_change(
        release,
        f"draft: everyone gets the control; {before.outcomes} operations measured, "
        f"{before.errors} of them failed",
    )


def _failed_checks(
    release: Release,
    progress: Progress,
    window: Window,
    checks: Sequence[CheckStatus],
    probe: ProbeReading,
) -> Verdict | None:
    failed = {
        check.check.on_failure: check
        for check in reversed(checks)
        if check.failed and not release.closed
    }
    if check := failed.get(OnFailure.ROLLBACK):
        return roll_back(release, reasons.failed_check(check, progress))
    if probe.fires and State.COOLDOWN in (release.state, release.resumes_to):
        # It has gone back already, and what was left open fails there too.
        return roll_back(release, reasons.probe_fired(window, probe))
    if probe.fires and probe.retreats < MAX_RETREATS and release.stage > 1:
        state = State.PAUSED if release.state is State.PAUSED else State.RUNNING
        reason = reasons.retreat(
            window,
            probe,
            reopens_control=keeps_control(release.policy, release.stage - 1),
            compares_errors=release.policy.compares_errors,
        )
        return Verdict(Action.RETREAT, reason, state)
    if (check := failed.get(OnFailure.PAUSE)) and release.state is not State.PAUSED:
        return Verdict(Action.PAUSE, reasons.failed_check(check, progress), State.PAUSED)
    return None


def _paused(release: Release, progress: Progress) -> Verdict | None:
    if release.state is not State.PAUSED:
        return None
    failures = reasons.stage_failures(progress) if progress.compared_treatment.outcomes else ""
    why = release.state_reason or release.reason
    paused = "paused in an earlier stage" if release.moved_since_its_state else "paused"
    return no_change(
        release, "; ".join(filter(None, (f"{paused}: {why}" if why else paused, failures)))
    )


def _cooldown(release: Release, window: Window, now_ms: int) -> Verdict | None:
    if release.state is not State.COOLDOWN:
        return None
    until = release.cooldown_until_ms or 0
    if now_ms < until:
        return no_change(release, f"cooldown, {duration(until - now_ms)} left")
    if closed := closed_because(release.policy.windows, now_ms) or window.frozen:
        return no_change(release, f"cooldown is over; {closed}")
    return Verdict(
        Action.RETRY,
        f"cooldown is over: attempt {release.attempt} starts at stage {release.current_stage.name} "
        f"(retry {release.retries} of {release.policy.rollback.max_retries})",
        State.BAKING if release.is_in_last_stage else State.RUNNING,
    )


def _no_data(
    release: Release,
    progress: Progress,
    window: Window,
    clients: ClientStatus | None,
    now_ms: int,
) -> Verdict | None:
    """Return the policy's action when both arms are silent, and hold when one is."""
    no_data = release.policy.no_data
    silent_ms = now_ms - max(progress.control_ms, progress.treatment_ms)
    if silent_ms >= no_data.after_ms:
        reason = reasons.silence(silent_ms, window, progress)
        if clients is not None and not release.policy.clients_decide:
            reason += reasons.only_clients(clients.progress)
        if no_data.action is NoDataAction.ROLLBACK:
            return roll_back(release, reason)
        if no_data.action is NoDataAction.PAUSE:
            return Verdict(Action.PAUSE, reason, State.PAUSED)
        return hold(reason)
    treatment_ms = now_ms - progress.treatment_ms
    if treatment_ms >= no_data.after_ms:
        return hold(reasons.silent_arm("treatment", treatment_ms, progress.stage_control))
    control_ms = now_ms - progress.control_ms
    if window.has_control and control_ms >= no_data.after_ms:
        return hold(reasons.silent_arm("control", control_ms, progress.stage_treatment))
    return None


def _untrustworthy_data(
    release: Release,
    progress: Progress,
    window: Window,
    checks: Sequence[CheckStatus],
    probe: ProbeReading,
    split: SplitReading,
) -> Verdict | None:
    """Hold for what a person has to look at before the release may continue."""
    if window.has_control and split.is_broken:
        return hold(reasons.imbalance(split, window))
    if probe.fires:
        return hold(reasons.probe_fired(window, probe))
    if (
        probe.retreats >= MAX_RETREATS
        and not release.is_in_last_stage
        and not keeps_control(release.policy, release.stage + 1)
    ):
        return hold(reasons.retreats_spent(probe))
    if progress.lost_windows >= LOST_WINDOWS:
        return hold(reasons.lost_instances(window))
    for check in checks:
        if check.unreadable:
            return hold(reasons.unreadable(check))
    return None


def _client_reports(clients: ClientStatus | None) -> Verdict | None:
    """Hold for what clients report. It can be made up, so it never does more."""
    if clients is None:
        return None
    for check in clients.holding_checks:
        if check.failed:
            return hold(reasons.clients_say(reasons.failed_check(check, clients.progress)))
    if not clients.may_hold:
        return None
    if clients.unbalanced:
        return hold(reasons.clients_say(reasons.imbalance(clients.split, clients.window)))
    if clients.probe.fires:
        return hold(reasons.clients_say(reasons.probe_fired(clients.window, clients.probe)))
    return None
