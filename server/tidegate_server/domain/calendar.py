"""Moments as clocks show them: instants, and when a percentage may be raised.

The latter is said in advance windows and freezes, in a named time zone.

Wall clocks are compared, not durations, so a window keeps its hours when daylight-saving
time begins or ends. A freeze whose bound falls into a repeated hour covers both of them,
one whose bound falls into a missing hour begins and ends with the clock's step.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tidegate_server.domain.release_gates import AdvanceWindow, Day, Freeze, Windows

_DAYS = tuple(Day)
SEARCH_DAYS = 15
"""How far ahead the next opening is looked for: every window opens within a week."""


def zone(name: str) -> ZoneInfo | None:
    """The time zone of an IANA name; None where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def instant_text(at_ms: int) -> str:
    """``2026-01-31T09:00:00.250Z`` for milliseconds since the epoch."""
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def closed_because(windows: Windows, now_ms: int) -> str | None:
    """Why no percentage may be raised now; None when it may.

    Args:
        windows: the policy's, checked when it was written.
        now_ms: store clock.
    """
    local_zone = zone(windows.timezone) or ZoneInfo("UTC")
    now = datetime.fromtimestamp(now_ms / 1000, tz=UTC)
    for freeze in windows.freeze:
        begins, ends = freeze_bounds(freeze, local_zone)
        if begins <= now < ends:
            why = f": {freeze.reason}" if freeze.reason else ""
            return f"frozen until {_said(ends.astimezone(local_zone))}{why}"
    local = now.astimezone(local_zone)
    if windows.advance and not any(_covers(window, local) for window in windows.advance):
        opens = _next_opening(windows, local)
        until = f"; it opens {_said(opens)}" if opens is not None else ""
        return f"the advance window is closed{until}"
    return None


def freeze_bounds(freeze: Freeze, local_zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The instants at which a freeze begins and ends, in UTC.

    Raises:
        ValueError: a bound is no ISO 8601 date or time.
    """
    begins = _instant(freeze.begins, local_zone, fold=0, whole_day=False)
    ends = _instant(freeze.ends, local_zone, fold=1, whole_day=True)
    return begins, ends


def _instant(text: str, local_zone: ZoneInfo, *, fold: int, whole_day: bool) -> datetime:
    if len(text) == len("2026-12-24"):
        day = date.fromisoformat(text) + timedelta(days=1 if whole_day else 0)
        moment = datetime.combine(day, time())
    else:
        moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=local_zone, fold=fold)
    return moment.astimezone(UTC)


def _covers(window: AdvanceWindow, local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    if window.opens < window.closes:
        return _DAYS[local.weekday()] in window.days and window.opens <= minute < window.closes
    if minute >= window.opens and _DAYS[local.weekday()] in window.days:
        return True
    return minute < window.closes and _DAYS[local.weekday() - 1] in window.days


def _next_opening(windows: Windows, local: datetime) -> datetime | None:
    found = []
    for days in range(SEARCH_DAYS):
        day = local.date() + timedelta(days=days)
        for window in windows.advance:
            if _DAYS[day.weekday()] not in window.days:
                continue
            opens = datetime.combine(day, time(), tzinfo=local.tzinfo) + timedelta(
                minutes=window.opens
            )
            if opens > local:
                found.append(opens)
        if found:
            return min(found)
    return None


def _said(moment: datetime) -> str:
    return f"{moment:%a %Y-%m-%d %H:%M} {moment.tzname()}"
