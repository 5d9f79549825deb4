"""Timestamps as text, and the times when a policy allows a percentage to be raised.

Advance windows and freezes are compared with the wall clock of a named time zone, so a window
keeps its hours when daylight-saving time begins or ends. A freeze whose bound falls into a
repeated hour covers both of them. If its bound falls into a skipped hour, it begins or ends
with the clock change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tidegate.evaluation.instants import parse_time

from tidegate_server.domain.release_gates import AdvanceWindow, Day, Freeze, Windows

DAY_MS = 24 * 60 * 60 * 1000

_DAYS = tuple(Day)
SEARCH_DAYS = 15
"""How many days ahead the next opening is searched: every window opens within a week."""


def time_zone(name: str) -> ZoneInfo | None:
    """Return the time zone of an IANA name, or None if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def instant_text(at_ms: int) -> str:
    """Return milliseconds since the epoch as text: ``2026-01-31T09:00:00.250Z``."""
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Closure:
    """Why no percentage may be raised at a time.

    Attributes:
        word: ``frozen`` or ``window closed``.
        reason: until when, and why.
        since_ms: when a freeze began; None for a window.
        until_ms: when the freeze ends, or the window opens; None: no window ever opens.
    """

    word: str
    reason: str
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def text(self) -> str:
        """The closure in words."""
        if self.word == FROZEN:
            return f"{self.word} {self.reason}"
        return f"the advance window is closed{'; ' if self.reason else ''}{self.reason}"


FROZEN = "frozen"


def utc_text(at_ms: int) -> str:
    """Return a time for people: ``2026-01-31 09:00:00 UTC``."""
    return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


def closed_because(windows: Windows, now_ms: int) -> str | None:
    """Return why no percentage may be raised now, or None if it may.

    Args:
        windows: the windows of a valid policy.
        now_ms: the store's time.
    """
    closure = closed_now(windows, now_ms)
    return None if closure is None else closure.text


def closed_now(windows: Windows, now_ms: int) -> Closure | None:
    """Return the closure in which no percentage may be raised now, or None if it may."""
    zone = time_zone(windows.timezone) or ZoneInfo("UTC")
    now = datetime.fromtimestamp(now_ms / 1000, tz=UTC)
    for freeze in windows.freeze:
        begins, ends = freeze_bounds(freeze, zone)
        if begins <= now < ends:
            why = f": {freeze.reason}" if freeze.reason else ""
            until = f"until {_wall_clock_text(ends.astimezone(zone))}{why}"
            return Closure(FROZEN, until, _milliseconds(begins), _milliseconds(ends))
    local = now.astimezone(zone)
    if windows.advance and not any(_covers(window, local) for window in windows.advance):
        opens = _next_opening(windows, local)
        until = f"it opens {_wall_clock_text(opens)}" if opens is not None else ""
        until_ms = _milliseconds(opens) if opens is not None else None
        return Closure("window closed", until, until_ms=until_ms)
    return None


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def freeze_bounds(freeze: Freeze, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when a freeze begins and ends, in UTC.

    Raises:
        ValueError: a bound is not a date or a time.
    """
    begins = _instant(freeze.begins, zone, fold=0, end_of_day=False)
    ends = _instant(freeze.ends, zone, fold=1, end_of_day=True)
    return begins, ends


def _instant(text: str, zone: ZoneInfo, *, fold: int, end_of_day: bool) -> datetime:
    # Policies that were stored by an earlier version may have other notations.
    moment = parse_time(text) or datetime.fromisoformat(text)
    if end_of_day and len(text) == len("2026-12-24"):
        moment += timedelta(days=1)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone, fold=fold)
    return moment.astimezone(UTC)


def _covers(window: AdvanceWindow, local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    if window.opens < window.closes:
        return _DAYS[local.weekday()] in window.days and window.opens <= minute < window.closes
    if minute >= window.opens and _DAYS[local.weekday()] in window.days:
        return True
    return minute < window.closes and _DAYS[local.weekday() - 1] in window.days


def _next_opening(windows: Windows, local: datetime) -> datetime | None:
    openings = []
    for days in range(SEARCH_DAYS):
        day = local.date() + timedelta(days=days)
        for window in windows.advance:
            if _DAYS[day.weekday()] not in window.days:
                continue
            opens = datetime.combine(day, time(), tzinfo=local.tzinfo) + timedelta(
                minutes=window.opens
            )
            if opens > local:
                openings.append(opens)
        if openings:
            return min(openings)
    return None


def _wall_clock_text(moment: datetime) -> str:
    return f"{moment:%a %Y-%m-%d %H:%M} {moment.tzname()}"
