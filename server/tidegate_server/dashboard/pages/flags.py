"""The list of flags, and one flag: who gets what, and what decides it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, flag_sentences, shell
from tidegate_server.dashboard.flag_sentences import FlagState
from tidegate_server.dashboard.markdown import plain_markdown
from tidegate_server.dashboard.shell import Place, Shell

PAGE = 50
FILTERS = ("q", "state", "stale", "archived", "tag", "owner", "sort")
SORTS = (
    ("key", "by key"),
    ("-updated", "changed last first"),
    ("owner", "by owner"),
    ("expected_end", "by expected end"),
)
"""The orders in which the list may be, in words."""

STATES = (
    ("", "All", "all"),
    ("releasing", "In release", "releasing"),
    ("killed", "Killed", "killed"),
    ("enabled", "On", "enabled"),
    ("disabled", "Off", "disabled"),
)
"""The value, the words and the total of each filter by state."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    place = "/p/<key:project>/e/<key:environment>/flags"
    blueprint.add_url_rule(place, view_func=list_flags)


def list_flags(project: str, environment: str) -> Response:
    """Show the flags of a project, with what they serve in an environment."""
    frame = shell.open_place(project, environment, "flags")
    chosen = {name: value for name in FILTERS if (value := request.args.get(name, "").strip())}
    page = api.get(
        *("projects", project, "environments", environment, "flags"),
        limit=PAGE,
        cursor=request.args.get("cursor"),
        expand="flag,release",
        **chosen,
    )
    lines = [
        (
            each["definition"],
            plain_markdown(each["definition"]["description"]),
            state_of(each["definition"], each, each["active_release"]),
            flag_sentences.evaluated(each["evaluated"], shell.now()),
            each["stale"],
        )
        for each in page["items"]
    ]
    beside, there = _beside(frame, chosen)
    first = not chosen and "cursor" not in request.args
    place = ("projects", project, "environments", environment)
    unknown = api.get(*place, "unknown-flags", limit=20)["items"] if first else []
    return shell.render(
        "flags.html",
        frame,
        lines=lines,
        beside=beside,
        there=there,
        chosen=chosen,
        page=page,
        states=STATES,
        sorts=SORTS,
        unknown=unknown,
        earlier="cursor" in request.args,
    )


def _beside(frame: Shell, chosen: dict[str, str]) -> tuple[Place | None, dict[str, FlagState]]:
    """Return another environment, and what it serves of the flags of this page, by key.

    Where the list shows only what is in some state here, or the order is that of changes here, the
    pages of two environments are not alike, and none is returned.
    """
    assert frame.place is not None
    others = [each for each in frame.places if each != frame.place]
    if not others or {"state", "stale"} & chosen.keys() or "updated" in chosen.get("sort", ""):
        return None, {}
    [place] = others[:1]
    found = api.get_if_allowed(
        *("projects", place.project, "environments", place.environment, "flags"),
        limit=PAGE,
        cursor=request.args.get("cursor"),
        expand="flag,release",
        **chosen,
    )
    items = found["items"] if found else []
    return place, {
        each["flag"]: state_of(each["definition"], each, each["active_release"]) for each in items
    }


def active_release(
    project: str, environment: str, targeting: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the live release of a flag; None: there is none."""
    if targeting["release"] is None:
        return None
    found: dict[str, Any] | None = api.get_if_allowed(
        "projects", project, "environments", environment, "releases", targeting["release"]
    )
    return found


def state_of(
    flag: dict[str, Any], targeting: dict[str, Any], release: dict[str, Any] | None
) -> FlagState:
    """Return what a flag serves, from its definition, its targeting and its live release."""
    on = {each["key"] for each in flag["variants"]} - {targeting["off_variant"]}
    return flag_sentences.flag_state(targeting, release, on, shell.now(), shell.reader_zone())
