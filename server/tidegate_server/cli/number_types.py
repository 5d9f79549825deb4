"""Option types for numbers with a unit: ``200/min``, ``1%``, ``x3``."""

from __future__ import annotations

import re

import click

from tidegate_server.whatif.user_activity import DEFAULT_SKEW, Activity, ActivityKind

PER_MINUTE = {"s": 60.0, "min": 1.0, "m": 1.0, "h": 1 / 60, "d": 1 / 1_440}


def rate(text: str) -> float:
    """Return operations per minute from ``200/min``, ``5/s`` or ``1000/h``."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)(?:/(s|min|m|h|d))?", text)
    if match is None or float(match[1]) <= 0:
        raise click.BadParameter(f"{text!r} is not a rate. Examples: 200/min, 5/s, 1000/h.")
    return float(match[1]) * PER_MINUTE[match[2] or "min"]


def per_day(text: str) -> float:
    """Return events per day from ``2/d`` or ``1/h``."""
    return rate(text if "/" in text else f"{text}/d") * 1_440


def share(text: str) -> float:
    """Return a share between 0 and 1 from ``1%`` or ``0.01``."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)(%?)", text.replace(" ", ""))
    value = float(match[1]) / (100.0 if match[2] else 1.0) if match else 0.0
    if not 0.0 < value < 1.0:
        raise click.BadParameter(f"{text!r} is not a share between 0 and 1. Examples: 1%, 0.01.")
    return value


def factor(text: str) -> float:
    """Return a factor above 1 from ``x3`` or ``3``."""
    match = re.fullmatch(r"x?([0-9]*\.?[0-9]+)x?", text)
    if match is None or float(match[1]) <= 1.0:
        raise click.BadParameter(f"{text!r} is not a factor above 1. Example: x3.")
    return float(match[1])


def segment_share(text: str) -> tuple[str, float]:
    """Return a segment and its share of the users from ``staff=2%``."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{text!r} is not SEGMENT=SHARE. Example: staff=2%.")
    return key, share(value)


def user_activity(text: str) -> Activity:
    """Return the users' activity from ``zipf``, ``zipf:1.2`` or ``log-normal:0.8``."""
    name, colon, skew = text.partition(":")
    try:
        kind = ActivityKind(name.replace("-", "_"))
        value = float(skew) if colon else DEFAULT_SKEW[kind]
    except ValueError:
        kind, value = ActivityKind.EQUAL, 1.0
    if (kind is ActivityKind.EQUAL) != (value == 0.0) or not 0.0 <= value <= 3.0:
        raise click.BadParameter(
            f"{text!r} is not an activity. Examples: equal, log-normal:1, zipf:1. The number after "
            "the colon is above 0 and at most 3."
        )
    return Activity(kind, value)
