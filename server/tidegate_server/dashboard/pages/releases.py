"""The releases of a project on one page: what is under way, in one environment or in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, release_sentences, shell
from tidegate_server.dashboard.release_sentences import Chip, Status

PAGE = 50
EVERYWHERE = 20
"""How many releases of each environment the page of all environments shows."""

STATES = (
    ("", "All"),
    ("running", "Running"),
    ("baking", "Baking"),
    ("holding", "Holding"),
    ("awaiting_approval", "Awaiting approval"),
    ("paused", "Paused"),
    ("cooldown", "Cooling down"),
    ("killed", "Killed"),
    ("draft", "Draft"),
    ("rolled_back", "Rolled back"),
    ("completed", "Completed"),
)
"""States that a reader may filter by, and their words."""


@dataclass(frozen=True, slots=True)
class Line:
    """A release in the list; ``address`` is its page, ``place`` its environment."""

    release: dict[str, Any]
    address: str
    place: str
    chip: Chip
    status: Status
    share: float
    notches: tuple[float, ...]


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule("/p/<key:project>/e/<key:environment>/releases", view_func=list_releases)


def list_releases(project: str, environment: str) -> Response:
    """Show the releases of an environment, or of all of the project, the latest first."""
    frame = shell.open_place(project, environment, "releases")
    state, everywhere = request.args.get("state", ""), request.args.get("all") == "yes"
    lines: list[Line] = []
    later = None
    for place in frame.places if everywhere else (frame.place,):
        assert place is not None
        page = api.get(
            *("projects", project, "environments", place.environment, "releases"),
            limit=EVERYWHERE if everywhere else PAGE,
            cursor=None if everywhere else request.args.get("cursor"),
            state=state or None,
        )
        lines += [_line(each, place) for each in page["items"]]
        later = None if everywhere else page["next_cursor"]
    lines.sort(key=lambda line: line.release["started_at"], reverse=True)
    return shell.render(
        "releases.html",
        frame,
        lines=lines,
        state=state,
        states=STATES,
        everywhere=everywhere,
        later=later,
    )


def _line(release: dict[str, Any], place: shell.Place) -> Line:
    return Line(
        release,
        f"{place.address}/releases/{release['id']}",
        place.environment,
        release_sentences.chip(release),
        release_sentences.status(release, None, shell.now(), shell.reader_zone()),
        share(release),
        release_sentences.notches(release),
    )


def share(release: dict[str, Any]) -> float:
    """Return who has the treatment, in percent of its stage's users."""
    if release["open_percentage"] is not None:
        return float(release["open_percentage"])
    return 100.0 if release["state"] == "completed" else 0.0
