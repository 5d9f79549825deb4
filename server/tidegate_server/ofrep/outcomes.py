"""How a unit of work ended that was done with remotely evaluated flags.

The one who reports says which variant each flag gave. The server asks the flag again for the
same context: where it gives that variant still, the outcome counts for the arm and the stage
that it stands for. Where it gives another, the release has moved on meanwhile, and the outcome
is evidence for neither arm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.evaluation.results import Evaluation

from tidegate_server.ofrep.evaluation_requests import (
    PARSE_ERROR,
    TARGETING_KEY,
    TARGETING_KEY_MISSING,
    NotAsked,
    Question,
)
from tidegate_server.ofrep.exposures import Exposures, exposures_of
from tidegate_server.ofrep.flag_views import View

OUTCOMES = ("ok", "error")
MOST_FLAGS = 100
MOST_VALUES = 20
LONGEST_MS = 24 * 60 * 60 * 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a unit of work ended.

    Attributes:
        key: whose it was.
        flags: the variant that each flag gave.
        outcome: ``ok`` or ``error``.
        microseconds: how long it took; None when nobody said.
        values: what was measured in it, by name.
    """

    key: str
    flags: Mapping[str, str]
    outcome: str
    microseconds: int | None
    values: Mapping[str, float]


def read_outcome(question: Question) -> Outcome:
    """Read an outcome from a request's body.

    Raises:
        NotAsked: it says no outcome, of nobody, or of no flag.
    """
    said = question.said
    key = question.context.targeting_key
    if not key:
        raise NotAsked(
            TARGETING_KEY_MISSING, f"An outcome needs the {TARGETING_KEY} of whom it met."
        )
    flags = said.get("flags")
    if not isinstance(flags, Mapping) or not flags or len(flags) > MOST_FLAGS:
        raise NotAsked(
            PARSE_ERROR,
            'flags must name the variant that each flag gave: {"new-checkout": "on"}, '
            f"{MOST_FLAGS} at most.",
        )
    if not all(isinstance(variant, str) for variant in flags.values()):
        raise NotAsked(PARSE_ERROR, "flags must give the name of a variant for each flag.")
    if said.get("outcome") not in OUTCOMES:
        raise NotAsked(PARSE_ERROR, f"outcome must be {' or '.join(OUTCOMES)}.")
    took = _microseconds(said["duration_ms"]) if "duration_ms" in said else None
    values = _values(said["values"]) if "values" in said else {}
    return Outcome(key, flags, said["outcome"], took, values)


def _microseconds(duration: Any) -> int:
    if not _is_number(duration) or not 0 <= duration <= LONGEST_MS:
        raise NotAsked(PARSE_ERROR, "duration_ms must be the milliseconds that it took.")
    return int(duration * 1_000)


def _values(values: Any) -> Mapping[str, float]:
    if not isinstance(values, Mapping) or len(values) > MOST_VALUES:
        raise NotAsked(
            PARSE_ERROR, f"values must be numbers by their names, {MOST_VALUES} at most."
        )
    if not all(_is_number(value) for value in values.values()):
        raise NotAsked(PARSE_ERROR, "values must give a number for each name.")
    return {name: float(value) for name, value in values.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def count(view: View, exposures: Exposures, question: Question, said: Outcome) -> list[str]:
    """Count an outcome for the releases that it met, and return their flags."""
    met: dict[str, Evaluation] = {}
    for key, variant in said.flags.items():
        served = view.flags.get(key)
        if served is None:
            continue
        answer, _ = served.ask(question.context)
        if answer.variant == variant and answer.exposures:
            met[key] = answer
    if met:
        exposures.ended(
            exposures_of(met.values()), said.outcome, said.microseconds, said.key, said.values
        )
    return list(met)
