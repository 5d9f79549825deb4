"""A tour: a release that does no harm and one that does, simulated, shown as real ones are."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import (
    api,
    release_ledger,
    release_needs,
    release_sentences,
    release_stages,
    release_tiles,
    shell,
    words,
)
from tidegate_server.dashboard.pages.release import stage_entries
from tidegate_server.dashboard.pages.releases import share
from tidegate_server.dashboard.release_sentences import OVER

STORIES: Final = (("healthy", "Does no harm"), ("harmful", "Does harm"))
LINES: Final = 12


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule("/p/<key:project>/e/<key:environment>/begin/tour", view_func=tour)


def tour(project: str, environment: str) -> Response:
    """Show one scene of a simulated release."""
    frame = shell.open_place(project, environment, "begin")
    story = request.args.get("story", STORIES[0][0])
    scene = request.args.get("scene", "1")
    found = api.get("demonstrations", story, scene=scene)
    base = f"/p/{project}/e/{environment}/begin/tour"
    return shell.render(
        "tour.html",
        frame,
        base=base,
        stories=STORIES,
        story=story,
        found=found,
        says=_says(found),
        earlier=_address(base, story, found["scene"] - 1, found["scenes"]),
        following=_address(base, story, found["scene"] + 1, found["scenes"]),
        plays=request.args.get("play", "") != "no",
        **_values(found),
    )


def _address(base: str, story: str, scene: int, scenes: int) -> str:
    """Return the address of a scene; after the last one of a story comes the next story."""
    if 1 <= scene <= scenes:
        return f"{base}?story={story}&scene={scene}"
    names = [name for name, _ in STORIES]
    if scene > scenes and story != names[-1]:
        return f"{base}?story={names[names.index(story) + 1]}&scene=1"
    return ""


def _values(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the parts of a release's page show; times are those of the simulation, in UTC."""
    release, moves = found["release"], found["moves"]
    now = words.parse_instant(found["at"])
    entered = stage_entries(release, moves)
    lines = release_ledger.ledger_lines(release, found["holds"], moves, now, UTC)
    view = release_tiles.view(release, entered, moves, None, now, UTC)
    return {
        "release": release,
        "over": release["state"] in OVER,
        "share": share(release),
        "chip": release_sentences.chip(release),
        "sentence": release_sentences.status(release, None, now, UTC),
        "stages": release_stages.stage_views(release, entered, None, now, UTC),
        "needs": release_needs.needs(release),
        "ledger": lines[:LINES],
        "tiles": release_tiles.tiles(release, found["series"], view),
        "progress": release["progress"],
        "notches": release_sentences.notches(release),
        # The frame's own functions tell times as of now.
        "time": partial(_time, now),
        "clock": partial(words.clock, now=now, zone=UTC),
    }


def _time(now: datetime, text: str | None, *, seconds: bool = False) -> object:
    return words.time_element(text, now, UTC, seconds=seconds)


def _says(found: dict[str, Any]) -> str:
    """Return what to look at in a scene."""
    release, moves = found["release"], found["moves"]
    treatment, users = release["treatment"], release["progress"]["users"]
    if found["scene"] == 1:
        return (
            f"A person has started the release. {release_sentences.open_to(release).capitalize()} "
            f"get {treatment}; everyone else is the control group, with which they are compared."
        )
    if not moves or moves[0]["at"] != found["at"]:
        if release["state"] == "baking":
            return "Everyone has it now. It stays under watch for a while before it completes."
        return (
            "Nothing changes at this moment: the policy waits until all that this stage needs is "
            "there. Look at the evidence against it, and at how the two arms fail."
        )
    match release["state"]:
        case "rolled_back":
            return (
                f"Operations fail more often with {treatment} than is tolerated, and the evidence "
                "has reached its limit. The policy took it back by itself: everyone gets "
                f"{release['control']} again. It harmed about "
                f"{words.count(users['harmed']['estimate'])} people, and opening slowly spared "
                f"about {words.count(users['spared']['estimate'])}."
            )
        case "completed":
            return "It stayed healthy for everyone, so the policy completed the release."
    return (
        "All that the stage before needed was there, so the policy opened the next one: "
        f"{release_sentences.open_to(release)}."
    )
