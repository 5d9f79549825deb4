"""The second version of the statistics, for every release that starts from now on.

A new stage continues E and restarts A. A new attempt restarts both, with the whole false-alarm
budget: it follows a rollback or a changed treatment. An epoch ends when most users have failed
once; then E restarts and failing users count again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tidegate.counts import StratumCounts
from tidegate.epochs import EpochBlocks, has_enough_control, next_epoch, update_epoch
from tidegate.harm_evidence import (
    epoch_false_alarm,
    harm_limit,
    restart_epoch,
    update_harm_evidence,
    update_without_control,
)

from tidegate_server.decisions.compared_values import compared_counts
from tidegate_server.decisions.detectable_ratio import ControlFailures, detectable_ratio
from tidegate_server.decisions.distributions import control_quantile_bucket
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.probe import FIRES_AT as PROBE_FIRES_AT
from tidegate_server.decisions.probe import count_retreat as count_retreat_of_probe
from tidegate_server.decisions.probe import update_probe
from tidegate_server.decisions.progress import CheckProgress, Progress
from tidegate_server.decisions.ratio_band import RatioBand, update_band
from tidegate_server.decisions.readings import CheckReading, ProbeReading, SplitReading
from tidegate_server.decisions.safety_evidence import (
    allowed_excess,
    update_safety_evidence,
)
from tidegate_server.decisions.safety_evidence import restart_stage as restart_safety
from tidegate_server.decisions.sample_ratio import update_sample_ratio
from tidegate_server.decisions.value_probe import ValueProbe, update_value_probe
from tidegate_server.domain.checks import Check, OnFailure
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Release


def restart_attempt(progress: Progress) -> Progress:
    """Restart everything except what is known of control where no control group is left."""
    return replace(
        progress,
        checks=tuple(
            CheckProgress(
                value_probe=ValueProbe(check.value_probe.cut),
                band=None if check.band is None else RatioBand(),
            )
            for check in progress.checks
        ),
        probe=replace(progress.probe, excess=0.0, retreats=0),
        blocks=EpochBlocks(),
        control_failures=(),
    )


def restart_stage(progress: Progress) -> Progress:
    """Restart A; E, its guard and the probe continue."""
    return replace(
        progress,
        checks=tuple(
            replace(check, safety=restart_safety(check.safety)) for check in progress.checks
        ),
    )


def update(release: Release, progress: Progress, window: Window) -> Progress:
    """Return the progress with the window in its statistics."""
    new_stage = progress.stage_windows == 0
    enough_control = has_enough_control(window.strata)
    policy = release.policy
    excess = allowed_excess(policy, release.stage)
    checks = []
    for check, mine in zip(policy.checks, progress.checks, strict=True):
        if check.sequential:
            after = _compare_arms(policy, check, mine, window, excess, new_stage=new_stage)
            if check.distribution is not None:
                probe = update_value_probe(
                    mine.value_probe,
                    check,
                    control_quantile_bucket(check, mine.control),
                    window.treated_values(check.distribution),
                    enough_control=enough_control,
                )
                after = replace(after, value_probe=probe)
        elif check.rate_limit and not enough_control and not progress.probe.seen:
            harm = update_without_control(
                mine.harm, window.treatment, check.threshold, new_stage=new_stage
            )
            after = replace(mine, harm=harm)
        else:
            after = mine
        checks.append(after)
    return replace(
        progress,
        checks=tuple(checks),
        probe=update_probe(progress.probe, window.strata),
        split=update_sample_ratio(progress.split, window.strata, new_visit=new_stage),
        control_failures=_add_control(progress.control_failures, window.strata),
    )


def _compare_arms(
    policy: Policy,
    check: Check,
    before: CheckProgress,
    window: Window,
    excess: float,
    *,
    new_stage: bool,
) -> CheckProgress:
    """Return a check against the concurrent control group with E, A and its band updated."""
    after, strata = compared_counts(check, before, window)
    tolerance = check.tolerance
    harm = update_harm_evidence(
        before.harm, strata, 1.0 + tolerance.relative, tolerance.absolute, new_stage=new_stage
    )
    band = before.band
    if band is not None:
        limit = harm_limit(check.false_alarm, epoch=before.epoch, checks=policy.guarded_checks)
        band = update_band(
            band, tolerance, strata, before.harm, harm, limit=limit, new_stage=new_stage
        )
    return replace(
        after, harm=harm, safety=update_safety_evidence(before.safety, strata, excess), band=band
    )


def _add_control(
    known: Sequence[ControlFailures], strata: Iterable[StratumCounts]
) -> tuple[ControlFailures, ...]:
    """Return control's counts of this epoch by share, with a window added."""
    by_share = {each.share: each for each in known}
    for counts in strata:
        if counts.compared:
            earlier = by_share.get(counts.share, ControlFailures(counts.share, 0))
            by_share[counts.share] = ControlFailures(
                counts.share,
                earlier.failures + counts.control.failing,
                earlier.operations + counts.control.outcomes,
            )
    return tuple(by_share.values())


