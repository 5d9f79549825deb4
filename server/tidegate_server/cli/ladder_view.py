"""What decides now what a flag serves, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate_server.cli.api_client import Json

RULES = frozenset({"rule", "default"})
"""Causes of rungs that are shown as rules."""


def ladder_facts(ladder: list[Json]) -> Iterator[tuple[str, str]]:
    """Yield what decides now, and what would decide if that ended."""
    for number, rung in enumerate(each for each in ladder if each["cause"] not in RULES):
        yield "behind it" if number else "decided by", rung["text"]
