"""The reasons of decisions: sentences with the numbers that a decision rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tidegate.counts import Counts
from tidegate.harm_evidence import HOLD_AT

from tidegate_server.decisions.check_status import CheckStatus
from tidegate_server.decisions.decision import from_log
from tidegate_server.decisions.distributions import MIN_VALUES
from tidegate_server.decisions.evidence_words import duration, format_number, noticeable, wobble
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.probe import MAX_RETREATS
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.readings import ProbeReading, SplitReading
from tidegate_server.decisions.rule import rule_of
from tidegate_server.decisions.safety_evidence import ADVANCE_AT
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.evidence import Trips, total

NOTHING_COMPARED = "no operation of this stage is compared with control"


def format_log(log: float) -> str:
    """Return the number whose natural logarithm this is."""
    return format_number(from_log(log))


def stage_failures(progress: Progress) -> str:
    """Failing users of both arms in this stage, where the arms can be compared."""
    treated, control = progress.compared_treatment, progress.compared_control
    if not treated.outcomes + control.outcomes:
        return NOTHING_COMPARED
    return (
        f"{_failing_users(treated, 'treatment')}; {_failing_users(control, 'control')} "
        "(this stage)" + _wobble(progress)
    )


def _failing_users(counts: Counts, arm: str) -> str:
    users = "user" if counts.failing == 1 else "users"
    operations = "operation" if counts.outcomes == 1 else "operations"
    return f"{arm}: {counts.failing:,} {users} failed in {counts.outcomes:,} {operations}"


def _wobble(progress: Progress) -> str:
    deviation = max((check.harm.guard.wobble for check in progress.checks), default=0.0)
    return f"; {wobble(deviation)}, so failures count for less" if deviation >= 0.05 else ""


def failed_check(status: CheckStatus, progress: Progress) -> str:
    """A check has failed: by its evidence of harm, or by too many breaches in a row."""
    check, mine = status.check, status.progress
    if check.sequential or status.margin >= 0:
        return (
            f"{_harm(status)} reached {format_number(status.rollback_at)}: "
            f"{_comparison(status, progress)}"
        )
    times = f"failed {mine.breaches} times in a row ({check.failure_limit} allowed)"
    if mine.problem:
        return f"{check.label}: {times}; it cannot be read now: {mine.problem}"
    if mine.value is None or mine.limit is None:
        return f"{check.label}: {times}; it has no value now"
    return f"{check.label}: {_value(mine.value)}, must be {_limit(status)}; {times}"


def suspicious_clients(status: CheckStatus, clients: Progress) -> str:
    """What clients report is too bad for an advance, although it has not failed."""
    comparison = _comparison(status, clients)
    return f"client reports say: {_harm(status)} is too high to advance: {comparison}"


def looks_bad(status: CheckStatus, progress: Progress, *, harm_counts: bool) -> list[str]:
    """What a check has against leaving the stage: too much evidence of harm, or a bad value.

    ``harm_counts``: whether the evidence of harm counts.
    """
    if harm_counts and status.suspicious:
        comparison = _comparison(status, progress)
        return [f"{_harm(status)} is too high to advance: {comparison}"]
    mine = status.progress
    bad = not status.check.sequential and not mine.passing and not mine.is_unknown
    return [_not_passing(status)] if bad else []


def missing_from_check(status: CheckStatus, *, compared: bool) -> list[str]:
    """What a check has not shown yet: evidence of safety, or a value within its limit.

    ``compared``: whether the stage needs evidence of safety.
    """
    if not status.check.sequential:
        return [_not_passing(status)] if status.progress.is_unknown else []
    return [_missing_safety(status)] if compared and not status.safe else []


def _harm(status: CheckStatus) -> str:
    return f"{_subject(status.check)}evidence of harm {format_log(status.log_evidence)}"


def _comparison(status: CheckStatus, progress: Progress) -> str:
    """What a check compares with control: failing users, or values beyond the cut."""
    check = status.check
    if not check.sequential:
        # The sequential test of an absolute error rate, whether or not there is a control group.
        return (
            f"{_failing_users(progress.stage_treatment, 'treatment')} (this stage); not compared "
            "with control"
        )
    if check.distribution is None:
        return stage_failures(progress)
    side = "above" if check.operator.large_is_bad else "below"
    if check.metric is Metric.LATENCY:
        side = "slower than"
    treated, control = status.progress.seen_treatment, status.progress.seen_control
    if not treated.outcomes + control.outcomes:
        return NOTHING_COMPARED
    return (
        f"treatment: {treated.errors:,} of {treated.outcomes:,} operations were {side} control's "
        f"p{100 * check.quantile:g}; control: {control.errors:,} of {control.outcomes:,} "
        "(this stage)" + _wobble(progress)
    )


def _subject(check: Check) -> str:
    """The check's label, unless it is the error rate against control."""
    plain = check.metric is Metric.ERROR_RATE and check.sequential
    return "" if plain else f"{check.label}: "


