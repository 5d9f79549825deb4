"""The policies in the documentation are valid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.documents.lint import load_policy
from tidegate_server.domain.checks import Compare, Metric
from tidegate_server.strict_text import parse_yaml

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
BASE: dict[str, Any] = {
    "key": "example",
    "stages": [{"percentage": 10}, {"percentage": 50}, {"percentage": 100}],
}


def find_fragments(page: str) -> list[dict[str, Any]]:
    """Return the parts of policies on a page; other programs' files are none."""
    texts = BLOCK.findall((DOCS / page).read_text())
    return [parse_yaml(text, page) for text in texts if "scrape_configs:" not in text]


def complete(fragment: dict[str, Any]) -> dict[str, Any]:
    """Return a whole policy with a fragment; the last stage opens to everyone."""
    stages = fragment.get("stages", BASE["stages"])
    if stages[-1]["percentage"] != 100:
        stages = [*stages, {"percentage": 100}]
    return {**BASE, **fragment, "stages": stages}


FRAGMENTS = [
    fragment
    for page in ("policies.md", "operations/production.md")
    for fragment in find_fragments(page)
]


@pytest.mark.parametrize("number", range(len(FRAGMENTS)))
def test_every_policy_in_the_documentation_is_valid(number: int) -> None:
    load_policy(complete(FRAGMENTS[number]))


def test_every_metric_has_an_example_of_every_comparison() -> None:
    checks = [
        check for fragment in find_fragments("policies.md") for check in fragment.get("checks", ())
    ]
    shown = {(check["metric"], check["compare"]) for check in checks}
    assert shown == {(str(metric), str(compare)) for metric in Metric for compare in Compare}
