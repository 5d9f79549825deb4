"""The policies that come with Tidegate, in YAML."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from tidegate_server.documents.policy_schemas import PolicyBody, PolicyFields
from tidegate_server.domain.policy import Policy
from tidegate_server.strict_text import parse_yaml

NAMES = ("standard", "careful", "hotfix", "dark-launch")


def is_shipped(name: str) -> bool:
    """Return whether a policy of this name comes with Tidegate."""
    return name in NAMES


@cache
def text(name: str) -> str:
    """Return a policy's YAML text; ``name`` is one of ``NAMES``."""
    folder = files("tidegate_server.documents") / "shipped"
    return (folder / f"{name}.yaml").read_text(encoding="utf-8")


def document(name: str) -> dict[str, Any]:
    """Return a policy as parsed YAML."""
    parsed: dict[str, Any] = parse_yaml(text(name), f"Policy {name}")
    return parsed


def policy(name: str) -> Policy:
    """Return a policy."""
    loaded: Policy = PolicyBody().load(document(name))
    return loaded


def canonical(name: str) -> dict[str, Any]:
    """Return a policy as the API does, with every field."""
    dumped: dict[str, Any] = PolicyFields().dump(policy(name))
    return dumped
