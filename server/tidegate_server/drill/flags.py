"""The flags, the policy and the release of the drill."""

from __future__ import annotations

from typing import Any

NUMBER = "drill-number"
"""A flag whose value is a number, which rises with every change."""

SWITCH = "drill-switch"
"""A flag that is on for everyone, to be killed."""

RELEASED = "drill-release"
"""A flag whose release stays in one stage, so that every operation counts."""

POLICY: dict[str, Any] = {
    "key": "drill",
    "interval": "1s",
    "stages": [{"percentage": 50, "min_duration": "24h"}, {"percentage": 100}],
}


def number_flag(number: int) -> dict[str, Any]:
    """Return the flag with a number as its value."""
    variants = [{"key": "number", "value": number}, {"key": "none", "value": -1}]
    return {"key": NUMBER, "type": "number", "variants": variants}
