"""The sentences that decisions give as their reasons, with the numbers they rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from tidegate.counts import Counts

from tidegate_server.decisions.decision import LARGEST_LOG
from tidegate_server.decisions.distributions import ENOUGH
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.probe import FIRES_AT, MOST_RETREATS
from tidegate_server.decisions.progress import CheckProgress, Progress
from tidegate_server.decisions.safety_evidence import ADVANCE_AT
from tidegate_server.decisions.sample_ratio import LOG_IMBALANCE_AT
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.evidence import Trips, total
from tidegate_server.domain.policy import DAY, HOUR, MINUTE, SECOND


class Standing(Protocol):
    """What a sentence needs of a check's standing."""

    @property
    def check(self) -> Check:
        """The check."""

    @property
    def progress(self) -> CheckProgress:
        """How far it has come."""

    @property
    def log_evidence(self) -> float:
        """ln E."""


def number(value: float) -> str:
    """A number to read: three digits where they matter, no exponents."""
    if value >= 1e6:
        return "more than a million"
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 0.001 else "less than 0.001"


def from_log(log: float) -> str:
    """A number given as its logarithm."""
    return number(math.exp(min(log, LARGEST_LOG)))


def duration(milliseconds: int) -> str:
    """A duration in its largest fitting unit: ``90 s``, ``15 min``, ``2 h``, ``3 d``."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if milliseconds >= 2 * unit or (milliseconds >= unit and milliseconds % unit == 0):
            return f"{number(round(milliseconds / unit, 1))} {name}"
    return f"{number(round(milliseconds / SECOND, 1))} s"


def failures(progress: Progress) -> str:
    """Who failed in both arms of this stage, where they can be compared."""
    treated, control = progress.compared_treatment, progress.compared_control
    return (
        f"{_failed(treated, 'treated')} against {_failed(control, 'control')} in this stage"
        + _wobble(progress)
    )


def _failed(counts: Counts, arm: str) -> str:
    users = "user" if counts.failing == 1 else "users"
    return f"{counts.failing} {arm} {users} failed in {counts.outcomes} operations"


def _wobble(progress: Progress) -> str:
    phi = max((check.guard.phi for check in progress.checks), default=1.0)
    return f" (the arms wobble, damped by {number(phi)})" if phi >= 1.5 else ""


def failed_check(
    check: Check, mine: CheckProgress, log_evidence: float, threshold: float, progress: Progress
) -> str:
    """A check's evidence has reached its threshold."""
    return (
        f"{_of(check)}evidence {from_log(log_evidence)} reached {number(threshold)}: "
        f"{_compared(check, mine, progress)}"
    )


def _compared(check: Check, mine: CheckProgress, progress: Progress) -> str:
    """What a check against the control group counts: who failed, or values beyond the cut."""
    if check.distribution is None or not check.sequential:
        return failures(progress)
    side = "above" if check.operator.large_is_bad else "below"
    if check.metric is Metric.LATENCY:
        side = "slower than"
    treated, control = mine.seen_treatment, mine.seen_control
    return (
        f"{treated.errors} of {treated.outcomes} treated operations were {side} control's "
        f"p{100 * check.quantile:g}, {control.errors} of {control.outcomes} control operations "
        "in this stage" + _wobble(progress)
    )


def _of(check: Check) -> str:
    """What the evidence is about, when it is not the error rate against control."""
    plain = check.metric is Metric.ERROR_RATE and check.sequential
    return "" if plain else f"{check.label}: "


def breached(check: Check, seen: CheckProgress) -> str:
    """A threshold was broken too often in a row."""
    return (
        f"{check.label}: {_value(seen.value)} where {_limit(check, seen)} is healthy, "
        f"{seen.breaches} times in a row ({check.failure_limit} tolerated)"
    )


def not_passing(check: Check, seen: CheckProgress) -> str:
    """A threshold check has no fresh healthy value."""
    if seen.problem:
        return f"{check.label}: unreadable, {seen.problem} ({seen.unreadable} in a row)"
    if seen.value is None or seen.limit is None:
        return f"{check.label}: no value yet"
    return (
        f"{check.label}: {_value(seen.value)} where {_limit(check, seen)} is healthy "
        f"({seen.breaches} in a row, {check.failure_limit} tolerated)"
    )


def unreadable(check: Check, seen: CheckProgress) -> str:
    """A source has been unreadable for too long."""
    return (
        f"{check.label} cannot be read: {seen.problem}, {seen.unreadable} times in a row "
        f"({check.error_limit} tolerated)"
    )


def suspicious(check: Check, mine: CheckProgress, log_evidence: float, progress: Progress) -> str:
    """E is too high for an advance, and below its threshold."""
    return (
        f"{_of(check)}rollback evidence {from_log(log_evidence)} is too high to go on: "
        f"{_compared(check, mine, progress)}"
    )


def _value(value: float | None) -> str:
    return "no value" if value is None else f"{value:.4g}"


