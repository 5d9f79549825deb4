"""A client without a network, with one flag under release, and what it has counted."""

from __future__ import annotations

from typing import Any

from tidegate import Client

SNAPSHOT: dict[str, Any] = {
    "schema": 1,
    "project": "shop",
    "environment": "test",
    "version": 1,
    "segments": {},
    "flags": {
        "checkout": {
            "key": "checkout",
            "type": "boolean",
            "version": 1,
            "salt": "checkout",
            "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
            "enabled": True,
            "off_variant": "off",
            "default": {"variant": "off", "split": []},
            "rules": [],
            "prerequisites": [],
            "killed": None,
            "release": {
                "id": "rel_1",
                "rule": None,
                "control": "off",
                "treatment": "on",
                "salt": "rel_1",
                "stage": 1,
                "step": 1,
                "openings": [{"stage": 1, "percentage": 100, "segments": []}],
                "report_interval": 1,
                "measures": ["latency", "basket_value"],
            },
        }
    },
}


def counted(client: Client) -> dict[str, Any]:
    """The treatment's totals, and the users who failed."""
    report = client._reporter.compose()
    totals = [each["treatment"] for each in report["counts"]]
    return {
        "exposures": sum(each["exposures"] for each in totals),
        "outcomes": sum(each["outcomes"] for each in totals),
        "errors": sum(each["errors"] for each in totals),
        "failing": sum(len(each["users"]) for each in report["failing"]),
    }


def counts(exposures: int, outcomes: int, errors: int, failing: int = 0) -> dict[str, int]:
    return {"exposures": exposures, "outcomes": outcomes, "errors": errors, "failing": failing}
