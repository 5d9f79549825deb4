"""Documents as the server sends them, with defaults for what a test does not set."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from tidegate import wire
from tidegate.errors import WireError
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot, compile_snapshot
from tidegate.evaluation.key_sets import KeySet, hashes_content, key_hash

from tests.sdk import naive_evaluator


def a_flag(key: str, **changes: Any) -> dict[str, Any]:
    """A flag that is on for everyone."""
    return {
        "key": key,
        "type": "boolean",
        "version": 1,
        "salt": key,
        "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
        "enabled": True,
        "off_variant": "off",
        "default": {"variant": "on"},
        **changes,
    }


def a_release(*openings: tuple[float, list[str]], **changes: Any) -> dict[str, Any]:
    """A release from ``off`` to ``on`` with these percentages for these segments."""
    return {
        "id": "rel_1",
        "rule": None,
        "control": "off",
        "treatment": "on",
        "salt": "rel_1",
        "stage": len(openings),
        "step": 1,
        "openings": [
            {"stage": stage, "percentage": percentage, "segments": segments}
            for stage, (percentage, segments) in enumerate(openings, 1)
        ],
        "report_interval": 5,
        **changes,
    }


def prerequisites(*others: str) -> list[dict[str, Any]]:
    """Prerequisites that other flags are on."""
    return [{"flag": other, "variants": ["on"]} for other in others]


def a_snapshot(*flags: dict[str, Any], **segments: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "project": "shop",
        "environment": "production",
        "version": 1,
        "flags": {flag["key"]: flag for flag in flags},
        "segments": {key: {"key": key, **segment} for key, segment in segments.items()},
    }


KEY_SETS: dict[str, KeySet] = {}
"""The key sets that tests have made, by digest."""


def key_set(salt: str, *keys: str) -> KeySet:
    """A key set that ``compiled`` and the naive evaluator know."""
    content = hashes_content(sorted(key_hash(f"{salt}:{key}") for key in keys))
    made = KeySet.of_content(sha256(content).hexdigest(), salt, content)
    KEY_SETS[made.digest] = made
    naive_evaluator.KEY_SETS[made.digest] = frozenset(keys)
    return made


def in_key_set(keys: KeySet) -> dict[str, Any]:
    """The condition that the targeting key is in a key set."""
    return {"key_set": keys.digest, "salt": keys.salt, "count": len(keys)}


def compiled(document: dict[str, Any]) -> CompiledSnapshot:
    """Return a snapshot compiled as a client compiles it, with the parts that cannot be read."""
    broken: dict[str, WireError] = {}
    return compile_snapshot(wire.parse_snapshot(document, broken), broken, key_sets=KEY_SETS)
