"""A release: is it safe, what is next, and when; afterwards, what happened."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any

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
from tidegate_server.dashboard.api import ApiProblem
from tidegate_server.dashboard.pages.release_actions import offered
from tidegate_server.dashboard.pages.releases import share
from tidegate_server.dashboard.release_sentences import OVER

POINTS = 160
"""Points of a chart; more would lie on each other."""

DECISIONS = 500
"""Decisions of the ledger that a page folds into its lines."""

LINES = 50
PRINTED_LINES = 200
"""A report that ends has its whole ledger, up to this many lines."""

ACTS = 100


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/e/<key:environment>/releases/<key:release>", view_func=show_release
    )


def show_release(project: str, environment: str, release: str) -> Response:
    """Show a release while it is live, and its report when it is over."""
    frame = shell.open_place(project, environment, "releases")
    where = ("projects", project, "environments", environment, "releases", release)
    found = api.get(*where)
    over = found["state"] in OVER
    return shell.render(
        "report.html" if over else "release.html",
        frame,
        base=f"/p/{project}/e/{environment}/releases/{release}",
        **release_values(project, environment, found),
        offered=offered(found),
        cleanup=cleanup(*where) if over else [],
    )


def release_values(project: str, environment: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return what the page and the report of a release show.

    Args:
        project, environment: where it is.
        found: the release, as the API answers it.
    """
    where = ("projects", project, "environments", environment, "releases", found["id"])
    over = found["state"] in OVER
    forecast = None if over else _forecast(*where)
    now, zone = shell.now(), shell.reader_zone()
    acts = _acts(project, environment, found)
    entered = stage_entries(found, acts)
    lines, later = _ledger(where, found, acts)
    view = release_tiles.view(found, entered, acts, forecast, now, zone)
    return {
        "release": found,
        "over": over,
        "share": share(found),
        "chip": release_sentences.chip(found),
        "sentence": release_sentences.status(
            found, forecast, now, zone, _live(where, found), _went_back_from(acts)
        ),
        "stages": release_stages.stage_views(found, entered, forecast, now, zone),
        "needs": release_needs.needs(found),
        "ledger": lines,
        "later": later,
        "show": request.args.get("show", ""),
        "shows": release_ledger.SHOW,
        "tiles": release_tiles.tiles(found, api.get(*where, "series", points=POINTS), view),
        "progress": found["progress"],
        "lasted": _lasted(found),
        "notches": release_sentences.notches(found),
        "client_says": _client_says(found),
        "zone": str(zone),
        "now": now,
    }


def _client_says(release: dict[str, Any]) -> str:
    """Return what the reports of clients may do to a release."""
    says = {check.get("client_evidence", "hold") for check in release["policy"]["checks"]}
    if "decide" in says:
        return "decide, too"
    return "may hold it, because anyone can make them up" if "hold" in says else "only warn"


def _went_back_from(acts: list[dict[str, Any]]) -> float | None:
    """Return the percentage before the last change of stage, if that was one back."""
    for act in acts:
        details = act["details"]
        if details.get("stage") and details["stage"] != details.get("stage_before"):
            back = act["action"] == "release.retreat"
            return float(details["percentage_before"]) if back else None
    return None


def _live(where: tuple[str, ...], release: dict[str, Any]) -> int | None:
    """Return how many processes report, where a silence makes that matter."""
    if release["state"] != "holding" or not (release["progress"] or {}).get("silence"):
        return None
    total: int = api.get(*where[:4], "instances", live="true", limit=1)["total"]
    return total


def _ledger(
    where: tuple[str, ...], release: dict[str, Any], acts: list[dict[str, Any]]
) -> tuple[list[release_ledger.Line], str | None]:
    """Return the lines of the ledger that the reader wants, and the cursor of earlier ones."""
    cursor = request.args.get("ledger")
    page = api.get(*where, "ledger", "holds", limit=DECISIONS, cursor=cursor)
    oldest = page["items"][-1]["began_at"] if page["items"] and page["next_cursor"] else ""
    newest = page["items"][0]["ended_at"] if page["items"] and cursor else None
    near = [act for act in acts if act["at"] >= oldest and (newest is None or act["at"] <= newest)]
    now, zone = shell.now(), shell.reader_zone()
    lines = release_ledger.ledger_lines(release, page["items"], near, now, zone)
    group = request.args.get("show", "")
    if group:
        lines = [line for line in lines if line.group == group]
    most = PRINTED_LINES if release["state"] in OVER else LINES
    return lines[:most], page["next_cursor"]


def _acts(project: str, environment: str, release: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what people and the policy did to a release, and kills of its flag meanwhile."""
    audit = ("projects", project, "audit")
    about = api.get_if_allowed(*audit, key=release["id"], limit=ACTS)
    # Of the flag, only what came meanwhile: a long history before and after costs nothing.
    asked = {"environment": environment, "from": release["started_at"], "limit": ACTS}
    if release["ended_at"] is not None:
        # The clock may have gone back meanwhile.
        ends = (release["started_at"], release["ended_at"])
        after = max(map(words.parse_instant, ends)) + timedelta(milliseconds=1)
        asked["to"] = after.isoformat()
    flag = api.get_if_allowed(*audit, key=release["flag"], **asked)
    acts: list[dict[str, Any]] = [] if about is None else about["items"]
    acts += [
        act
        for act in ([] if flag is None else flag["items"])
        if act["action"] in ("flag.kill", "flag.restore")
    ]
    return sorted(acts, key=lambda act: str(act["at"]), reverse=True)


def _forecast(*where: str) -> dict[str, Any] | None:
    """Return the forecast of a release; None while the server has too much to compute."""
    try:
        found: dict[str, Any] = api.get(*where, "forecast")
    except ApiProblem as problem:
        if problem.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return None
        raise
    return found


def cleanup(*where: str) -> list[dict[str, Any]]:
    """Return what is left to do after a release; nothing while the server is busy."""
    try:
        left: list[dict[str, Any]] = api.get(*where, "explanation")["cleanup"]
    except ApiProblem as problem:
        if problem.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.CONFLICT):
            return []
        raise
    return left


def stage_entries(release: dict[str, Any], acts: list[dict[str, Any]]) -> dict[int, str]:
    """Return when each stage was last entered, from the audit log."""
    entered = {1: release["started_at"]}
    for act in reversed(acts):
        details = act["details"]
        if details.get("stage") and details.get("stage") != details.get("stage_before"):
            entered[details["stage"]] = act["at"]
    if release["state"] not in OVER:
        present = release["stage"]["number"]
        # Another request may have opened the next stage since the release was read.
        entered = {number: at for number, at in entered.items() if number <= present}
        entered[present] = release["stage_entered_at"]
    return entered


def _lasted(release: dict[str, Any]) -> str:
    """Return how long a release has been open."""
    end = words.parse_instant(release["ended_at"]) if release["ended_at"] else shell.now()
    start = words.parse_instant(release["started_at"])
    return words.duration((end - start).total_seconds() * 1000)
