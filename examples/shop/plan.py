"""The documents of the quickstart: a segment, two flags and a policy.

The policy's times are short, so that the releases end within two minutes. For a policy for real
releases see ``docs/operations/production.md``.
"""

from __future__ import annotations

from typing import Any

SEGMENT: dict[str, Any] = {
    "key": "logged-out",
    "name": "Visitors without an account",
    "when": {"attribute": "logged_in", "operator": "equals", "value": False},
}


def boolean_flag(key: str, description: str) -> dict[str, Any]:
    """Return a flag with the variants ``off`` and ``on``."""
    return {
        "key": key,
        "type": "boolean",
        "description": description,
        "variants": [{"key": "off", "value": False}, {"key": "on", "value": True}],
    }


GOOD = "fast-checkout"
BAD = "broken-search"

FLAGS = (
    boolean_flag(GOOD, "Pay in one step instead of three."),
    boolean_flag(BAD, "Search results based on what the shopper bought before."),
)


def stage(name: str, percentage: float, *segments: str) -> dict[str, Any]:
    """Return a stage that lasts until there is evidence, and at least a few seconds."""
    document: dict[str, Any] = {
        "name": name,
        "percentage": percentage,
        "min_duration": "3s",
        "min_samples": 25,
    }
    if segments:
        document["segments"] = list(segments)
    return document


POLICY: dict[str, Any] = {
    "key": "quickstart",
    "name": "Short stages, for the quickstart",
    "interval": "1s",
    "stages": [
        stage("some-logged-out", 10, "logged-out"),
        stage("few", 5),
        stage("quarter", 25),
        stage("half", 50),
        stage("everyone", 100),
    ],
    "checks": [
        {
            "metric": "error_rate",
            "compare": "control",
            "tolerance": {"relative": 0.1},
            "false_alarm": 0.001,
            "on_failure": "rollback",
        }
    ],
    "bake": "5s",
}
