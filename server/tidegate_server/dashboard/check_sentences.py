"""What a check of a policy does, and when, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tidegate_server.dashboard import words
from tidegate_server.domain.checks import OnFailure

DOES: Final[Mapping[str, str]] = {
    OnFailure.ROLLBACK: "rolls back",
    OnFailure.PAUSE: "pauses",
    OnFailure.WARN: "only warns",
}
"""What a failed check does."""

ICONS: Final[Mapping[str, str]] = {
    OnFailure.ROLLBACK: "back",
    OnFailure.PAUSE: "pause",
    OnFailure.WARN: "warn",
}

BAD: Final[Mapping[str, str]] = {
    "<=": "is above",
    "<": "is not below",
    ">=": "is below",
    ">": "is not above",
}
"""What a bad value is, by how a healthy one compares with the threshold."""


@dataclass(frozen=True, slots=True)
class CheckRule:
    """What a check does: an icon, a verb such as "Rolls back", and when."""

    icon: str
    verb: str
    when: str


def check_rule(check: Mapping[str, Any]) -> CheckRule:
    """Return what a check does.

    Args:
        check: of a policy, as the API answers it.
    """
    does = check["on_failure"]
    return CheckRule(ICONS[does], DOES[does].capitalize(), f"when {_when(check)}")


def _when(check: Mapping[str, Any]) -> str:
    if check["compare"] == "control" and check["metric"] != "prometheus":
        return f"{_worse_than_control(check)}{_false_alarm(check)}"
    what, bad = _measured(check), BAD[check["operator"]]
    times = words.counted(check["failure_limit"] + 1, "time")
    if check["compare"] == "absolute":
        return f"{what} {bad} {_value(check, check['threshold'])}, {times} in a row."
    base = "is with the control" if check["compare"] == "control" else "was before the release"
    return f"{what} {bad} what it {base}{_tolerated(check, 'of that')}, {times} in a row."


def _measured(check: Mapping[str, Any]) -> str:
    """Return the value that is compared."""
    match check["metric"]:
        case "error_rate":
            return "the share of failed operations"
        case "latency":
            return f"latency p{100 * check['quantile']:g}"
        case "custom":
            return f"{check['measure']} p{100 * check['quantile']:g}"
    return "the answer of its Prometheus query"


def _value(check: Mapping[str, Any], value: float) -> str:
    """Return a value of what is measured with its unit."""
    match check["metric"]:
        case "error_rate":
            return words.percent(100 * value)
        case "latency":
            return words.duration(1000 * value)
    return words.number(value)


def _worse_than_control(check: Mapping[str, Any]) -> str:
    """Return what is compared with the control group at the same time, and how much is allowed."""
    if check["metric"] == "error_rate":
        allowed = _tolerated(check, "of the control's rate", share=True)
        return f"users fail more often than with the control{allowed}."
    share = words.percent(100 * check["quantile"])
    allowed = _tolerated(check, "of the control's share", share=True)
    if check["metric"] == "latency":
        return (
            f"more operations are slow than with the control{allowed}. Slow is slower than {share} "
            "of the control's."
        )
    large_is_bad = check["operator"] in ("<=", "<")
    which, side = ("high", "above") if large_is_bad else ("low", "below")
    beyond = share if large_is_bad else words.percent(100 * (1 - check["quantile"]))
    return (
        f"more values of {check['measure']} are {which} than with the control{allowed}. "
        f"{which.capitalize()} is {side} {beyond} of the control's."
    )


def _tolerated(check: Mapping[str, Any], of: str, *, share: bool = False) -> str:
    """Return how much worse is allowed: ``, by more than 5 % of that plus 0.1 s``.

    Args:
        check: as the API answers it.
        of: of what the relative part is.
        share: whether a share of operations is compared, whatever is measured.
    """
    tolerance, parts = check["tolerance"], []
    if tolerance["relative"]:
        parts.append(f"{words.percent(100 * tolerance['relative'])} {of}")
    if tolerance["absolute"]:
        of_shares = share or check["metric"] == "error_rate"
        absolute = tolerance["absolute"]
        points = f"{words.number(100 * absolute)} percentage points"
        parts.append(points if of_shares else _value(check, absolute))
    return f", by more than {' plus '.join(parts)}" if parts else ""


def _false_alarm(check: Mapping[str, Any]) -> str:
    stops = "warns of" if check["on_failure"] == OnFailure.WARN else "stops"
    return f" It {stops} a harmless release at most once in {round(1 / check['false_alarm']):,}."
