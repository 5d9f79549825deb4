"""Numbers as people write them in options: ``200/min``, ``1%``, ``x3``."""

from __future__ import annotations

import re

import click

PER_MINUTE = {"s": 60.0, "min": 1.0, "m": 1.0, "h": 1 / 60, "d": 1 / 1_440}


def rate(text: str) -> float:
    """Operations a minute, written ``200/min``, ``5/s`` or ``1000/h``: a type of options."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)(?:/(s|min|m|h|d))?", text)
    if found is None or float(found[1]) <= 0:
        raise click.BadParameter(f"{text!r} is no traffic; it is written 200/min, 5/s or 1000/h.")
    return float(found[1]) * PER_MINUTE[found[2] or "min"]


def share(text: str) -> float:
    """A share, written ``1%`` or ``0.01``: a type of options."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)(%?)", text.replace(" ", ""))
    value = float(found[1]) / (100.0 if found[2] else 1.0) if found else 0.0
    if not 0.0 < value < 1.0:
        raise click.BadParameter(
            f"{text!r} is no share between 0 and 1; one is written 1% or 0.01."
        )
    return value


def times(text: str) -> float:
    """How many times as many, written ``x3`` or ``3``: a type of options."""
    found = re.fullmatch(r"x?([0-9]*\.?[0-9]+)x?", text)
    if found is None or float(found[1]) <= 1.0:
        raise click.BadParameter(f"{text!r} is no factor above 1; one is written x3.")
    return float(found[1])


def segment_share(text: str) -> tuple[str, float]:
    """A segment's share of the users, written ``staff=2%``: a type of options."""
    key, equals, of = text.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{text!r} is no segment with its share; write staff=2%.")
    return key, share(of)
