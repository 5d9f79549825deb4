from __future__ import annotations

import pytest
from tidegate_server.decisions.evidence_words import (
    duration,
    format_number,
    harm,
    noticeable,
    safety,
    with_limit,
    wobble,
)
from tidegate_server.decisions.reasons import format_log


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


def test_evidence_has_the_same_words_everywhere() -> None:
    assert harm(0.8123) == "evidence of harm 0.812"
    assert harm(1_155.0, 200.0) == "evidence of harm 1,155 (limit 200)"
    assert safety(3.2, 10.0) == "evidence of safety 3.2 (needs 10)"
    assert with_limit(None, "limit", 200.0) == "-"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (3.0642, "errors 3.1 times as frequent would have been noticed, less might not"),
        (44.7128, "errors 44.7 times as frequent would have been noticed, less might not"),
        (412.3, "errors 412 times as frequent would have been noticed, less might not"),
        (None, "even 1,000 times as many errors might not have been noticed"),
    ],
)
def test_the_detectable_ratio_is_said_in_words(ratio: float | None, text: str) -> None:
    assert noticeable(ratio) == text


def test_a_wobble_is_said_in_percent() -> None:
    assert wobble(0.0) == wobble(0.004) == ""
    assert wobble(0.128) == "the arms wobble against each other by 13 %"
