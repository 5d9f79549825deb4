"""The processes that evaluate flags: has everybody the newest version?"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, shell, words

PAGE: Final = 50
MOST_SUMMED: Final = 1_000
"""Of how many processes the versions and the applications are counted."""

SHOWN: Final = (("", "All"), ("live", "Live"), ("behind", "Behind"), ("gone", "Gone"))
QUERIES: Final = {
    "": {},
    "live": {"live": "true"},
    "behind": {"live": "true", "behind": "true"},
    "gone": {"live": "false"},
}
"""What the page may show, and how the API is asked for it."""


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    blueprint.add_url_rule(
        "/p/<key:project>/e/<key:environment>/instances", view_func=list_instances
    )


def list_instances(project: str, environment: str) -> Response:
    """Show the instances of an environment, how many have which version, and who is behind."""
    frame = shell.open_place(project, environment, "instances")
    where = ("projects", project, "environments", environment, "instances")
    show = request.args.get("show", "")
    page = api.get(*where, limit=PAGE, cursor=request.args.get("cursor"), **QUERIES.get(show, {}))
    live, newest, more = _live(where)
    behind = [each for each in live if each["version"] < newest]
    now = shell.now()
    return shell.render(
        "instances.html",
        frame,
        rows=[(each, *_ages(each, newest)) for each in page["items"]],
        live=len(live),
        more=more,
        behind=len(behind),
        behind_for=_longest_behind(behind, now),
        newest=newest,
        versions=_shares(Counter(each["version"] for each in live)),
        applications=_shares(Counter(each["application"] or "without a name" for each in live)),
        any_=bool(live or page["items"] or page["total"]),
        later=page["next_cursor"],
        total=page["total"],
        show=show,
        shown=SHOWN,
    )


def _live(where: tuple[str, ...]) -> tuple[list[dict[str, Any]], int, bool]:
    """Return the live instances, the present version, and whether there are even more of them."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = api.get(*where, limit=100, cursor=cursor, live="true")
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None or len(items) >= MOST_SUMMED:
            return items, page["version"], cursor is not None


def _shares(counts: Counter[Any]) -> list[tuple[Any, int, float]]:
    """Return each value with its count and its percentage, the largest value first."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda each: each[0], reverse=True)
    return [(value, count, 100 * count / total) for value, count in ordered]


def _longest_behind(behind: list[dict[str, Any]], now: Any) -> str:
    """Return for how long the slowest of those behind is behind; empty: it is not known."""
    since = [words.parse_instant(each["behind_since"]) for each in behind if each["behind_since"]]
    return words.duration((now - min(since)).total_seconds() * 1000) if since else ""


def _ages(instance: dict[str, Any], newest: int) -> tuple[str, str, str]:
    """Return how long ago an instance was heard, for how long it runs, and is behind."""
    now = shell.now()

    def age(name: str) -> str:
        if not instance[name]:
            return ""
        return words.duration((now - words.parse_instant(instance[name])).total_seconds() * 1000)

    late = age("behind_since") if instance["version"] < newest else ""
    return words.ago(instance["last_seen_at"], now), age("started_at"), late
