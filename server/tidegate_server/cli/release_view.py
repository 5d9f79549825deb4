"""How a release and its ledger look in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import audience, instant, instant_of
from tidegate_server.cli.output import cell, clean, facts_grid, table

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

COLOURS = {
    "running": "cyan",
    "baking": "green",
    "draft": "dim",
    "holding": "yellow",
    "awaiting_approval": "yellow",
    "cooldown": "magenta",
    "paused": "yellow",
    "killed": "bold red",
    "completed": "bold green",
    "rolled_back": "bold magenta",
}
"""Beside the word itself: nothing is said by colour alone."""

ENDED = frozenset({"completed", "rolled_back"})


def state(found: Json) -> str:
    """A release's state in words."""
    words = str(found["state"]).replace("_", " ")
    return f"{words} (full stop)" if found["stopped"] else words


def standing(found: Json) -> str:
    """Where a release stands: ``running, 5 % of everyone (stage 2 of 5)``."""
    if found["state"] in ENDED:
        return state(found)
    stage = found["stage"]
    return f"{state(found)}, {audience(stage)} (stage {stage['number']} of {stage['of']})"


def picture(found: Json) -> Group:
    """All that one wants to know about a release."""
    from rich.console import Group

    progress = found["progress"]
    if progress is None:
        return Group(_facts(found))
    checks = progress["checks"]
    return Group(
        _facts(found),
        "",
        _arms(progress),
        *(("", _checks(checks)) if checks else ()),
        "",
        _verdict(progress),
    )


def _facts(found: Json) -> Table:
    from rich.text import Text

    stage, policy = found["stage"], found["policy"]
    rule = f" in rule {found['rule']}" if found["rule"] else ""
    facts: list[tuple[str, object]] = [
        ("release", found["id"]),
        ("flag", f"{found['flag']}: {found['control']} to {found['treatment']}{rule}"),
        ("state", Text(state(found), style=COLOURS.get(found["state"], ""))),
        ("reason", found["reason"]),
        ("stage", f"{stage['number']} of {stage['of']}, {stage['name']}: {audience(stage)}"),
        ("in it since", instant(found["stage_entered_at"])),
        ("policy", f"{policy['key']}, revision {found['policy_revision']}"),
        ("started", f"{instant(found['started_at'])} by {found['started_by']}"),
        ("ended", instant(found["ended_at"])),
    ]
    if found["attempt"] > 1:
        facts.append(("attempt", found["attempt"]))
    if found["cooldown_until"] and found["state"] not in ENDED:
        facts.append(("tries again", instant(found["cooldown_until"])))
    if found["approval_asked_at"]:
        facts.append(("approval asked", instant(found["approval_asked_at"])))
    facts += [
        ("approved", f"{instant(each['at'])} by {each['actor']}: {each['comment'] or 'no comment'}")
        for each in found["approvals"]
    ]
    return facts_grid(facts)


def _arms(progress: Json) -> Table:
    arms = (
        ("control", progress["control"]),
        ("treatment", progress["treatment"]),
        ("control, this stage", progress["stage_control"]),
        ("treatment, this stage", progress["stage_treatment"]),
    )
    return table(
        ("", "exposures", "operations", "errors", "error rate", "users who failed"),
        [
            (
                name,
                arm["exposures"],
                arm["outcomes"],
                arm["errors"],
                error_rate(arm),
                arm["failing"],
            )
            for name, arm in arms
        ],
    )


def _checks(checks: list[Json]) -> Table:
    return table(
        ("check", "how it stands", ""),
        [
            (each["label"], _standing_of(each), "FAILED" if each["failed"] else "")
            for each in checks
        ],
    )


def _standing_of(check: Json) -> str:
    if check["problem"]:
        return f"unreadable, {check['unreadable']} in a row: {check['problem']}"
    if check["rollback_at"] is not None and check["limit"] is None and check["value"] is None:
        return (
            f"against it {against(check['evidence'], check['rollback_at'])}, "
            f"to advance {amount(check['advance'])}"
        )
    if check["value"] is None:
        return "no value yet"
    return (
        f"{check['value']:.4g}, limit {check['limit']:.4g}, {check['breaches']} breaches in a row"
    )


def _verdict(progress: Json) -> Table:
    decision = progress["last_decision"]
    facts = [
        ("evidence against it", against(progress["evidence"], progress["rollback_at"])),
        ("evidence to advance", against(progress["advance"], progress["advance_at"])),
        ("last decision", decision and _decided(decision)),
        ("next evaluation", instant(progress["next_evaluation_at"])),
    ]
    return facts_grid(facts)


def _decided(decision: Json) -> str:
    return f"{decision['action']}, {instant(decision['at'])}: {decision['reason']}"


def line(found: Json) -> str:
    """A release in one line, for logs."""
    words = f"{found['flag']}: {standing(found)}"
    if progress := found["progress"]:
        control, treatment = progress["control"], progress["treatment"]
        words += (
            f"; errors {error_rate(control)} in control, {error_rate(treatment)} in treatment"
            f"; against it {against(progress['evidence'], progress['rollback_at'])}"
            f", to advance {against(progress['advance'], progress['advance_at'])}"
        )
    return clean(f"{words}; {found['reason']}" if found["reason"] else words)


def ledger(entries: Iterable[Json]) -> Group:
    """Decisions, each with what its window counted, the evidence it saw, and its reason."""
    from rich.console import Group
    from rich.padding import Padding

    lines: list[RenderableType] = []
    for each in entries:
        entry = each["entry"]
        lines.append(cell(_decision_line(entry)))
        lines.append(Padding(cell(entry["decision"]["reason"]), (0, 0, 0, 4)))
    return Group(*lines)


def _decision_line(entry: Json) -> str:
    decision, before, after = entry["decision"], entry["before"], entry["after"]
    stages = f"stage {before['stage']}"
    if before["stage"] != after["stage"]:
        stages += f" > {after['stage']}"
    evidence = against(_exp(decision["log_evidence"]), decision["rollback_at"])
    harmless = against(_exp(decision["log_advance"]), decision["advance_at"])
    trips = entry["window"].get("trips", {}).get("count", 0)  # earlier versions wrote none
    alone = f"; closed by instances without the server: {trips:,}" if trips else ""
    return (
        f"{instant_of(entry['at_ms'])}  {stages:<11}  {decision['action']:<8}  "
        f"failed: control {_counted(entry['window'], 'control')}, "
        f"treatment {_counted(entry['window'], 'treatment')}; "
        f"against it {evidence}, to advance {harmless}{alone}"
    )


def _counted(window: Json, arm: str) -> str:
    """Errors of operations in a window: ``3 of 210``."""
    counts = [stratum[arm] for stratum in window["strata"]]
    errors = sum(each["errors"] for each in counts)
    return f"{errors:,} of {sum(each['outcomes'] for each in counts):,}"


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))


def error_rate(arm: Json) -> str:
    """Errors per operation that ended."""
    return f"{arm['errors'] / arm['outcomes']:.2%}" if arm["outcomes"] else "-"


def against(value: float | None, limit: float | None) -> str:
    """An amount of evidence beside what it has to reach."""
    if value is None:
        return "-"
    return amount(value) if limit is None else f"{amount(value)} of {amount(limit)}"


def amount(value: float) -> str:
    """A number between nothing and very much in a few characters."""
    if value >= 1e6:
        return f"{value:.0e}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