def _missing_safety(status: CheckStatus) -> str:
    check, control = status.check, status.progress.control
    if check.distribution is not None and control.total < MIN_VALUES:
        known = format_number(math.floor(control.total))
        return f"{_subject(check)}{known} of {format_number(MIN_VALUES)} control values to compare"
    value = format_log(status.log_advance)
    return f"{_subject(check)}evidence of safety {value} of {format_number(ADVANCE_AT)}"


def _not_passing(status: CheckStatus) -> str:
    check, mine = status.check, status.progress
    if mine.problem:
        return f"{check.label}: cannot be read: {mine.problem} ({mine.unreadable} in a row)"
    if mine.value is None or mine.limit is None:
        return f"{check.label}: no value yet"
    return (
        f"{check.label}: {_value(mine.value)}, must be {_limit(status)} "
        f"({mine.breaches} in a row, {check.failure_limit} allowed)"
    )


def unreadable(status: CheckStatus) -> str:
    """A source has been unreadable for too long."""
    mine = status.progress
    return (
        f"{status.check.label} cannot be read: {mine.problem}, {mine.unreadable} times in a row "
        f"({status.check.error_limit} allowed)"
    )


def _value(value: float | None) -> str:
    return "no value" if value is None else f"{value:.4g}"


def _limit(status: CheckStatus) -> str:
    return f"{status.check.operator} {_value(status.progress.limit)}"


def probe_fired(window: Window, probe: ProbeReading) -> str:
    """Errors or values have risen where no control group is left, or too small a one."""
    left = _little_control(window)
    parts = []
    if probe.excess >= probe.fires_at or not probe.values:
        parts.append(
            f"errors rose where {left} "
            f"({_failing_users(window.treatment, 'treatment')} since the last evaluation); "
            f"control's last known rate is {format_number(100 * probe.rate)} %"
        )
    parts += [
        f"{label}: far more operations than control had are beyond control's last known "
        f"quantile, where {left}"
        for label in probe.values
    ]
    return "; ".join(parts)


def _little_control(window: Window) -> str:
    if window.has_control:
        return "less than a tenth of the users is left as control group"
    return "no control group is left"


def retreat(
    window: Window, probe: ProbeReading, *, reopens_control: bool, compares_errors: bool
) -> str:
    """The release goes back one stage.

    Args:
        window, probe: the window and what the probe says after it.
        reopens_control: whether that stage has a control group.
        compares_errors: whether a check compares the error rate with control.
    """
    back = "going back one stage"
    if reopens_control:
        back += " enlarges" if window.has_control else " reopens"
        back += " the control group"
        back += " for the comparison" if compares_errors or probe.values else NO_ERROR_CHECK
    return f"{probe_fired(window, probe)}; {back} (retreat {probe.retreats + 1} of {MAX_RETREATS})"


NO_ERROR_CHECK = ", but no check compares errors with it (error_rate: off)"


def retreats_spent(probe: ProbeReading) -> str:
    """The release has gone back as often as it may by itself."""
    return (
        f"errors rose {probe.retreats} times where little or no control group was left, and the "
        "release went back each time: a person must advance it or roll it back"
    )


def silence(milliseconds: int, window: Window, progress: Progress) -> str:
    """No operation ended in either arm for that long, and the probable cause."""
    span = duration(milliseconds)
    if progress.silent_exposures:
        return (
            f"no data: {progress.silent_exposures} exposures but no outcome for {span}: "
            "operations do not end, or their instances stopped reporting"
        )
    if window.live_instances == 0:
        return f"no data: no SDK instance has reported for {span}"
    if window.live_instances == 1:
        return f"no data: no exposures for {span}; 1 instance reports"
    if window.live_instances is not None:
        return f"no data: no exposures for {span}; {window.live_instances} instances report"
    return f"no data: no exposures for {span}"


def only_clients(clients: Progress) -> str:
    """Clients report, and their reports do not decide; empty where they do not report either."""
    outcomes = clients.stage_control.outcomes + clients.stage_treatment.outcomes
    if not outcomes:
        return ""
    return (
        f"; clients report {outcomes} outcomes in this stage, which decide nothing, because "
        "anyone can make them up (client_evidence)"
    )


def clients_say(reason: str) -> str:
    """Clients report a reason to hold; it can be made up, so a person must look."""
    return f"client reports say: {reason}; a person must decide, because anyone can make them up"


def silent_arm(arm: str, milliseconds: int, other: Counts) -> str:
    """No operation of one arm ended for that long while the other arm's did."""
    return (
        f"no data: no {arm} operation has ended for {duration(milliseconds)}, "
        f"while the other arm has {other.outcomes} in this stage"
    )


def lost_instances(window: Window) -> str:
    """Too many instances stopped reporting without a last report."""
    expected = (window.live_instances or 0) + window.lost_instances
    return (
        f"{window.lost_instances} of {expected} SDK instances stopped reporting without a last "
        "report: if they crashed, their errors are not counted"
    )


def tripped(trips: Trips) -> str:
    """Local breakers closed the release."""
    times = "once" if trips.count == 1 else f"{trips.count} times"
    return (
        f"local breakers closed the release {times}, for {duration(trips.milliseconds)} in total: "
        "their SDK instances could not reach the server, and the treatment failed there"
    )


