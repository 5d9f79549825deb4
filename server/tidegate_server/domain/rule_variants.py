"""What one rule of a flag serves, read and replaced."""

from __future__ import annotations

from dataclasses import replace

from tidegate.model import Serve

from tidegate_server.domain.flags import Targeting


def with_serve(targeting: Targeting, rule: str | None, serve: Serve) -> Targeting:
    """The targeting with another serve of one rule (None: of the default rule)."""
    if rule is None:
        return replace(targeting, default=serve)
    rules = tuple(
        replace(each, serve=serve) if each.id == rule else each for each in targeting.rules
    )
    return replace(targeting, rules=rules)


def serve_of(targeting: Targeting, rule: str | None) -> Serve | None:
    """What a rule serves (None: the default rule); None when there is no such rule."""
    if rule is None:
        return targeting.default
    return next((each.serve for each in targeting.rules if each.id == rule), None)
