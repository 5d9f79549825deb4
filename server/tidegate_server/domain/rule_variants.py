"""Reads and replaces what one rule of a flag serves."""

from __future__ import annotations

from dataclasses import replace

from tidegate.model import Serve

from tidegate_server.domain.flags import Targeting


def replace_serve(targeting: Targeting, rule: str | None, serve: Serve) -> Targeting:
    """Return the targeting with another serve in one rule (None: the default rule)."""
    if rule is None:
        return replace(targeting, default=serve)
    rules = tuple(
        replace(each, serve=serve) if each.id == rule else each for each in targeting.rules
    )
    return replace(targeting, rules=rules)


def find_serve(targeting: Targeting, rule: str | None) -> Serve | None:
    """Return what a rule serves (None: the default rule), or None if there is no such rule."""
    if rule is None:
        return targeting.default
    return next((each.serve for each in targeting.rules if each.id == rule), None)
