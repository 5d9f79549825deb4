"""What a release's ledger says when it is computed again, and under another policy."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request
from markupsafe import Markup

from tidegate_server.dashboard import api, release_sentences, release_tiles, shell, words
from tidegate_server.dashboard.api import ApiProblem
from tidegate_server.dashboard.charts.backtest_charts import (
    Count,
    Opened,
    count_bars,
    opened_chart,
)
from tidegate_server.dashboard.charts.scales import Span

RUNS = 20
POINTS = 160
MOST_DIFFERENCES = 50


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    release = "/p/<key:project>/e/<key:environment>/releases/<key:release>"
    blueprint.add_url_rule(f"{release}/replay", view_func=replay)
    blueprint.add_url_rule(f"{release}/compare", view_func=compare)


def replay(project: str, environment: str, release: str) -> Response:
    """Compute the decisions of a release again from their evidence, and show any difference."""
    frame = shell.open_place(project, environment, "releases")
    where = ("projects", project, "environments", environment, "releases", release)
    found = api.get(*where)
    counts = dict.fromkeys(("decisions", "differing", "moves", "skipped"), 0)
    differences: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        part = api.get(*where, "replay", cursor=cursor)
        for name in counts:
            counts[name] += part[name]
        differences.extend(part["differences"][: MOST_DIFFERENCES - len(differences)])
        cursor = part["next_cursor"]
        if cursor is None:
            break
    return shell.render(
        "replay.html",
        frame,
        release=found,
        base=f"/p/{project}/e/{environment}/releases/{release}",
        differences=differences,
        tiles=_evidence(where, found, differences),
        **counts,
    )


def _evidence(
    where: tuple[str, ...], release: dict[str, Any], differences: list[dict[str, Any]]
) -> list[release_tiles.Tile]:
    """Return the evidence as it was recorded; each difference is marked on it."""
    view = release_tiles.view(release, {}, (), None, shell.now(), shell.reader_zone())
    marked = release_tiles.with_differences(view, differences)
    series = api.get(*where, "series", points=POINTS)
    tiles = release_tiles.tiles(release, series, marked)
    return [tile for tile in tiles if "evidence" in tile.charts]


def compare(project: str, environment: str, release: str) -> Response:
    """Run another policy over the release's ledger, and show both."""
    frame = shell.open_place(project, environment, "releases")
    found = api.get("projects", project, "environments", environment, "releases", release)
    keys = [each["key"] for each in api.all_of("projects", project, "policies")]
    policy, problem, result = request.args.get("policy", ""), "", None
    if policy:
        body = {
            "policy_key": policy,
            "environment": environment,
            "release": release,
            "runs": RUNS,
        }
        try:
            result = api.ask(
                "POST", api.path("projects", project, "policies", "backtest"), body=body
            ).body
        except ApiProblem as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise
            problem = error.detail
    return shell.render(
        "compare.html",
        frame,
        release=found,
        base=f"/p/{project}/e/{environment}/releases/{release}",
        policies=keys,
        chosen=policy or next((key for key in keys if key != found["policy"]["key"]), ""),
        result=result,
        ended=_ended(found["state"]),
        ends=[(_ended(each["state"]), each["runs"]) for each in result["would"]["ends"]]
        if result
        else [],
        pictures=_pictures(found, policy, result) if result else {},
        problem=problem,
    )


def _ended(state: str) -> str:
    """Return the word for the state that a release is in at the end of its record."""
    return release_sentences.CHIPS[state][2]


def _pictures(release: dict[str, Any], policy: str, result: dict[str, Any]) -> dict[str, Markup]:
    """Return what the page draws of what was, and of what would have been."""
    was, would = result["was"], result["would"]
    begins, ends = (words.parse_instant(result[name]) for name in ("begins_at", "ends_at"))
    span = Span(begins, max(ends, begins + timedelta(seconds=1)))
    ended = words.parse_instant(release["ended_at"]) if was["state"] == "rolled_back" else None
    stopped = would["stopped_ms"] if would["stopped"] >= 0.5 else None
    stops = begins + timedelta(milliseconds=stopped["median"]) if stopped else None
    hurt = would["hurt"]
    counts = (
        Count("as it was", was["hurt"], was["hurt"], was["hurt"], "fill-c"),
        Count(f"under {policy}", hurt["median"], hurt["low"], hurt["high"], "fill-t"),
    )
    says = ", ".join(f"{words.count(each.people)} {each.name}" for each in counts)
    return {
        "opened": opened_chart(
            Opened(_steps(was["stages"], begins, ended)),
            Opened(_steps(would["stages"], begins, stops)),
            span,
            shell.reader_zone(),
            f"How far the release was open over time, as it was and under {policy}",
        ),
        "hurt": count_bars(counts, f"People hurt: {says}"),
    }


def _steps(
    stages: list[dict[str, Any]], begins: datetime, stopped: datetime | None
) -> list[tuple[datetime, float]]:
    """Return from when on a policy opened how much: of the stages that most runs reached."""
    steps = [
        (begins + timedelta(milliseconds=stage["after_ms"]["median"]), float(stage["percentage"]))
        for stage in stages
        if stage["after_ms"] and stage["runs"] >= 0.5
    ]
    if stopped is not None:
        steps = [step for step in steps if step[0] <= stopped] + [(stopped, 0.0)]
    return steps
