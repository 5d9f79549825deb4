from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain.calendar import closed_because, freeze_bounds, instant_text, time_zone
from tidegate_server.domain.release_gates import AdvanceWindow, Day, Freeze, Windows

WORKDAYS = (Day.MON, Day.TUE, Day.WED, Day.THU, Day.FRI)
OFFICE = AdvanceWindow(WORKDAYS, opens=9 * 60, closes=16 * 60)
BERLIN = Windows("Europe/Berlin", (OFFICE,))


def at(text: str) -> int:
    """Milliseconds of a time with an offset."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-01-05T08:59:59+01:00", False),  # a Monday
        ("2026-01-05T09:00:00+01:00", True),
        ("2026-01-05T15:59:59+01:00", True),
        ("2026-01-05T16:00:00+01:00", False),
        ("2026-01-09T12:00:00+01:00", True),  # a Friday
        ("2026-01-10T12:00:00+01:00", False),  # a Saturday
    ],
)
def test_a_window_is_open_from_its_first_minute_until_its_last(moment: str, is_open: bool) -> None:
    assert (closed_because(BERLIN, at(moment)) is None) == is_open


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        # Berlin goes from UTC+1 to UTC+2 on 2026-03-29, and back on 2026-10-25.
        ("2026-03-27T07:30:00+00:00", False),
        ("2026-03-27T08:00:00+00:00", True),
        ("2026-03-30T07:00:00+00:00", True),
        ("2026-03-30T14:00:00+00:00", False),
        ("2026-10-23T07:00:00+00:00", True),
        ("2026-10-26T07:30:00+00:00", False),
        ("2026-10-26T08:00:00+00:00", True),
    ],
)
def test_a_window_keeps_its_hours_when_the_clocks_change(moment: str, is_open: bool) -> None:
    assert (closed_because(BERLIN, at(moment)) is None) == is_open


def test_a_closed_window_names_its_next_opening_in_the_wall_clock_of_that_day() -> None:
    friday = at("2026-03-27T17:00:00+01:00")
    assert closed_because(BERLIN, friday) == (
        "the advance window is closed; it opens Mon 2026-03-30 09:00 CEST"
    )


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    night = Windows("UTC", (AdvanceWindow((Day.FRI,), opens=22 * 60, closes=2 * 60),))
    assert closed_because(night, at("2026-01-09T23:00:00+00:00")) is None
    assert closed_because(night, at("2026-01-10T01:59:00+00:00")) is None
    assert closed_because(night, at("2026-01-10T02:00:00+00:00")) is not None
    assert closed_because(night, at("2026-01-10T23:00:00+00:00")) is not None
    assert closed_because(night, at("2026-01-09T01:00:00+00:00")) is not None


def test_one_of_several_windows_is_enough() -> None:
    both = Windows("UTC", (AdvanceWindow((Day.MON,)), AdvanceWindow((Day.SUN,), 0, 60)))
    assert closed_because(both, at("2026-01-05T12:00:00+00:00")) is None
    assert closed_because(both, at("2026-01-04T00:30:00+00:00")) is None
    assert closed_because(both, at("2026-01-04T12:00:00+00:00")) is not None


def test_a_freeze_of_dates_includes_the_last_day() -> None:
    frozen = Windows("Europe/Berlin", (), (Freeze("2026-12-20", "2026-12-31", "holidays"),))
    assert closed_because(frozen, at("2026-12-19T23:59:59+01:00")) is None
    assert closed_because(frozen, at("2026-12-20T00:00:00+01:00")) is not None
    assert closed_because(frozen, at("2026-12-31T23:59:59+01:00")) == (
        "frozen until Fri 2027-01-01 00:00 CET: holidays"
    )
    assert closed_because(frozen, at("2027-01-01T00:00:00+01:00")) is None


def test_a_freeze_closes_an_open_window() -> None:
    windows = Windows("UTC", (OFFICE,), (Freeze("2026-01-05T10:00", "2026-01-05T11:00"),))
    assert closed_because(windows, at("2026-01-05T09:30:00+00:00")) is None
    assert closed_because(windows, at("2026-01-05T10:30:00+00:00")) is not None
    assert closed_because(windows, at("2026-01-05T11:00:00+00:00")) is None


def test_a_freeze_with_an_offset_ignores_the_time_zone_of_the_policy() -> None:
    begins, ends = freeze_bounds(
        Freeze("2026-01-05T10:00:00+05:00", "2026-01-05T10:00:00-05:00"),
        ZoneInfo("Europe/Berlin"),
    )
    assert begins == datetime(2026, 1, 5, 5, tzinfo=UTC)
    assert ends == datetime(2026, 1, 5, 15, tzinfo=UTC)


def test_a_freeze_around_a_repeated_hour_covers_both_of_them() -> None:
    # 02:30 comes twice in Berlin on 2026-10-25: at 00:30 and at 01:30 UTC.
    begins, ends = freeze_bounds(
        Freeze("2026-10-25T02:30", "2026-10-25T02:30:01"), ZoneInfo("Europe/Berlin")
    )
    assert begins == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert ends == datetime(2026, 10, 25, 1, 30, 1, tzinfo=UTC)


def test_an_unknown_time_zone_is_none() -> None:
    assert time_zone("Europe/Berlin") is not None
    for name in ("Mars/Olympus", "../etc/passwd", "", "Europe"):
        assert time_zone(name) is None


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
    st.lists(
        st.builds(
            AdvanceWindow,
            st.lists(st.sampled_from(Day), min_size=1, unique=True).map(tuple),
            st.integers(0, 1439),
            st.integers(1, 1440),
        ),
        max_size=3,
    ).map(tuple),
)
def test_windows_follow_the_wall_clock(
    moment: datetime, timezone: str, advance: tuple[AdvanceWindow, ...]
) -> None:
    utc = moment.replace(microsecond=0, tzinfo=UTC)
    wall = utc.astimezone(ZoneInfo(timezone))
    minutes = wall.hour * 60 + wall.minute
    days = list(Day)

    def covers(window: AdvanceWindow) -> bool:
        today, yesterday = days[wall.weekday()], days[wall.weekday() - 1]
        closes = window.closes if window.closes > window.opens else window.closes + 1440
        return (today in window.days and window.opens <= minutes < closes) or (
            yesterday in window.days and window.opens <= minutes + 1440 < closes
        )

    expected = not advance or any(covers(window) for window in advance)
    closed = closed_because(Windows(timezone, advance), round(utc.timestamp() * 1000))
    assert (closed is None) == expected


def test_instants_are_iso_8601() -> None:
    assert instant_text(1_700_000_000_250) == "2023-11-14T22:13:20.250Z"
