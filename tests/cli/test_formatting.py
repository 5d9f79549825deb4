"""Values from the API as short text."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.cli import formatting

PRO = {"attribute": "plan", "operator": "equals", "value": "pro"}
KNOWN = {"attribute": "email", "operator": "exists"}


@pytest.mark.parametrize(
    ("when", "output"),
    [
        (None, "none"),
        (PRO, 'plan equals "pro"'),
        (KNOWN, "email exists"),
        ({"segment": "staff"}, "in segment staff"),
        ({"all": [PRO, KNOWN]}, 'plan equals "pro" and email exists'),
        (
            {"any": [PRO, {"all": [PRO, KNOWN]}]},
            'plan equals "pro" or (plan equals "pro" and email exists)',
        ),
        ({"none": [PRO, KNOWN]}, 'not (plan equals "pro" or email exists)'),
        ({"all": [{"none": [KNOWN]}, {"any": [PRO]}]}, 'not (email exists) and plan equals "pro"'),
        ({"all": []}, "everyone"),
        ({"any": []}, "nobody"),
    ],
)
def test_conditions_are_formatted_as_text(when: Any, output: str) -> None:
    assert formatting.condition(when) == output


def test_served_variants_are_formatted_with_percentages() -> None:
    assert formatting.serving({"variant": "on"}) == "on"
    split = [{"variant": "on", "weight": 0.125}, {"variant": "off", "weight": 99.875}]
    assert formatting.serving({"split": split}) == "on 0.125 %, off 99.875 %"


def test_the_audience_of_a_stage_is_formatted() -> None:
    assert formatting.audience({"percentage": 5, "segments": []}) == "5 % of everyone"
    assert formatting.audience({"percentage": 100, "segments": ["a", "b"]}) == "100 % of a, b"


def test_times_are_formatted() -> None:
    assert formatting.instant("2026-01-31T09:00:00.250Z") == "2026-01-31 09:00:00Z"
    assert formatting.instant(None) == ""
    assert formatting.instant_from_ms(1_769_850_000_250) == "2026-01-31 09:00:00Z"
    assert formatting.milliseconds(None) == "-"
    assert formatting.milliseconds(34.6) == "35 ms"
    assert formatting.milliseconds(1_240) == "1.2 s"
