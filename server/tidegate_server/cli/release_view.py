"""How a release and its ledger look in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import audience, count, instant, instant_from_ms
from tidegate_server.cli.output import Columns, cell, facts_grid, item_table, printable

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
"""Colours only repeat what the text says."""

ARM_COLUMNS: Columns = {
    "": "name",
    "exposures": "exposures",
    "operations": "outcomes",
    "errors": "errors",
    "error rate": lambda arm: error_rate(arm),
    "failing users": "failing",
}

CHECK_COLUMNS: Columns = {
    "check": "label",
    "result": lambda check: _check_result(check),
    "": lambda check: "FAILED" if check["failed"] else "",
}

ENDED = frozenset({"completed", "rolled_back"})


def state_text(release: Json) -> str:
    """Return the state of a release: ``running``, ``paused (full stop)``."""
    state = str(release["state"]).replace("_", " ")
    return f"{state} (full stop)" if release["stopped"] else state


def status_text(release: Json) -> str:
    """Return the state and the stage: ``running, 5 % of everyone (stage 2 of 5)``."""
    if release["state"] in ENDED:
        return state_text(release)
    stage = release["stage"]
    return f"{state_text(release)}, {audience(stage)} (stage {stage['number']} of {stage['of']})"


def status_line(release: Json) -> str:
    """Return a release on one line, for logs."""
    text = f"{release['flag']}: {status_text(release)}"
    if progress := release["progress"]:
        control, treatment = progress["control"], progress["treatment"]
        text += (
            f"; error rate: control {error_rate(control)}, treatment {error_rate(treatment)}"
            f"; {_evidence(progress)}"
        )
    return printable(f"{text}; {release['reason']}" if release["reason"] else text)


def release_view(release: Json) -> Group:
    """Return everything about a release."""
    from rich.console import Group

    progress = release["progress"]
    if progress is None:
        return Group(_facts(release))
    clients = progress["client"]
    checks = progress["checks"]
    if clients is not None:
        checks += [{**each, "label": f"clients: {each['label']}"} for each in clients["checks"]]
    return Group(
        _facts(release),
        "",
        _arms(progress),
        *(("", item_table(checks, CHECK_COLUMNS)) if checks else ()),
        "",
        _decision_facts(progress),
    )


def _facts(release: Json) -> Table:
    from rich.text import Text

    stage, policy = release["stage"], release["policy"]
    rule = f" in rule {release['rule']}" if release["rule"] else ""
    facts: list[tuple[str, object]] = [
        ("release", release["id"]),
        ("flag", f"{release['flag']}: {release['control']} to {release['treatment']}{rule}"),
        ("state", Text(state_text(release), style=COLOURS.get(release["state"], ""))),
        ("reason", release["reason"]),
        ("stage", f"{stage['number']} of {stage['of']}, {stage['name']}: {audience(stage)}"),
        ("stage entered", instant(release["stage_entered_at"])),
        ("policy", f"{policy['key']}, revision {release['policy_revision']}"),
        ("started", f"{instant(release['started_at'])} by {release['started_by']}"),
        ("ended", instant(release["ended_at"])),
    ]
    if release["attempt"] > 1:
        facts.append(("attempt", release["attempt"]))
    if release["cooldown_until"] and release["state"] not in ENDED:
        facts.append(("next attempt", instant(release["cooldown_until"])))
    if release["approval_asked_at"]:
        facts.append(("approval requested", instant(release["approval_asked_at"])))
    facts += [("warning", each["detail"]) for each in release["warnings"]]
    facts += [
        ("approved", f"{instant(each['at'])} by {each['actor']}: {each['comment'] or 'no comment'}")
        for each in release["approvals"]
    ]
    return facts_grid(facts)


def _arms(progress: Json) -> Table:
    arms = {
        "control": progress["control"],
        "treatment": progress["treatment"],
        "control, this stage": progress["stage_control"],
        "treatment, this stage": progress["stage_treatment"],
    }
    if clients := progress["client"]:
        arms |= {
            "control, from clients": clients["control"],
            "treatment, from clients": clients["treatment"],
        }
    return item_table([{**arm, "name": name} for name, arm in arms.items()], ARM_COLUMNS)


def _check_result(check: Json) -> str:
    if check["problem"]:
        return f"no value {count(check['unreadable'], 'time')} in a row: {check['problem']}"
    if check["rollback_at"] is not None and check["limit"] is None and check["value"] is None:
        harm = with_limit(check["evidence"], "rolls back at", check["rollback_at"])
        return f"evidence of harm {harm}, evidence of safety {amount(check['advance'])}"
    if check["value"] is None:
        return "no value yet"
    breaches = f"{check['breaches']} {'breach' if check['breaches'] == 1 else 'breaches'}"
    return f"{check['value']:.4g}, limit {check['limit']:.4g}, {breaches} in a row"


def _decision_facts(progress: Json) -> Table:
    last = progress["last_decision"]
    harm = with_limit(progress["evidence"], "rolls back at", progress["rollback_at"])
    safety = with_limit(progress["advance"], "advances at", progress["advance_at"])
    return facts_grid(
        [
            ("evidence of harm", harm),
            ("evidence of safety", safety),
            (
                "last decision",
                last and f"{last['action']}, {instant(last['at'])}: {last['reason']}",
            ),
            ("next evaluation", instant(progress["next_evaluation_at"])),
        ]
    )


def ledger_view(entries: Iterable[Json]) -> Group:
    """Return decisions: the counts of the window, the evidence, and the reason."""
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
    evidence = {
        "evidence": _exp(decision["log_evidence"]),
        "rollback_at": decision["rollback_at"],
        "advance": _exp(decision["log_advance"]),
        "advance_at": decision["advance_at"],
    }
    trips = entry["window"].get("trips", {}).get("count", 0)  # earlier versions wrote none
    tripped = f"; closed by local breakers: {trips:,}" if trips else ""
    clients = entry["window"].get("client")  # earlier versions wrote none
    reported = "" if clients is None else f"; clients: {_failed(clients)}"
    return (
        f"{instant_from_ms(entry['at_ms'])}  {stages:<11}  {decision['action']:<8}  "
        f"failed: {_failed(entry['window'])}; {_evidence(evidence)}{tripped}{reported}"
    )


def _failed(window: Json) -> str:
    """Return the errors of both arms: ``control 3 of 210, treatment 1 of 90``."""
    return f"control {_errors(window, 'control')}, treatment {_errors(window, 'treatment')}"


def _errors(window: Json, arm: str) -> str:
    """Return the errors of an arm's operations in a window: ``3 of 210``."""
    counts = [stratum[arm] for stratum in window["strata"]]
    errors = sum(each["errors"] for each in counts)
    return f"{errors:,} of {sum(each['outcomes'] for each in counts):,}"


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))


def error_rate(arm: Json) -> str:
    """Return errors per finished operation, in percent."""
    return f"{100 * arm['errors'] / arm['outcomes']:.2f} %" if arm["outcomes"] else "-"


def _evidence(progress: Json) -> str:
    harm = with_limit(progress["evidence"], "rolls back at", progress["rollback_at"])
    safety = with_limit(progress["advance"], "advances at", progress["advance_at"])
    return f"evidence of harm {harm}, evidence of safety {safety}"


def with_limit(value: float | None, effect: str, limit: float | None) -> str:
    """Return evidence and its limit: ``1,155 (rolls back at 200)``."""
    if value is None:
        return "-"
    return amount(value) if limit is None else f"{amount(value)} ({effect} {limit:,g})"


def amount(value: float) -> str:
    """Return a number of any size in a few characters."""
    if value >= 1e6:
        return f"{value:.0e}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
