"""The policies that come with the product, as people would write them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from tidegate_server.documents.policy_schemas import PolicyBody, PolicyFields
from tidegate_server.domain.policy import Policy
from tidegate_server.strict_text import parse_yaml

NAMES = ("standard", "careful", "hotfix", "dark-launch")


def is_shipped(name: str) -> bool:
    """Whether a policy of this name comes with the product."""
    return name in NAMES


@cache
def text(name: str) -> str:
    """A policy's YAML text; ``name`` is one of ``NAMES``."""
    folder = files("tidegate_server.documents") / "shipped"
    return (folder / f"{name}.yaml").read_text(encoding="utf-8")


def document(name: str) -> dict[str, Any]:
    """A policy as an object with named fields."""
    found: dict[str, Any] = parse_yaml(text(name), f"Policy {name}")
    return found


def policy(name: str) -> Policy:
    """A policy itself."""
    found: Policy = PolicyBody().load(document(name))
    return found


def canonical(name: str) -> dict[str, Any]:
    """A policy as the API would answer with it, every field said."""
    found: dict[str, Any] = PolicyFields().dump(policy(name))
    return found
