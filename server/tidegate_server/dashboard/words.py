"""Numbers, times and durations as people read them: three digits, spaced percent, "14:20"."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from typing import Final

from markupsafe import Markup, escape

MORE_THAN = 1_000_000
"""Evidence above this is "more than a million"."""

TIE = "\u00a0"
"""A space at which no line breaks: it keeps a number and its unit together."""

WEEKDAYS: Final = (
    ("mon", "Monday"),
    ("tue", "Tuesday"),
    ("wed", "Wednesday"),
    ("thu", "Thursday"),
    ("fri", "Friday"),
    ("sat", "Saturday"),
    ("sun", "Sunday"),
)
"""The days of the week, as the API and as people name them."""

RAISED: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

UNTIED = re.compile(r"(?<=\d) (?=(?:%|ms|s|min|h|d)(?!\w))")


def number(value: float) -> str:
    """Return a number with three significant digits; whole thousands keep all their digits."""
    if not math.isfinite(value):
        return "unlimited" if value > 0 else "unknown"
    magnitude = abs(value)
    if magnitude > MORE_THAN:
        return "more than a million" if value > 0 else "less than minus a million"
    if magnitude >= 100:
        return f"{round(value):,}"
    if magnitude == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(magnitude)))
    if digits > 6:
        return "almost 0"
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(value: float) -> str:
    """Return a number as ``number`` does, and in few letters also above a million."""
    return f"{MORE_THAN:,}+" if value > MORE_THAN else number(value)


def power(value: float) -> str:
    """Return a power of ten for the scale of a chart: 0.1, 100, 1,000, 10⁴, 10⁶, 10⁹."""
    if value < 9_999:
        return number(value)
    return "10" + str(round(math.log10(value))).translate(RAISED)


def count(value: float) -> str:
    """Return a count of people or operations: whole, with commas."""
    return f"{round(value):,}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 member", "2 members"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percent(value: float) -> str:
    """Return a percentage, ``value`` being of 100."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + f"{TIE}%"


def rate(part: float, whole: float) -> str:
    """Return a rate of errors with two decimals; "none yet" where nothing was counted."""
    return "none yet" if whole <= 0 else f"{100 * part / whole:.2f}{TIE}%"


def ratio(value: float) -> str:
    """Return a ratio of the treatment to the control, such as 1.1 times."""
    return f"{value:.1f}\u00d7" if value < 10 else f"{value:.0f}\u00d7"


def duration(milliseconds: float) -> str:
    """Return a length of time in its fitting unit: 240 ms, 22 s, 25 min, 2.4 h, 3 d."""
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{round(milliseconds)}{TIE}ms"
    if seconds < 100:
        return f"{round(seconds)}{TIE}s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{round(minutes)}{TIE}min"
    hours = minutes / 60
    if hours < 48:
        return f"{hours:.1f}".removesuffix(".0") + f"{TIE}h"
    return f"{hours / 24:.1f}".removesuffix(".0") + f"{TIE}d"


def tied(text: str) -> str:
    """Return a text of the API in which each number keeps its unit beside it."""
    return UNTIED.sub(TIE, text)


def parse_instant(text: str) -> datetime:
    """Return the time that an answer of the API names."""
    return datetime.fromisoformat(text).astimezone(UTC)


def clock(at: datetime, now: datetime, zone: tzinfo, *, seconds: bool = False) -> str:
    """Return a time as a reader in a zone says it: "14:20", "yesterday 16:40", "9 Nov"."""
    local, today = at.astimezone(zone), now.astimezone(zone).date()
    hour = f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"
    days = (today - local.date()).days
    if days == 0:
        return hour
    if days == 1:
        return f"yesterday {hour}"
    if days == -1:
        return f"tomorrow {hour}"
    day = f"{local.day} {local:%b}"
    return day if local.year == today.year else f"{day} {local.year}"


def time_element(text: str | None, now: datetime, zone: tzinfo, *, seconds: bool = False) -> Markup:
    """Return a ``<time>`` with the exact time in UTC as its title; empty if there is no time."""
    if not text:
        return Markup("")
    at = parse_instant(text)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(timespec="milliseconds"),
        at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        escape(clock(at, now, zone, seconds=seconds)),
    )


def link_words(url: str) -> str:
    """Return how a page names a link: the end of its path, or its host."""
    host, _, path = url.partition("//")[2].partition("/")
    return path.rstrip("/").rpartition("/")[2][:40] or host


def ago(text: str, now: datetime) -> str:
    """Return how long ago a time is, below a minute as "now"."""
    milliseconds = (now - parse_instant(text)).total_seconds() * 1000
    return "now" if milliseconds < 60_000 else f"{duration(milliseconds)} ago"
