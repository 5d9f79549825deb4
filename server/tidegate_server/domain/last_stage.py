"""What watches each check after the last advance, when little or no control is left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tidegate.epochs import LARGEST_SHARE

from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure
from tidegate_server.domain.policy import Policy
from tidegate_server.errors import FieldProblem

TIMES_AS_MANY = 3.0
"""How many times as many values beyond the control's quantile the probe of values asks for."""


class Watcher(StrEnum):
    """What can watch a check after the last advance."""

    HOLDBACK = "holdback"
    PROBE = "probe"
    VALUE_PROBE = "value_probe"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class WatchedCheck:
    """What watches one check after the last advance.

    Attributes:
        number: the check's place in the policy, from 0.
        label: the check in words.
        watchers: what watches it; empty: nothing.
        only_warns: whether its failure only warns. The probe of values asks nothing then.
    """

    number: int
    label: str
    watchers: tuple[Watcher, ...]
    only_warns: bool = False

    @property
    def text(self) -> str:
        """What watches it, in words."""
        return " and ".join(_WORDS[each] for each in self.watchers) or "nothing, as it only warns"


_WORDS = {
    Watcher.HOLDBACK: "the control group of the holdback",
    Watcher.PROBE: "the probe of errors",
    Watcher.VALUE_PROBE: "the probe of values",
    Watcher.LIMIT: "a limit that needs no control group",
}


def watched_checks(policy: Policy) -> tuple[WatchedCheck, ...]:
    """Return what watches each check after the last advance, in the policy's order."""
    return tuple(
        WatchedCheck(
            number,
            check.label,
            tuple(_watchers(policy, check)),
            check.on_failure is OnFailure.WARN,
        )
        for number, check in enumerate(policy.checks)
    )


def unwatched_problems(policy: Policy) -> Iterator[FieldProblem]:
    """Yield a problem for each check that nothing watches after the last advance.

    A check that only warns may be unwatched: it decides nothing in the other stages either.
    """
    for each in watched_checks(policy):
        if not each.watchers and not each.only_warns:
            yield FieldProblem(
                f"/checks/{each.number}",
                f"Nothing watches the check {each.label} after the last advance: "
                f"{_why_unwatched(policy.checks[each.number])}",
            )


def _watchers(policy: Policy, check: Check) -> Iterator[Watcher]:
    if check.compare is not Compare.CONTROL:
        yield Watcher.LIMIT
        return
    if policy.holdback:
        yield Watcher.HOLDBACK
    probed = not _has_enough_control(policy, len(policy.stages)) and any(
        _has_enough_control(policy, earlier) for earlier in range(1, len(policy.stages))
    )
    if probed and check.metric is Metric.ERROR_RATE:
        yield Watcher.PROBE
    elif probed and check.distribution is not None and _asks_probe(check):
        yield Watcher.VALUE_PROBE
    elif not policy.holdback and _has_limit(policy, check):
        yield Watcher.LIMIT


def _has_enough_control(policy: Policy, stage: int) -> bool:
    """Return whether a stage (from 1) keeps enough control to notice a regression soon.

    Otherwise the probes watch it, with what they have learned in a stage that does.
    """
    return policy.opened(stage) / 100.0 <= LARGEST_SHARE


def _asks_probe(check: Check) -> bool:
    """Return whether the probe of values goes back a stage for a check."""
    return check.on_failure is not OnFailure.WARN and _can_be_probed(check)


def _can_be_probed(check: Check) -> bool:
    """Return whether more values can lie beyond the quantile than the probe asks for."""
    return TIMES_AS_MANY * check.share_beyond < 1.0


def _has_limit(policy: Policy, check: Check) -> bool:
    """Return whether another check measures the same and needs no control group."""
    return check.metric is not Metric.PROMETHEUS and any(
        other.compare is not Compare.CONTROL
        and (other.metric, other.distribution) == (check.metric, check.distribution)
        for other in policy.checks
    )


def _why_unwatched(check: Check) -> str:
    holdback = "Keep a holdback (for example holdback: 5)"
    if check.metric is Metric.PROMETHEUS:
        return (
            "its query for control finds nothing at 100 %, so the release would hold for ever. "
            f"{holdback}, or write compare: absolute with a threshold."
        )
    what = str(check.metric) if check.metric is not Metric.CUSTOM else check.measure
    limit = f"or add a check of {what} with compare: absolute and a threshold."
    if check.metric is Metric.ERROR_RATE or _can_be_probed(check):
        return (
            "no stage before the last one keeps a tenth or more on control, so what is usual is "
            f"not known. Add a stage of 90 % or less, or keep a holdback (for example holdback: "
            f"5), {limit}"
        )
    return (
        f"{100 * check.share_beyond:.3g} % of control's values lie beyond this quantile, and the "
        "probe needs three times as many to notice anything. Choose a quantile nearer to the bad "
        f"end (for example {0.95 if check.operator.large_is_bad else 0.05}), keep a holdback (for "
        f"example holdback: 5), {limit}"
    )
