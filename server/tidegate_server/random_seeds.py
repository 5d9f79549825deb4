"""Random number generators for simulations; the same seed gives the same numbers."""

from __future__ import annotations

from random import Random


def random_generator(seed: int, kind: str, number: int) -> Random:
    """Return the generator of one simulated release of a kind, independent of all others."""
    return Random(f"{seed} {kind} {number}")  # noqa: S311 - nothing here is a secret
