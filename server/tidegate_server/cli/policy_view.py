"""How a policy looks in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import audience, json_text, last_change
from tidegate_server.cli.output import Columns, facts_grid, item_table

if TYPE_CHECKING:
    from rich.console import RenderableType


STAGE_COLUMNS: Columns = {
    "stage": "name",
    "opens to": audience,
    "at least": "min_duration",
    "at most": lambda each: _time_limit(each),
    "operations per arm": "min_samples",
    "approvals": lambda each: _approval(each["approval"]),
}


def policy_view(policy: Json) -> Iterator[RenderableType]:
    """Return a policy's settings and its stages."""
    checks = ((f"check {number}", _check(each)) for number, each in enumerate(policy["checks"], 1))
    yield facts_grid(
        (
            ("policy", policy["key"]),
            ("name", policy["name"]),
            ("description", policy["description"]),
            ("interval", policy["interval"]),
            *checks,
            *_watchers(policy),
            ("error rate", _error_rate(policy)),
            ("no data", f"{policy['no_data']['action']} after {policy['no_data']['after']}"),
            ("bake", policy["bake"]),
            *_other_settings(policy),
            *((("last change", last_change(policy)),) if "revision" in policy else ()),
        )
    )
    yield ""
    yield item_table(policy["stages"], STAGE_COLUMNS)


def _watchers(policy: Json) -> Iterator[tuple[str, str]]:
    for each in policy.get("after_last_advance", ()):  # earlier servers have none
        yield f"check {each['check'] + 1} at the end", f"watched by {each['text']}"


def _error_rate(policy: Json) -> str:
    off = policy.get("error_rate") == "off"
    return "off: errors are not compared with control" if off else ""


def _other_settings(policy: Json) -> Iterator[tuple[str, str]]:
    if (budget := policy.get("harm_budget")) is not None:
        yield "harm budget", f"an advance may risk {100 * budget:g} % more errors in all traffic"
    if policy["holdback"]:
        yield "holdback", f"{policy['holdback']} % stay on control during the bake"
    rollback = policy["rollback"]
    if retries := rollback["max_retries"]:
        stage = str(rollback["to"]).replace("_", " ")
        number = f"{retries} {'retry' if retries == 1 else 'retries'}"
        yield "rollback", f"to {stage}, {number}, each after {rollback['cooldown']}"
    windows = policy["windows"]
    for window in windows["advance"]:
        days = " ".join(window["days"])
        yield "window", f"{days} {window['from']} to {window['to']} {windows['timezone']}"
    for freeze in windows["freeze"]:
        reason = f": {freeze['reason']}" if freeze["reason"] else ""
        yield "freeze", f"{freeze['from']} to {freeze['to']} {windows['timezone']}{reason}"
    for each in policy["confirm"]:
        yield "confirmation", f"asks {each['webhook']}"
    for each in policy["notify"]:
        events = f"{', '.join(each['events'])} events" if each["events"] else "all events"
        yield "notification", f"notifies {each['webhook']} of {events}"
    if policy["local_breaker"]:
        yield "local breaker", "an instance that cannot reach the server may close the release"


def _time_limit(stage: Json) -> str:
    if not stage["max_duration"]:
        return "-"
    # A server of an earlier version could only hold.
    return f"{stage['max_duration']}, then {stage.get('undecided', 'hold')}"


def _approval(gate: Json | None) -> str:
    if gate is None:
        return "-"
    approvers = f" of {', '.join(gate['approvers'])}" if gate["approvers"] else ""
    starter = ", not the starter" if gate["not_the_starter"] else ""
    timeout = f", {gate['on_timeout']} after {gate['timeout']}" if gate["timeout"] else ""
    return f"{gate['count']}{approvers}{starter}{timeout}"


def _check(check: Json) -> str:
    """Return a check with all its fields, which depend on its metric."""
    fields = ", ".join(
        f"{name} {_value(value)}"
        for name, value in check.items()
        if name not in ("metric", "compare")
    )
    return f"{check['metric']} against {check['compare']}: {fields}"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_value(inner)}" for name, inner in value.items())
    return value if isinstance(value, str) else json_text(value)
