"""Small changes, like those that the domain makes."""

from __future__ import annotations

from typing import Any

import redis
from tidegate.model import Flag, Serve, Variant
from tidegate_server.domain.change import Address, Audit, Change, Put, Refresh
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import Environment

SHOP = "shop"
PRODUCTION = "production"


def place(key: str = PRODUCTION) -> Address:
    """Return the address of an environment's document."""
    return Address(Kind.ENVIRONMENT, key)


def put(key: str = PRODUCTION, expected: int = 0, name: str = "") -> Put:
    """Return a write of an environment's document."""
    return Put(place(key), Environment(key, name), expected)


def change(*writes: Any, scope: str = SHOP, **more: Any) -> Change:
    """Return a change of the shop."""
    return Change(scope, tuple(writes), **more)


def flag(key: str, version: int = 1, killed: str | None = None) -> Flag:
    """Return a flag of a snapshot."""
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
    """Return a change that only refreshes an environment's snapshot, with these flags."""
    flags = {key: flag(key) for key in keys}
    return change(refreshes=(Refresh(environment, flags, **more),))


def audit(action: str = "environment.create", target: str = PRODUCTION) -> Audit:
    """Return an audit entry."""
    return Audit("dana", action, target)


def everything(raw: redis.Redis) -> dict[bytes, bytes]:
    """Return the content of a server by key."""
    names: Any = raw.keys()
    return {name: raw.dump(name) for name in names}  # type: ignore[misc]
