"""Dates and times, in one notation for the SDK and the server.

A text is a date (``2026-05-01``) or a date and time as RFC 3339 writes it
(``2026-05-01T12:00:00.5Z``, ``2026-05-01t14:00:00+02:00``). Seconds and the offset may be missing,
and a space may stand for the T. A leap second, an hour of 24, a week date and a date without
hyphens are not in this notation. Python's own parser would accept some of them, and other ones in
every version.

A number is seconds since 1970, or milliseconds from 100 billion on: JavaScript's ``Date.now()``
gives milliseconds, and so many seconds would be in the year 5138.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from typing import Final

MILLISECONDS_FROM: Final = 10**11
NO_TIME_FROM: Final = 10**14
"""Numbers of this size are neither: as milliseconds they would be in the year 5138."""

_DATE: Final = r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
_TIME: Final = r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?"
_OFFSET: Final = r"[Zz]|([+-])([0-9]{2}):([0-9]{2})"


@cache
def _notation() -> re.Pattern[str]:
    # Not compiled by an import: most processes compare no times.
    return re.compile(f"{_DATE}(?:[Tt ]{_TIME}({_OFFSET})?)?")


def parse_time(text: str) -> datetime | None:
    """Return the time in a text, without a time zone if it has none; None if it is no time.

    A date is its first moment. Digits after the microseconds are dropped.
    """
    match = _notation().fullmatch(text)
    return None if match is None else _time(match)


def seconds_since_1970(value: object) -> float | None:
    """Return the seconds since 1970 of a text, a number, a date or a datetime; None of others.

    What has no offset is in UTC.
    """
    if isinstance(value, str):
        value = parse_time(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if -MILLISECONDS_FROM < value < MILLISECONDS_FROM:
            return value
        return value / 1000 if -NO_TIME_FROM < value < NO_TIME_FROM else None
    if isinstance(value, datetime):
        aware = value if value.utcoffset() is not None else value.replace(tzinfo=UTC)
        return aware.timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    return None


def utc_text(text: str) -> str | None:
    """Return a time as text in UTC, the same for each notation of it; None if it is no time.

    All digits of a second count, but not zeros at their end.
    """
    match = _notation().fullmatch(text)
    moment = None if match is None else _time(match)
    if match is None or moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        whole = aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except OverflowError:
        return None
    digits = (match[7] or "").rstrip("0")
    return f"{whole}.{digits}Z" if digits else f"{whole}Z"


def _time(match: re.Match[str]) -> datetime | None:
    year, month, day, hour, minute, second, fraction, offset, sign, hours, minutes = match.groups()
    zone: timezone | None = None
    if offset:
        ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        if int(hours or 0) > 23 or int(minutes or 0) > 59:
            return None
        zone = timezone(-ahead if sign == "-" else ahead)
    try:
        return datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int(f"{fraction or 0:0<6}"[:6]),
            tzinfo=zone,
        )
    except ValueError:
        return None
