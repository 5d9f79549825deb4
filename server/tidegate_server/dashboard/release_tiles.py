"""The tiles of a release: each check with its numbers, its charts and their sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from markupsafe import Markup

from tidegate_server.dashboard import words
from tidegate_server.dashboard.charts import release_charts, value_charts
from tidegate_server.dashboard.charts.evidence_gauge import NOT_OPENING
from tidegate_server.dashboard.charts.plot import Mark
from tidegate_server.dashboard.charts.release_charts import Reading, View
from tidegate_server.dashboard.charts.scales import Span
from tidegate_server.dashboard.check_sentences import DOES
from tidegate_server.dashboard.reason_words import sentence

ROWS = 12
"""Lines of the table that stands for the charts."""

LABEL_ROOM = 0.16
"""The room for labels after the last reading, of the time before it."""

SIGNS: Mapping[str, str] = {
    "release.pause": "paused",
    "release.resume": "resumed",
    "release.rollback": "rolled back",
    "release.complete": "completed",
    "flag.kill": "killed",
    "flag.restore": "restored",
}
"""What people do that the charts mark."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One check.

    Attributes:
        evidence, limit: of harm now; None: the check does not compute it.
        not_opening: the evidence from which on no stage opens.
        does: what the check does at its limit.
        says: how the arms compare, in a sentence.
        noticed: the smallest difference that would have been noticed by now; may be empty.
        charts: by name, those that there are.
        rows: for the table.
        is_above: whether all that the data allow now is more than what is tolerated.
    """

    label: str
    evidence: float | None
    limit: float | None
    not_opening: float
    does: str
    says: str
    noticed: str
    charts: dict[str, Markup]
    rows: list[Reading]
    is_above: bool
    state: str


def tiles(release: dict[str, Any], series: dict[str, Any], view: View) -> list[Tile]:
    """Return a tile for each check of a release.

    Args:
        release: as the API answers it.
        series: its series.
        view: what the charts share.
    """
    progress = release["progress"] or {}
    caution = {
        gate["check"]: gate["need"] for gate in progress.get("gates", []) if gate["kind"] == "harm"
    }
    present = {each["number"]: each for each in progress.get("checks", [])}
    return [
        _tile(
            release,
            check,
            present.get(check["number"], {}),
            caution.get(check["number"]) or NOT_OPENING,
            series["points"],
            view,
        )
        for check in series["checks"]
    ]


def _tile(
    release: dict[str, Any],
    check: dict[str, Any],
    now: dict[str, Any],
    not_opening: float,
    points: Sequence[dict[str, Any]],
    view: View,
) -> Tile:
    readings = release_charts.readings(points, check["number"])
    label = check["label"].removesuffix(" against control")
    says = _says(release, readings, label)
    does = DOES[release["policy"]["checks"][check["number"]]["on_failure"]]
    return Tile(
        sentence(label).rstrip("."),
        now.get("evidence") if now.get("rollback_at") else None,
        now.get("rollback_at"),
        not_opening,
        does,
        says,
        _noticed(check, now, release),
        _charts(release, check, readings, points, view, not_opening, does, label, says),
        _rows(readings),
        release_charts.are_above(readings),
        "failed" if now.get("failed") else "",
    )


def _noticed(check: dict[str, Any], now: dict[str, Any], release: dict[str, Any]) -> str:
    if now.get("failed"):
        return ""  # It was noticed.
    ratio = now.get("detectable_ratio")
    if ratio is None:
        # A place for what comes, so that nothing moves then.
        compared = check["compared_by"] is not None and check["quantile"] is None
        if release["ended_at"]:
            return "There were too few operations to notice a difference." if compared else ""
        return "Too few operations yet to notice a difference." if compared and now else ""
    would = "would have been noticed" if release["ended_at"] else "would be noticed by now"
    return f"{words.ratio(ratio)} as many failures as with {release['control']} {would}."


def _charts(
    release: dict[str, Any],
    check: dict[str, Any],
    readings: list[Reading],
    points: Sequence[dict[str, Any]],
    view: View,
    not_opening: float,
    does: str,
    label: str,
    says: str,
) -> dict[str, Markup]:
    charts: dict[str, Markup | None] = {}
    if not readings:
        return {}
    if any(each.seen is not None or each.high is not None for each in readings):
        charts["ratio"] = release_charts.ratio_chart(view, readings, says)
    if any(each.limit for each in readings):
        last = words.number(readings[-1].evidence or 0.0)
        text = f"Evidence against the release by {label} over time: {last} now"
        charts["evidence"] = release_charts.evidence_chart(
            view, readings, text, not_opening=not_opening, does=does
        )
    number = check["number"]
    both = f"with {release['treatment']} and with {release['control']} over time"
    if check["quantile"] is not None:
        charts["quantile"] = value_charts.quantile_chart(
            view, points, number, f"The quantile of {label} {both}"
        )
    elif check["compared_by"] is None:
        charts["value"] = value_charts.threshold_chart(
            view, points, number, f"{label} over time, and its limit"
        )
    else:
        text = f"Failing users of 100 operations {both}"
        charts["arms"] = release_charts.arms_chart(view, readings, text)
    return {name: chart for name, chart in charts.items() if chart is not None}


def _says(release: dict[str, Any], readings: list[Reading], label: str) -> str:
    """Return how the arms compare, in a sentence."""
    treatment, control = release["treatment"], release["control"]
    last = readings[-1] if readings else None
    if (
        last is not None
        and last.low is not None
        and last.tolerated
        and (last.high is None or last.low > last.tolerated)
    ):
        tolerated = f"{words.number(last.tolerated)}\u00d7"
        than = (
            f"more than the {tolerated} that is" if last.low > last.tolerated else f"{tolerated} is"
        )
        return (
            f"At least {words.ratio(last.low)} as often with {treatment} as with {control}; "
            f"{than} tolerated."
        )
    last = next((each for each in reversed(readings) if each.high is not None), None)
    if last is None or last.high is None:
        return f"Too few operations so far to say how {treatment} and {control} compare."
    low = words.ratio(last.low) if last.low is not None else "0\u00d7"
    text = f"Between {low} and {words.ratio(last.high)} as often with {treatment} as with {control}"
    if last.tolerated is None:
        return f"{text}."
    tolerated = f"{words.number(last.tolerated)}\u00d7 is tolerated"
    if last.high <= last.tolerated:
        return f"{text}; {tolerated}, and even the most is less."
    return (
        f"{text}; {tolerated}, so nothing is decided against it. When the whole band is above the "
        "red line, the policy acts."
    )


def _rows(readings: list[Reading]) -> list[Reading]:
    step = max(1, len(readings) // ROWS)
    return list(reversed(readings[::-step]))[-ROWS:] if readings else []


def view(
    release: dict[str, Any],
    entered: dict[int, str],
    acts: Sequence[dict[str, Any]],
    forecast: dict[str, Any] | None,
    present: datetime,
    zone: tzinfo,
) -> View:
    """Return what the charts of a release share.

    Args:
        release: as the API answers it.
        entered: when each stage was last entered, by its number.
        acts: entries of the audit log about it, the latest first.
        forecast: None: none was asked for.
        present: the time of the page.
        zone: the reader's.
    """
    start = words.parse_instant(release["started_at"])
    now = words.parse_instant(release["ended_at"]) if release["ended_at"] else present
    # Beside the ends of the lines there is room for their labels.
    end = now + (now - start) * LABEL_ROOM
    stages = len(release["policy"]["stages"])
    marks = [
        Mark(words.parse_instant(at), str(number), "tide", f"stage {number} opened")
        for number, at in entered.items()
        if number <= stages
    ]
    marks += [_mark(act) for act in acts if _is_marked(act)]
    following = (forecast or {}).get("next_stage")
    if following and following["median"]:
        opens = words.parse_instant(following["median"])
        if now < opens < now + (now - start) * 2:
            end = max(end, opens + (now - start) * 0.1)
            number = release["stage"]["number"] + 1
            marks.append(Mark(opens, str(number), "", f"stage {number} opens", expected=True))
    marks.sort(key=lambda mark: mark.at)
    span = Span(start, max(end, start + timedelta(seconds=1)))
    return View(
        span,
        span.end if release["ended_at"] else now,
        tuple(marks),
        zone,
        release["treatment"],
        release["control"],
    )


def with_differences(view: View, differences: Sequence[dict[str, Any]]) -> View:
    """Return a view whose only marks are where a replay differs."""
    times = dict.fromkeys(words.parse_instant(each["at"]) for each in differences)
    return replace(view, marks=tuple(Mark(at, "\u00d7", "bad", "differs") for at in times))


def _is_marked(act: dict[str, Any]) -> bool:
    if act["action"] not in SIGNS:
        return False
    return bool(act["actor"] != "policy" or act["action"] == "release.rollback")


def _mark(act: dict[str, Any]) -> Mark:
    at, who = words.parse_instant(act["at"]), act["actor"]
    says = f"{SIGNS[act['action']]} by {'the policy' if who == 'policy' else who}"
    if act["action"] in ("flag.kill", "release.rollback"):
        return Mark(at, "\u00d7" if act["action"] == "flag.kill" else "\u21a9", "bad", says)
    return Mark(at, who[:1].upper() or "?", "", says)
