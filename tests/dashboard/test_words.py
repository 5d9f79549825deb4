"""Numbers, times and durations read as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.dashboard import words

NOW = datetime(2026, 11, 26, 14, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.1584, "0.158"),
        (4.5, "4.5"),
        (22.04, "22"),
        (255.4, "255"),
        (6707.2, "6,707"),
        (1_000_001, "more than a million"),
        (float("inf"), "unlimited"),
        (1e-9, "almost 0"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (240, "240\u00a0ms"),
        (22_000, "22\u00a0s"),
        (1_500_000, "25\u00a0min"),
        (8_640_000, "2.4\u00a0h"),
        (10_800_000, "3\u00a0h"),
        (3 * 86_400_000, "3\u00a0d"),
    ],
)
def test_durations_have_their_fitting_unit(milliseconds: float, text: str) -> None:
    assert words.duration(milliseconds) == text


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (NOW, "15:16"),
        (NOW - timedelta(days=1), "yesterday 15:16"),
        (NOW + timedelta(days=1), "tomorrow 15:16"),
        (NOW - timedelta(days=17), "9 Nov"),
        (NOW - timedelta(days=400), "22 Oct 2025"),
        (NOW.replace(hour=23, minute=30), "tomorrow 00:30"),
    ],
)
def test_times_are_in_the_readers_zone(at: datetime, text: str) -> None:
    assert words.clock(at, NOW, ZoneInfo("Europe/Berlin")) == text


def test_a_time_names_its_instant_in_utc() -> None:
    element = words.time_element("2026-11-26T13:00:00.5Z", NOW, ZoneInfo("Europe/Berlin"))
    assert 'datetime="2026-11-26T13:00:00.500+00:00"' in element
    assert 'title="2026-11-26 13:00:00 UTC"' in element
    assert ">14:00<" in element


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_has_words(value: float) -> None:
    assert words.number(value)


def test_no_line_breaks_between_a_number_and_its_unit() -> None:
    said = "waiting: 110 s of 10 min at 12.5 %; 3 dogs, 2 minutes, 1 s"
    tied = "waiting: 110\u00a0s of 10\u00a0min at 12.5\u00a0%; 3 dogs, 2 minutes, 1\u00a0s"
    assert words.tied(said) == tied


def test_a_number_beyond_a_million_is_short_where_there_is_little_room() -> None:
    assert words.short(2e6) == "1,000,000+"
    assert words.short(22.04) == "22"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (1_000, "1,000"), (1e4, "10⁴"), (1e6, "10⁶"), (1e9, "10⁹"), (1e12, "10¹²")],
)
def test_a_scale_names_powers_of_ten_in_little_room(value: float, text: str) -> None:
    assert words.power(value) == text
