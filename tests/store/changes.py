"""Changes as the domain makes them, small enough to read."""

from __future__ import annotations

from typing import Any

import redis
from tidegate.model import Flag, Serve, Variant
from tidegate_server.domain.change import Address, Audit, Change, Kind, Put, Refresh
from tidegate_server.domain.projects import Environment

SHOP = "shop"
PRODUCTION = "production"


def place(key: str = PRODUCTION) -> Address:
    """Where an environment's document is."""
    return Address(Kind.ENVIRONMENT, key)


def put(key: str = PRODUCTION, expected: int = 0, name: str = "") -> Put:
    """A document of the shop's."""
    return Put(place(key), Environment(key, name), expected)


def change(*writes: Any, scope: str = SHOP, **more: Any) -> Change:
    """A change of the shop."""
    return Change(scope, tuple(writes), **more)


def flag(key: str, version: int = 1, killed: str | None = None) -> Flag:
    """A flag as a snapshot holds it."""
    return Flag(
        key,
        "boolean",
        version,
        key,
        (Variant("on", True), Variant("off", False)),
        True,
        "off",
        Serve("off"),
        killed=killed,
    )


def refreshed(*keys: str, environment: str = PRODUCTION, **more: Any) -> Change:
    """A change of nothing but an environment's snapshot: these flags, or a new version."""
    flags = {key: flag(key) for key in keys}
    return change(refreshes=(Refresh(environment, flags, **more),))


def audit(action: str = "environment.create", target: str = PRODUCTION) -> Audit:
    """Return an audit entry."""
    return Audit("dana", action, target)


def everything(raw: redis.Redis) -> dict[bytes, bytes]:
    """All that a server holds, key by key."""
    names: Any = raw.keys()
    return {name: raw.dump(name) for name in names}  # type: ignore[misc]
