"""The policies in the documentation are such as the server takes."""

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


def pieces(page: str) -> list[dict[str, Any]]:
    """The pieces of policies on a page."""
    return [parse_yaml(text, page) for text in BLOCK.findall((DOCS / page).read_text())]


def whole(piece: dict[str, Any]) -> dict[str, Any]:
    """A policy with a piece of the page in it; stages are gone up to everyone."""
    stages = piece.get("stages", BASE["stages"])
    if stages[-1]["percentage"] != 100:
        stages = [*stages, {"percentage": 100}]
    return {**BASE, **piece, "stages": stages}


PIECES = [piece for page in ("policies.md", "operations/production.md") for piece in pieces(page)]


@pytest.mark.parametrize("number", range(len(PIECES)))
def test_a_piece_of_a_policy_can_be_carried_out(number: int) -> None:
    load_policy(whole(PIECES[number]))


def test_every_metric_has_an_example_of_every_comparison() -> None:
    checks = [check for piece in pieces("policies.md") for check in piece.get("checks", ())]
    shown = {(check["metric"], check["compare"]) for check in checks}
    assert shown == {(str(metric), str(compare)) for metric in Metric for compare in Compare}
