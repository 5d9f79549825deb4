from __future__ import annotations

import pytest
from tidegate_server.decisions.evidence_words import duration, format_log, format_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0004, "less than 0.001"),
        (0.31234, "0.312"),
        (4.567, "4.57"),
        (312.4, "312"),
        (54_321.0, "54,321"),
        (2e9, "more than a million"),
    ],
)
def test_numbers_read_well(value: float, text: str) -> None:
    assert format_number(value) == text


def test_a_number_too_large_for_a_float_reads_well() -> None:
    assert format_log(5_000.0) == "more than a million"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (1_500, "1.5 s"),
        (59_000, "59 s"),
        (60_000, "1 min"),
        (90_000, "90 s"),
        (900_000, "15 min"),
        (3_600_000, "1 h"),
        (129_600_000, "36 h"),
        (172_800_000, "2 d"),
    ],
)
def test_durations_read_well(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text
