"""How a release and its ledger look in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import audience, count, instant, instant_from_ms
from tidegate_server.cli.ladder_view import ladder_facts
from tidegate_server.cli.output import Columns, cell, facts_grid, item_table, printable
from tidegate_server.decisions.evidence_words import harm, noticeable, safety, with_limit, wobble

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
    "sampled users": "sampled",
}

CHECK_COLUMNS: Columns = {
    "check": "label",
    "result": lambda check: _check_result(check),
    "": lambda check: "FAILED" if check["failed"] else "",
}

STAGE_BASIS = {
    "evidence": ", on evidence",
    "time": ", on time, not on evidence",
    "person": ", by a person",
}

NOT_COMPARED = "- (nothing is compared with control now)"

SPLIT_NOT_CHECKED = (
    "not checked: no SDK of this stage names the users of its sample; "
    "`tidegate instances` shows which SDKs do"
)

ENDED = frozenset({"completed", "rolled_back"})


def state_text(release: Json) -> str:
    """Return the state of a release now: ``running``, ``frozen``, ``disabled (baking)``."""
    state = str(release["state"]).replace("_", " ")
    if not release["ladder"]:
        return state
    first = release["ladder"][0]
    if first["cause"] == "disabled":
        return f"disabled ({state})"
    return "paused (full stop)" if first["state"] == "full stop" else str(first["state"])


def open_text(release: Json) -> str:
    """Return who gets the treatment now: ``5 % of everyone``, ``nobody``; empty: it has ended."""
    if not release["ladder"]:
        return ""
    return audience(release["stage"]) if release["open_percentage"] else "nobody"


def reason_text(release: Json) -> str:
    """Return why the release is in its state now, and since when."""
    return str(release["ladder"][0]["text"] if release["ladder"] else release["reason"])


def status_text(release: Json) -> str:
    """Return the state and the stage: ``running, 5 % of everyone (stage 2 of 5)``."""
    if not release["ladder"]:
        return state_text(release)
    stage, opened = release["stage"], open_text(release)
    to = opened if release["open_percentage"] else "open to nobody"
    return f"{state_text(release)}, {to} (stage {stage['number']} of {stage['of']})"


def status_line(release: Json) -> str:
    """Return a release on one line, for logs."""
    text = f"{release['flag']}: {status_text(release)}"
    if progress := release["progress"]:
        control, treatment = progress["control"], progress["treatment"]
        text += (
            f"; error rate: control {error_rate(control)}, treatment {error_rate(treatment)}"
            f"; {_evidence(progress)}"
        )
    reason = reason_text(release)
    return printable(f"{text}; {reason}" if reason else text)


def release_view(release: Json) -> Group:
    """Return everything about a release."""
    from rich.console import Group

    progress = release["progress"]
    if progress is None:
        return Group(_facts(release))
    clients = progress["client"]
    by_clients = [] if clients is None else clients["checks"]
    checks = [
        *progress["checks"],
        *({**each, "label": f"{each['label']}, from clients"} for each in by_clients),
    ]
    return Group(
        _facts(release),
        "",
        _arms(progress),
        *(("", item_table(checks, CHECK_COLUMNS)) if checks else ()),
        "",
        _decision_facts(release, progress),
    )


def _facts(release: Json) -> Table:
    from rich.text import Text

    stage, policy = release["stage"], release["policy"]
    rule = f" in rule {release['rule']}" if release["rule"] else ""
    reason = [("reason", release["reason"])]
    facts: list[tuple[str, object]] = [
        ("release", release["id"]),
        ("flag", f"{release['flag']}: {release['control']} to {release['treatment']}{rule}"),
        ("state", Text(state_text(release), style=_colour(release))),
        *(ladder_facts(release["ladder"]) if release["ladder"] else reason),
        *_last_change(release),
        ("open to", open_text(release)),
        ("stage", f"{stage['number']} of {stage['of']}, {stage['name']}: {audience(stage)}"),
        ("stage entered", _entered(release)),
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


def _last_change(release: Json) -> list[tuple[str, object]]:
    """Return the reason of the last change, unless what decides now says it already."""
    reason = release["reason"]
    said = not release["ladder"] or any(reason in each["text"] for each in release["ladder"])
    return [] if said or not reason else [("last change", reason)]


def _entered(release: Json) -> str:
    # A server of an earlier version does not say what an advance rested on.
    basis = release.get("stage_basis")
    return instant(release["stage_entered_at"]) + (STAGE_BASIS[basis] if basis else "")


def _colour(release: Json) -> str:
    disabled = bool(release["ladder"]) and release["ladder"][0]["cause"] == "disabled"
    return COLOURS["paused" if disabled else release["state"]]


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
    if check["compared"] is not None:
        numbers = harm(check["evidence"], check["rollback_at"])
        if not check["compared"]:
            return f"nothing is compared now; so far {numbers}"
        return f"{numbers}, {safety(check['advance'])}"
    if check["value"] is None or check["limit"] is None:
        return "no value yet"
    breaches = f"{check['breaches']} {'breach' if check['breaches'] == 1 else 'breaches'}"
    return f"{check['value']:.4g}, limit {check['limit']:.4g}, {breaches} in a row"


def _decision_facts(release: Json, progress: Json) -> Table:
    last = progress["last_decision"]
    compares, advances = progress["evidence"] is not None, progress["advance"] is not None
    limited = with_limit(progress["evidence"], "limit", progress["rollback_at"])
    needed = with_limit(progress["advance"], "needs", progress["advance_at"])
    return facts_grid(
        [
            ("evidence of harm", limited if compares else NOT_COMPARED),
            ("evidence of safety", needed if advances else NOT_COMPARED),
            ("noticed by now", _noticeable(release) if compares else ""),
            ("wobble", wobble(progress.get("wobble") or 0.0)),
            *([("split", SPLIT_NOT_CHECKED)] if _is_split_unknown(progress) else []),
            (
                "last decision",
                last and f"{last['action']}, {instant(last['at'])}: {last['reason']}",
            ),
            ("next evaluation", instant(progress["next_evaluation_at"])),
            ("users", _users(progress.get("users"))),  # earlier servers have none
        ]
    )


def _noticeable(release: Json) -> str:
    """Return what would have been noticed by now; empty if errors are not compared."""
    checks = release["policy"]["checks"]
    compares_errors = any(
        (each["metric"], each["compare"]) == ("error_rate", "control") for each in checks
    )
    # Version 1 of the statistics, and servers that knew no other, do not compute it.
    if not compares_errors or release.get("statistics", 1) == 1:
        return ""
    return noticeable(release["progress"]["detectable_ratio"])


def _is_split_unknown(progress: Json) -> bool:
    """Return whether both arms have outcomes in this stage, and no SDK names users of them."""
    arms = (progress["stage_control"], progress["stage_treatment"])
    return all(arm["outcomes"] for arm in arms) and not any(arm["sampled"] for arm in arms)


def _users(users: Json | None) -> str:
    """Return ``about 22 harmed (9 to 32), about 300 spared (90 to 420)``."""
    if users is None or not users["failed"]:
        return ""
    parts = (
        f"about {each['estimate']:,.0f} {word} ({each['low']:,.0f} to {each['high']:,.0f})"
        for word, each in (("harmed", users["harmed"]), ("spared", users["spared"]))
    )
    return ", ".join(parts)


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
    compares = decision["rollback_at"] > 0
    control = compares and any(0 < each["share"] < 1 for each in entry["window"]["strata"])
    evidence = {
        "evidence": _exp(decision["log_evidence"]) if compares else None,
        "rollback_at": decision["rollback_at"],
        "advance": _exp(decision["log_advance"]) if control else None,
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
    if progress["evidence"] is None:
        return "nothing compared with control"
    numbers = harm(progress["evidence"], progress["rollback_at"])
    if progress["advance"] is None:
        return f"{numbers}, no control group in this stage"
    return f"{numbers}, {safety(progress['advance'], progress['advance_at'])}"
