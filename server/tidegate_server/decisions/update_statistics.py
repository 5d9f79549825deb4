"""Update every statistic of a release with a window, once and in order, and restart them.

Here is what all versions of the statistics have in common: counts, times, threshold checks, and
what people and decisions moved. ``rule`` has what they do not.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate.counts import NOTHING

from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.people import tally_users
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.rule import rule_of
from tidegate_server.decisions.threshold_checks import add_recent_window, update_threshold_check
from tidegate_server.domain.evidence import add_histograms, total
from tidegate_server.domain.release import Release, State

LOST_SHARE = 0.1
"""The share of instances that may be lost before a release holds."""


def update_statistics(release: Release, before: Progress, window: Window) -> Progress:
    """Return the progress after a window, before a decision.

    Args:
        release: the release as read together with the window.
        before: its progress after the last evaluation.
        window: what was added since, under the release's present step.
    """
    if before.generation != window.generation:
        before = replace(before, generation=window.generation)
    followed = follow_release(before, release)
    if release.closed:
        return _measure_closed_release(release, followed, window)
    progress = _add_counts(followed, window)
    recent = add_recent_window(progress.recent, release.policy, window)
    if recent != progress.recent:
        progress = replace(progress, recent=recent)
    progress = rule_of(progress).update(
        release, _update_threshold_checks(release, progress, window), window
    )
    return replace(progress, windows=progress.windows + 1, stage_windows=progress.stage_windows + 1)


def _update_threshold_checks(release: Release, progress: Progress, window: Window) -> Progress:
    if all(check.sequential for check in release.policy.checks):
        return progress
    return replace(
        progress,
        checks=tuple(
            mine
            if check.sequential
            else update_threshold_check(number, check, mine, progress, window)
            for number, (check, mine) in enumerate(
                zip(release.policy.checks, progress.checks, strict=True)
            )
        ),
    )


def _measure_closed_release(release: Release, progress: Progress, window: Window) -> Progress:
    """Add a window in which everyone gets the control; a draft also measures the control."""
    progress = replace(
        progress,
        control=progress.control + window.control + window.late_control,
        treatment=progress.treatment + window.treatment + window.late_treatment,
        control_ms=window.closed_ms,
        treatment_ms=window.closed_ms,
        windows=progress.windows + 1,
    )
    if release.state is not State.DRAFT:
        return progress
    before = dict(progress.before_distributions)
    for each in window.distributions:
        before[each.measure] = add_histograms((before.get(each.measure, ()), each.control))
    return replace(
        progress,
        before=progress.before + window.control,
        before_distributions=tuple(sorted(before.items())),
    )


def follow_release(progress: Progress, release: Release) -> Progress:
    """Return the progress with what restarts because people or the last decision moved it."""
    if progress.state is State.DRAFT and not release.closed:
        progress = replace(
            progress,
            control=NOTHING,
            treatment=NOTHING,
            generation=progress.generation + 1,
        )
    if release.attempt != progress.attempt:
        progress = _restart_attempt(progress)
    if release.step != progress.step:
        progress = rule_of(progress).restart_stage(progress)
        progress = replace(
            progress,
            checks=tuple(
                replace(check, seen_control=NOTHING, seen_treatment=NOTHING)
                for check in progress.checks
            ),
            stage_windows=0,
            stage_data_windows=0,
            stage_control=NOTHING,
            stage_treatment=NOTHING,
            compared_control=NOTHING,
            compared_treatment=NOTHING,
            control_ms=max(progress.control_ms, release.stage_entered_ms),
            treatment_ms=max(progress.treatment_ms, release.stage_entered_ms),
            silent_exposures=0,
        )
    resting = {State.PAUSED, State.KILLED}
    if progress.state in resting and release.state not in resting:
        progress = replace(
            progress,
            control_ms=max(progress.control_ms, release.updated_ms),
            treatment_ms=max(progress.treatment_ms, release.updated_ms),
        )
    status = (release.attempt, release.step, release.stage, release.state)
    if status == (progress.attempt, progress.step, progress.stage, progress.state):
        return progress
    attempt, step, stage, state = status
    return replace(progress, attempt=attempt, step=step, stage=stage, state=state)


def _restart_attempt(progress: Progress) -> Progress:
    """Restart everything except the totals and what is known of control's rate."""
    return replace(
        rule_of(progress).restart_attempt(progress),
        recent=(),
        generation=progress.generation + 1,
        failing_treated=0,
    )


def _add_counts(progress: Progress, window: Window) -> Progress:
    """Add a window to the totals and to the times since the last data."""
    control, treatment = window.control, window.treatment
    compared = [stratum for stratum in window.strata if stratum.compared]
    compared_control = total(stratum.control for stratum in compared)
    compared_treatment = total(stratum.treatment for stratum in compared)
    ended = control.outcomes + treatment.outcomes > 0
    exposed = control.exposures + treatment.exposures
    return replace(
        progress,
        control=progress.control + control + window.late_control,
        treatment=progress.treatment + treatment + window.late_treatment,
        stage_control=progress.stage_control + control,
        stage_treatment=progress.stage_treatment + treatment,
        compared_control=progress.compared_control + compared_control,
        compared_treatment=progress.compared_treatment + compared_treatment,
        failing_treated=progress.failing_treated + compared_treatment.failing,
        control_ms=window.closed_ms if control.outcomes else progress.control_ms,
        treatment_ms=window.closed_ms if treatment.outcomes else progress.treatment_ms,
        silent_exposures=0 if ended else progress.silent_exposures + exposed,
        stage_data_windows=progress.stage_data_windows + ended,
        lost_windows=progress.lost_windows + 1 if too_many_lost(window) else 0,
        users=tally_users(
            progress.users,
            window.strata,
            rate=progress.probe.rate if progress.probe.seen else None,
            rate_failures=progress.probe.errors,
        ),
    )


def too_many_lost(window: Window) -> bool:
    """Return whether more instances stopped reporting than a few crashes explain.

    An instance that crashes does not report the errors of the treatment it served.
    """
    live = window.live_instances or 0
    return window.lost_instances > LOST_SHARE * (live + window.lost_instances)