def end_epoch_if_over(release: Release, progress: Progress, window: Window) -> Progress:
    """Return the progress, in a new epoch if most users of control have failed once.

    Only checks of errors restart: the values of the others do not run out.
    """
    counts_users = [check.rate_limit or check.compares_errors for check in release.policy.checks]
    evidence = (
        mine.harm.log_value
        for mine, counted in zip(progress.checks, counts_users, strict=True)
        if counted
    )
    blocks = update_epoch(progress.blocks, window.strata, max(evidence, default=0.0))
    if blocks is not None:
        return progress if blocks == progress.blocks else replace(progress, blocks=blocks)
    return replace(
        progress,
        checks=tuple(
            replace(mine, harm=restart_epoch(mine.harm), epoch=mine.epoch + 1) if counted else mine
            for mine, counted in zip(progress.checks, counts_users, strict=True)
        ),
        blocks=next_epoch(progress.blocks),
        control_failures=(),
        generation=progress.generation + 1,
    )


def count_retreat(progress: Progress) -> Progress:
    """Return the progress after a retreat; every probe starts again."""
    return replace(
        progress,
        checks=tuple(
            replace(check, value_probe=ValueProbe(check.value_probe.cut))
            for check in progress.checks
        ),
        probe=count_retreat_of_probe(progress.probe),
    )


def read_check(release: Release, number: int, check: Check, progress: Progress) -> CheckReading:
    """Return what the statistics say of a guarded check."""
    mine = progress.checks[number]
    false_alarm = epoch_false_alarm(
        check.false_alarm, epoch=mine.epoch, checks=release.policy.guarded_checks
    )
    noticed = None
    if check.compares_errors:
        tolerance = check.tolerance
        noticed = detectable_ratio(
            progress.control_failures, false_alarm, 1.0 + tolerance.relative, tolerance.absolute
        )
    return CheckReading(
        log_evidence=mine.harm.log_value,
        rollback_at=1.0 / false_alarm,
        log_advance=mine.safety.log_value,
        epoch=mine.epoch,
        wobble=mine.harm.guard.wobble,
        detectable_ratio=noticed,
    )


def read_probe(release: Release, progress: Progress) -> ProbeReading:
    """Return what the probes of errors and of values say; a check that only warns asks nothing."""
    probe = progress.probe
    values = tuple(
        check.label
        for check, mine in zip(release.policy.checks, progress.checks, strict=True)
        if mine.value_probe.fires and check.on_failure is not OnFailure.WARN
    )
    return ProbeReading(
        probe.excess, PROBE_FIRES_AT, probe.retreats, probe.rate, probe.seen, values
    )


def read_split(progress: Progress) -> SplitReading:
    """Return what is known of the split, from the users of the sample."""
    control, treatment = progress.compared_control, progress.compared_treatment
    both = control.sampled + treatment.sampled
    ended = control.outcomes + treatment.outcomes
    return SplitReading(
        log_evidence=progress.split.log_evidence,
        limit=progress.split.limit,
        treated=treatment.sampled,
        both=both,
        counted="users",
        checked=both > 0 or ended == 0,
    )
