"""When scheduled changes run, on the wall clock of a named time zone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tidegate_server.domain.release_gates import Day
from tidegate_server.domain.scheduled_changes import (
    Recurrence,
    instant_ms,
    next_occurrence,
    zone_of,
)
from tidegate_server.errors import Invalid

BERLIN = zone_of("Europe/Berlin")
"""Clocks go from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25."""


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-03-28T02:30", "2026-03-28T01:30"),
        ("2026-03-29T02:30", "2026-03-29T01:00"),  # skipped: the clock change itself
        ("2026-03-29T03:00", "2026-03-29T01:00"),
        ("2026-10-25T02:30", "2026-10-25T00:30"),  # twice: the first one
        ("2026-10-25T02:30+01:00", "2026-10-25T01:30"),
        ("2026-12-01T09:00", "2026-12-01T08:00"),
        ("2026-12-01", "2026-11-30T23:00"),
    ],
)
def test_a_time_is_on_the_wall_clock(text: str, at: str) -> None:
    assert instant_ms(text, BERLIN, "/at") == utc(at)


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00", "09:00", "0001-01-01T00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        instant_ms(text, BERLIN, "/at")
    assert refused.value.fields[0].pointer == "/at"


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(Invalid, match="Europe/Berlin"):
        zone_of("Mars/Olympus")


def times(every: Recurrence, after: str, count: int) -> list[str]:
    found, at = [], utc(after)
    for _ in range(count):
        following = next_occurrence(every, BERLIN, at)
        assert following is not None
        at = following
        found.append(datetime.fromtimestamp(at / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M"))
    return found


def test_a_daily_time_keeps_its_hour_when_the_clocks_change() -> None:
    assert times(Recurrence(9 * 60), "2026-10-24T00:00", 3) == [
        "2026-10-24T07:00",
        "2026-10-25T08:00",
        "2026-10-26T08:00",
    ]


def test_a_daily_time_runs_once_on_the_days_of_the_clock_changes() -> None:
    half_past_two = Recurrence(2 * 60 + 30)
    assert times(half_past_two, "2026-03-28T12:00", 2) == ["2026-03-29T01:00", "2026-03-30T00:30"]
    assert times(half_past_two, "2026-10-24T12:00", 2) == ["2026-10-25T00:30", "2026-10-26T01:30"]


def test_weekdays_and_days_of_the_month_are_both_met() -> None:
    fridays = Recurrence(18 * 60, (Day.FRI,))
    assert times(fridays, "2026-05-01T16:00", 2) == ["2026-05-08T16:00", "2026-05-15T16:00"]
    firsts = Recurrence(0, month_days=(31,))
    assert times(firsts, "2026-01-31T12:00", 2) == ["2026-03-30T22:00", "2026-05-30T22:00"]
    friday_13 = Recurrence(12 * 60, (Day.FRI,), (13,))
    assert times(friday_13, "2026-01-01T00:00", 2) == ["2026-02-13T11:00", "2026-03-13T11:00"]


def test_a_day_that_never_comes_has_no_time() -> None:
    assert next_occurrence(Recurrence(0, (), ()), BERLIN, utc("2026-01-01T00:00")) is None
