"""The stages of a release as a timeline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Literal

from markupsafe import Markup

from tidegate_server.dashboard import words
from tidegate_server.dashboard.release_sentences import OVER, SOON, audience


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage on the timeline.

    Attributes:
        kind: ``done``, ``now``, ``failed``, ``never`` or nothing: it is still to come.
        when: when it was entered and how long it took, or about when it opens.
    """

    number: int
    name: str
    who: str
    kind: Literal["done", "now", "failed", "never", ""]
    when: Markup | str


def stage_views(
    release: dict[str, Any],
    entered: dict[int, str],
    forecast: dict[str, Any] | None,
    now: datetime,
    zone: tzinfo,
) -> list[StageView]:
    """Return the timeline.

    Args:
        release: as the API answers it.
        entered: when each stage was last entered, by its number.
        forecast: None: none was asked for.
        now: the time of the page.
        zone: the reader's.
    """
    stages = release["policy"]["stages"]
    present, state = release["stage"]["number"], release["state"]
    views = []
    for number, stage in enumerate(stages, 1):
        kind: Literal["done", "now", "failed", "never", ""] = ""
        if state == "completed" or number < present:
            kind = "done"
        elif number == present:
            kind = "failed" if state == "rolled_back" else "now"
        elif state in OVER:
            kind = "never"
        views.append(
            StageView(
                number,
                stage["name"],
                _who(stage),
                kind,
                _when(number, kind, release, entered, forecast, now, zone),
            )
        )
    return views


def _who(stage: dict[str, Any]) -> str:
    """Return to whom a stage opens, if its name does not say it."""
    who = audience(stage["segments"], stage["percentage"])
    return "100\u00a0%" if who == stage["name"] else who


def _when(
    number: int,
    kind: str,
    release: dict[str, Any],
    entered: dict[int, str],
    forecast: dict[str, Any] | None,
    now: datetime,
    zone: tzinfo,
) -> Markup | str:
    if number not in entered:
        if kind == "" and number == release["stage"]["number"] + 1 and forecast:
            following = forecast.get("next_stage")
            if following and following["median"]:
                at = words.parse_instant(following["median"])
                if at <= now:
                    return "soon"
                return "about " + words.clock(at, now, zone, seconds=at - now < SOON)
        return "never opened" if kind == "never" else ""
    began = entered[number]
    left = entered.get(number + 1) or release["ended_at"]
    end = words.parse_instant(left) if left else now
    milliseconds = (end - words.parse_instant(began)).total_seconds() * 1000
    if not left and milliseconds < 1000:
        return words.time_element(began, now, zone)
    took = words.duration(milliseconds)
    return words.time_element(began, now, zone) + (f", for {took}" if not left else f", {took}")
