"""What a release still needs to leave its stage: as rows with bars, and in a sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from tidegate_server.dashboard import words


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a stage needs.

    Attributes:
        kind: of the gate.
        share: how much of it there is, in percent, for the bar; None: there is no bar.
        have, need: in words.
    """

    kind: str
    what: str
    met: bool
    share: float | None
    have: str
    need: str
    waived: bool = False


def needs(release: dict[str, Any]) -> list[Need]:
    """Return what the present stage needs, each check by its label."""
    progress = release["progress"] or {}
    labels = {check["number"]: check["label"] for check in progress.get("checks", [])}
    return [_need(gate, labels, release) for gate in progress.get("gates", [])]


def _need(gate: dict[str, Any], labels: dict[int, str], release: dict[str, Any]) -> Need:
    kind, have, need = gate["kind"], gate["have"], gate["need"]
    label = labels.get(gate["check"], "") if gate["check"] is not None else ""
    label = label.removesuffix(" against control")
    by = " by clients" if gate["source"] == "client" else ""
    match kind:
        case "time" | "cooldown":
            what = "Time" if kind == "time" else "Cooldown"
            return _row(what, gate, _seconds)
        case "samples":
            return _row(f"Operations with {release[gate['arm']]}{by}", gate, words.count)
        case "windows":
            return _row(f"Evaluations with data{by}", gate, words.count)
        case "safety":
            row = _row(f"Harmless: {label}{by}", gate, words.short)
            return _with_share(row, 100.0 if gate["met"] else _log_share(have, need))
        case "harm":
            row = _row(f"Not suspicious: {label}{by}", gate, words.short, "below")
            return _with_share(row, _log_share(have, need))
        case "value":
            shown = "no value yet" if have is None else words.number(have)
            limit = "" if need is None else f"limit {words.number(need)}"
            return Need(kind, f"{label}{by}", gate["met"], None, shown, limit, gate["waived"])
        case "approvals":
            return _row("Approvals", gate, words.count)
        case "confirmation":
            what = f"Confirmed by {gate['webhook']}"
            return Need(kind, what, gate["met"], None, "", "", gate["waived"])
    return Need(kind, "Within the calendar", gate["met"], None, "", "", gate["waived"])


def _seconds(seconds: float) -> str:
    return words.duration(1000 * seconds) if seconds else "0"


def _row(what: str, gate: dict[str, Any], show: Any, than: str = "of") -> Need:
    have, need = gate["have"], gate["need"]
    share = 100.0 if not need else min(100.0, 100.0 * (have or 0) / need)
    return Need(
        gate["kind"],
        what,
        gate["met"],
        share,
        show(have or 0),
        "" if need is None else f"{than} {show(need)}",
        gate["waived"],
    )


def _with_share(need: Need, share: float) -> Need:
    return Need(need.kind, need.what, need.met, share, need.have, need.need, need.waived)


def _log_share(have: float | None, need: float | None) -> float:
    """Return how far evidence is on a logarithmic scale from 0.5 to what is needed."""
    if not have or not need or need <= 0.5:
        return 0.0
    return min(max(100 * math.log(max(have, 0.5) / 0.5) / math.log(need / 0.5), 0.0), 100.0)


def missing_gates(release: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the gates that keep a release in its stage."""
    gates = (release["progress"] or {}).get("gates", [])
    return [gate for gate in gates if not gate["met"] and not gate["waived"]]


def still_needs(release: dict[str, Any], now: datetime, zone: tzinfo) -> str:
    """Return what is missing as a sentence; empty: nothing is."""
    gates = missing_gates(release)
    labels = {
        check["number"]: check["label"].removesuffix(" against control")
        for check in (release["progress"] or {}).get("checks", [])
    }
    parts: list[str] = []
    for gate in gates:
        text = _missing(gate, labels, release, now, zone)
        if text and text not in parts:
            parts.append(text)
    return f"It still needs {listed(parts)}." if parts else ""


def _missing(
    gate: dict[str, Any],
    labels: dict[int, str],
    release: dict[str, Any],
    now: datetime,
    zone: tzinfo,
) -> str:
    have, need = gate["have"] or 0, gate["need"]
    label = labels.get(gate["check"], "the check")
    match gate["kind"]:
        case "time":
            return f"{words.duration(1000 * max((need or 0) - have, 0))} in this stage"
        case "samples":
            arm = release[gate["arm"]]
            return f"operations with {arm} ({_of(words.count(have), words.count(need))})"
        case "safety":
            of = _of(words.number(have), words.number(need))
            return f"evidence that it is harmless by {label} ({of})"
        case "harm":
            return f"less evidence against it by {label} (now {words.number(have)})"
        case "value":
            return f"{label} within its limit"
        case "calendar":
            until = gate["until"]
            if until is None:
                return "a time at which it may open"
            return (
                f"a time at which it may open, {words.clock(words.parse_instant(until), now, zone)}"
            )
        case "approvals":
            return f"approvals ({_of(words.count(have), words.count(need))})"
        case "confirmation":
            return f"the word of {gate['webhook']}"
    return ""


def _of(have: str, need: str) -> str:
    """Return how much there is of what is needed, on one line: "412 of 500"."""
    return f"{have}{words.TIE}of{words.TIE}{need}"


def listed(parts: list[str]) -> str:
    """Return parts as people list them: "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