def imbalance(split: SplitReading, window: Window) -> str:
    """The traffic is not split between the arms as designed."""
    evidence = f"evidence {format_log(split.log_evidence)}, limit {format_number(split.limit)}"
    probably = "bucketing or reporting is broken"
    if split.counted == "operations":
        probably += ", or very few users make most of the traffic"
    if not split.both:
        return (
            f"sample ratio: {split.counted} of earlier stages were not split as designed "
            f"({evidence}): {probably}"
        )
    share = 100.0 * split.treated / split.both
    shares = dict.fromkeys(stratum.share for stratum in window.strata if stratum.compared)
    design = ", ".join(f"{format_number(100.0 * share)} %" for share in shares)
    return (
        f"sample ratio: {split.treated:,} of {split.both:,} {split.counted} of this stage "
        f"({format_number(share)} %) had the treatment; "
        f"the stage opens {design} ({evidence}): {probably}"
    )


def _quiet_probe(progress: Progress) -> str:
    """The probe has not fired, or has nothing to compare with."""
    probe = progress.probe
    if not probe.seen:
        return "there was no control group to compare with"
    return (
        f"the probe is at {format_number(probe.excess)} of "
        f"{format_number(rule_of(progress).PROBE_FIRES_AT)}, against "
        f"control's last known rate of {format_number(100 * probe.rate)} %"
    )


def missing_time(elapsed: int, needed: int) -> str:
    """The stage is too young."""
    return f"{duration(elapsed)} of {duration(needed)} in this stage"


def missing_samples(arm: str, outcomes: int, needed: int) -> str:
    """An arm has too few outcomes."""
    return f"too few samples, {outcomes} of {needed} outcomes in the {arm} arm"


def all_checks_pass(progress: Progress, checks: Sequence[CheckStatus]) -> str:
    """Every check passes, and each that compares with control has enough evidence of safety."""
    blind = "" if any(each.check.compares_errors for each in checks) else f"; {ERRORS_NOT_COMPARED}"
    compared = [each for each in checks if each.check.sequential]
    if not compared:
        return f"every check passes{blind}"
    least = min(compared, key=lambda each: each.log_advance)
    highest = max(compared, key=lambda each: each.log_evidence)
    whose = "" if highest is least else f" ({highest.check.label})"
    return (
        f"{_subject(least.check)}evidence of safety "
        f"{format_log(least.log_advance)} reached {format_number(ADVANCE_AT)}, "
        f"evidence of harm {format_log(highest.log_evidence)}{whose}: "
        f"{_comparison(least, progress)}{blind}"
    )


ERRORS_NOT_COMPARED = "errors are not compared with control"


def nothing_compared(progress: Progress, checks: Sequence[CheckStatus]) -> str:
    """The stage has its time and samples, and no control group."""
    passing = any(not each.check.sequential for each in checks)
    passed = "every check passes" if passing else "no control group is left to compare with"
    return (
        f"{passed}; {_failing_users(progress.stage_treatment, 'treatment')}; "
        f"{_quiet_probe(progress)}"
    )


def noticeable_by_now(
    progress: Progress, checks: Sequence[CheckStatus], missing: Sequence[str], *, compared: bool
) -> str:
    """What would have been noticed in a stage that is left on time, and what it did not show."""
    errors = [each for each in checks if each.check.compares_errors]
    if not errors:
        noticed = ERRORS_NOT_COMPARED
    else:
        ratios = [each.detectable_ratio for each in errors if each.detectable_ratio is not None]
        noticed = noticeable(min(ratios, default=None))
    counts = (
        stage_failures(progress)
        if compared
        else _failing_users(progress.stage_treatment, "treatment")
    )
    return f"{noticed}; missing: {'; '.join(missing)}; {_highest_harm(checks)}{counts}"


def baked(
    progress: Progress, checks: Sequence[CheckStatus], missing: Sequence[str], *, compared: bool
) -> str:
    """What the completion of a release rests on, and what its last stage did not show."""
    lacks = f"; missing: {'; '.join(missing)}" if missing else ""
    counts = (
        stage_failures(progress)
        if compared
        else f"{_failing_users(progress.stage_treatment, 'treatment')}; {_quiet_probe(progress)}"
    )
    if not any(each.check.sequential for each in checks):
        return f"every check passes{lacks}; {counts}"
    return (
        "no stage follows, so no evidence of safety is needed"
        f"{lacks}; {_highest_harm(checks)}{counts}"
    )


def _highest_harm(checks: Sequence[CheckStatus]) -> str:
    """The highest evidence of harm; empty if no check compares with control."""
    compared = [each for each in checks if each.check.sequential]
    if not compared:
        return ""
    highest = max(compared, key=lambda each: each.log_evidence)
    return f"{_harm(highest)}, below {format_number(HOLD_AT)}: "


def window_outcomes(window: Window) -> int:
    """Return how many operations ended in a window, in both arms."""
    return total((window.control, window.treatment)).outcomes
