"""How a policy looks in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import audience, instant
from tidegate_server.cli.output import facts_grid, table

if TYPE_CHECKING:
    from rich.console import RenderableType


def picture(found: Json) -> Iterator[RenderableType]:
    """A policy's facts and its stages."""
    checks = ((f"check {number}", _check(each)) for number, each in enumerate(found["checks"], 1))
    yield facts_grid(
        (
            ("policy", found["key"]),
            ("name", found["name"]),
            ("description", found["description"]),
            ("interval", found["interval"]),
            *checks,
            ("no data", f"{found['no_data']['action']} after {found['no_data']['after']}"),
            ("bake", found["bake"]),
            *_gates(found),
            *_written(found),
        )
    )
    yield ""
    yield table(
        ("stage", "opens", "at least", "at most", "operations in each arm", "approval"),
        [
            (
                each["name"],
                audience(each),
                each["min_duration"],
                each["max_duration"] or "-",
                each["min_samples"],
                _approval(each["approval"]),
            )
            for each in found["stages"]
        ],
    )


def _gates(found: Json) -> Iterator[tuple[str, str]]:
    if found["holdback"]:
        yield "holdback", f"{found['holdback']} % kept on control during the bake"
    rollback = found["rollback"]
    if rollback["max_retries"]:
        where = str(rollback["to"]).replace("_", " ")
        yield (
            "rollback",
            f"to {where}, {rollback['max_retries']} retries, each after {rollback['cooldown']}",
        )
    windows = found["windows"]
    for window in windows["advance"]:
        days = " ".join(window["days"])
        yield "window", f"{days} {window['from']} to {window['to']} {windows['timezone']}"
    for freeze in windows["freeze"]:
        why = f": {freeze['reason']}" if freeze["reason"] else ""
        yield "freeze", f"{freeze['from']} to {freeze['to']} {windows['timezone']}{why}"
    for each in found["confirm"]:
        yield "confirmed by", each["webhook"]
    for each in found["notify"]:
        yield "tells", f"{each['webhook']} of {', '.join(each['events']) or 'everything'}"
    if found["local_breaker"]:
        yield "breaker", "instances without the server may close it for themselves"


def _written(found: Json) -> Iterator[tuple[str, str]]:
    if "revision" in found:
        yield "changed", f"{instant(found['updated_at'])}, revision {found['revision']}"


def _approval(gate: Json | None) -> str:
    if gate is None:
        return "-"
    whom = f" of {', '.join(gate['approvers'])}" if gate["approvers"] else ""
    until = f", else {gate['on_timeout']} after {gate['timeout']}" if gate["timeout"] else ""
    starter = ", not the starter" if gate["not_the_starter"] else ""
    return f"{gate['count']}{whom}{starter}{until}"


def _check(check: Json) -> str:
    """A check's fields in their own words, whichever it has."""
    rest = ", ".join(
        f"{name} {_value(value)}" for name, value in check.items() if name not in _LEADING
    )
    return f"{check['metric']} against {check['compare']}: {rest}"


_LEADING = ("metric", "compare")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_value(inner)}" for name, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)