def _limit(check: Check, seen: CheckProgress) -> str:
    return f"{check.operator} {_value(seen.limit)}"


def probe_fired(window: Window, progress: Progress) -> str:
    """Errors have risen where no control group is left."""
    treated = window.treatment
    return (
        f"errors rose at 100 %: {_failed(treated, 'treated')} since the last evaluation, "
        f"where the control group's last rate was {number(100 * progress.probe.rate)} %"
    )


def retreat(window: Window, progress: Progress) -> str:
    """Why the release goes back a stage."""
    return (
        f"{probe_fired(window, progress)}; control reopened, so that the comparison decides "
        f"(retreat {progress.probe.retreats + 1} of {MOST_RETREATS})"
    )


RETREATS_SPENT = (
    "errors rise at 100 %, the comparison finds them tolerable: the release went back "
    f"{MOST_RETREATS} times and waits for a person to advance it or roll it back"
)


def silence(milliseconds: int, window: Window, progress: Progress) -> str:
    """Nothing ended in either arm for that long: which silence it is."""
    span = duration(milliseconds)
    if progress.silent_exposures:
        return (
            f"no data: {progress.silent_exposures} exposures but no outcome for {span}; "
            "operations do not end, or their instances have stopped reporting"
        )
    if window.live_instances == 0:
        return f"no data: no SDK instance has reported for {span}"
    if window.live_instances is not None:
        return f"no data: nobody was exposed for {span}, {window.live_instances} instances report"
    return f"no data: nobody was exposed for {span}"


def silent_arm(arm: str, milliseconds: int, other: Counts) -> str:
    """One arm has had no outcome for that long while the other has."""
    return (
        f"no data: no {arm} operation has ended for {duration(milliseconds)}, "
        f"while the other arm has {other.outcomes} in this stage"
    )


def lost(window: Window) -> str:
    """Instances that should report do not."""
    expected = (window.live_instances or 0) + window.lost_instances
    return (
        f"{window.lost_instances} of {expected} SDK instances stopped reporting without saying "
        "that they end: if they crash, their errors are not counted"
    )


def tripped(trips: Trips) -> str:
    """Instances closed the release for themselves."""
    times = "once" if trips.count == 1 else f"{trips.count} times"
    return (
        f"SDK instances that could not reach the server closed the release for themselves {times}, "
        f"for {duration(trips.milliseconds)} in all, because its treatment failed there"
    )


def imbalance(log_evidence: float, progress: Progress, window: Window) -> str:
    """The arms' traffic is not split as designed."""
    treated = progress.compared_treatment.outcomes
    both = treated + progress.compared_control.outcomes
    share = 100.0 * treated / both if both else 0.0
    design = ", ".join(
        f"{number(100.0 * stratum.share)} %" for stratum in window.strata if stratum.compared
    )
    return (
        f"{treated} of {both} operations ({number(share)} %) were treated by a design of {design} "
        f"(evidence {from_log(log_evidence)} of {from_log(LOG_IMBALANCE_AT)}): bucketing or "
        "reporting is broken, or very few users make most of the traffic"
    )


def quiet_probe(progress: Progress) -> str:
    """The probe has not fired."""
    if not progress.probe.seen:
        return "no control group to compare with"
    return f"probe {number(progress.probe.excess)} of {number(FIRES_AT)}"


def missing_time(elapsed: int, needed: int) -> str:
    """The stage is too young."""
    return f"{duration(elapsed)} of {duration(needed)} in this stage"


def missing_samples(arm: str, seen: int, needed: int) -> str:
    """An arm has too few outcomes: the third silence."""
    return f"too few samples, {seen} of {needed} outcomes in the {arm} arm"


def missing_advance(check: Check, mine: CheckProgress) -> str:
    """A has not reached its threshold."""
    if check.distribution is not None and mine.control.total < ENOUGH:
        known = number(math.floor(mine.control.total))
        return f"{_of(check)}{known} of {number(ENOUGH)} values of control to compare with"
    log_advance = mine.advance.log_value
    return f"{_of(check)}advance evidence {from_log(log_advance)} of {number(ADVANCE_AT)}"


def harmless(progress: Progress, checks: Sequence[Standing]) -> str:
    """Every check passes, A of the sequential ones with its threshold reached."""
    compared = [each for each in checks if each.check.sequential]
    if not compared:
        return f"every check passes: {failures(progress)}"
    least = min(each.progress.advance.log_value for each in compared)
    highest = max(each.log_evidence for each in compared)
    return (
        f"advance evidence {from_log(least)} reached {number(ADVANCE_AT)}, "
        f"rollback evidence {from_log(highest)}: {failures(progress)}"
    )


def uncompared(progress: Progress) -> str:
    """Time and samples are there, and there is no control group."""
    return f"{_failed(progress.stage_treatment, 'treated')}; {quiet_probe(progress)}"


def all_outcomes(window: Window) -> int:
    """Operations that ended in a window, both arms."""
    return total((window.control, window.treatment)).outcomes
