"""The ledger of a release in words: decisions, also those to do nothing, and what people did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from markupsafe import Markup

from tidegate_server.dashboard import words
from tidegate_server.dashboard.audit_sentences import audit_line
from tidegate_server.dashboard.reason_words import reason_words, without_numbers
from tidegate_server.dashboard.release_sentences import SOON, audience, spoken

SHOW: Final = (("", "All"), ("moves", "Moves"), ("people", "People"), ("warnings", "Warnings"))
"""What a reader may look at alone."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        kind: its class.
        evidence: the words at its end.
        group: what it belongs to: ``moves``, ``people``, ``warnings`` or nothing.
    """

    kind: str
    icon: str
    at: Markup | str
    bold: str
    text: str
    evidence: str
    group: str


MOVES: Final = {
    "release.advance": ("move", "advance", "The policy opened {stage}."),
    "release.complete": ("move", "check", "The policy completed it: everyone gets {treatment}."),
    "release.rollback": ("bad", "back", "The policy rolled it back: everyone gets {control}."),
    "release.pause": ("move", "pause", "The policy paused it."),
    "release.retreat": ("bad", "back", "The policy went back to {stage}."),
    "release.cool_down": ("bad", "clock", "The policy closed it for now."),
    "release.retry": ("move", "replay", "The policy tries again, with {stage}."),
    "release.ask": ("move", "ask", "The policy asked for approval."),
}
"""The class, the icon and the sentence of each decision that changes something."""

QUIET: Final = ("release.hold", "release.go_on")
"""What the folded decisions say too."""


def ledger_lines(
    release: dict[str, Any],
    holds: Iterable[dict[str, Any]],
    acts: Iterable[dict[str, Any]],
    now: datetime,
    zone: tzinfo,
) -> list[Line]:
    """Return the lines, the latest first.

    Args:
        release: as the API answers it.
        holds: decisions in a row that changed nothing, as the API lists them.
        acts: entries of the audit log about this release and kills of its flag.
        now: the time of the page.
        zone: the reader's.
    """
    acts = list(acts)
    between = [words.parse_instant(act["at"]) for act in acts]
    dated = [(_end(hold), _held(release, hold, now, zone)) for hold in _folded(holds, between)]
    dated += [
        (words.parse_instant(act["at"]), _act(release, act, now, zone))
        for act in acts
        if not (act["actor"] == "policy" and act["action"] in QUIET)
    ]
    dated.sort(key=lambda each: each[0], reverse=True)
    return [line for _, line in dated]


def _folded(holds: Iterable[dict[str, Any]], between: list[datetime]) -> Iterator[dict[str, Any]]:
    """Yield holds, the latest first; quiet ones between which nothing happened become one.

    The latest stays by itself: it says what the release waits for now.
    """
    kept: dict[str, Any] | None = None
    for number, hold in enumerate(holds):
        if kept is not None and _belong_together(hold, kept, between):
            kept = _joined(hold, kept)
            continue
        if kept is not None:
            yield kept
        kept = hold
        if number == 0:
            yield hold
            kept = None
    if kept is not None:
        yield kept


def _belong_together(
    earlier: dict[str, Any], later: dict[str, Any], between: list[datetime]
) -> bool:
    if earlier["step"] != later["step"] or _is_warning(earlier) or _is_warning(later):
        return False
    left, right = _end(earlier), words.parse_instant(later["began_at"])
    return not any(left <= at <= right for at in between)


def _joined(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    spans = [hold["evidence"] for hold in (earlier, later)]
    least = [span["least"] for span in spans if span["least"] is not None]
    greatest = [span["greatest"] for span in spans if span["greatest"] is not None]
    return {
        **later,
        "began_at": earlier["began_at"],
        "decisions": earlier["decisions"] + later["decisions"],
        "first_reason": earlier["first_reason"],
        "evidence": {
            "least": min(least, default=None),
            "greatest": max(greatest, default=None),
        },
    }


def _is_warning(hold: dict[str, Any]) -> bool:
    return bool(hold["state"] == "holding" or "too high" in hold["last_reason"])


def _end(hold: dict[str, Any]) -> datetime:
    return words.parse_instant(hold["ended_at"])


def _held(release: dict[str, Any], hold: dict[str, Any], now: datetime, zone: tzinfo) -> Line:
    count, first, last = hold["decisions"], words.parse_instant(hold["began_at"]), _end(hold)
    reason = reason_words(hold["last_reason"], release)
    warning = _is_warning(hold)
    icon, group = ("silent" if "no data" in hold["last_reason"] else "hand"), ""
    if warning:
        group = "warnings"
    if count == 1:
        at: Markup | str = words.time_element(hold["ended_at"], now, zone, seconds=True)
        return Line("warn" if warning else "", icon, at, "Held.", reason, _span(hold), group)
    brief = last - first < SOON
    since = words.clock(first, now, zone, seconds=brief)
    until = words.clock(last, now, zone, seconds=brief)
    text = f"Held {count:,} times; at last: {reason}"
    if without_numbers(hold["first_reason"]) != without_numbers(hold["last_reason"]):
        text = f"Held {count:,} times. First: {reason_words(hold['first_reason'], release)} "
        text += f"At last: {reason}"
    span = since if since == until else f"{since}\u2013{until}"
    return Line("fold", icon, span, "", text, _span(hold), group)


def _span(hold: dict[str, Any]) -> str:
    """Return the evidence against the release during a hold."""
    least, greatest = hold["evidence"]["least"], hold["evidence"]["greatest"]
    if least is None or greatest is None:
        return ""
    low, high = words.number(least), words.number(greatest)
    return f"against it {low}" if low == high else f"against it {low}\u2013{high}"


def _act(release: dict[str, Any], act: dict[str, Any], now: datetime, zone: tzinfo) -> Line:
    at = words.time_element(act["at"], now, zone, seconds=True)
    known = MOVES.get(act["action"])
    if act["actor"] == "policy" and known is not None:
        kind, icon, text = known
        stage = act["details"].get("stage")
        bold = text.format(
            stage=_opened(release, stage) if stage else "the next stage",
            treatment=release["treatment"],
            control=release["control"],
        )
        return Line(kind, icon, at, bold, reason_words(act["reason"], release), "", "moves")
    said = audit_line(act)
    told = spoken(said.reason, act["actor"])
    reason = f"\u201c{told}\u201d" if told else ""
    group = "moves" if act["actor"] == "policy" else "people"
    return Line(said.kind, said.icon, at, f"{said.who} {said.did}.", reason, "", group)


def _opened(release: dict[str, Any], number: int) -> str:
    """Return to whom a stage opens, by its number."""
    stage = release["policy"]["stages"][number - 1]
    return audience(stage["segments"], stage["percentage"])
