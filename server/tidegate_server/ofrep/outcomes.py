"""Outcomes of operations that used remotely evaluated flags.

The client names the variant that each flag gave it. The server evaluates the flag again for the
same context. If the variant is the same, the outcome counts for its arm and stage. If not, the
release has moved on, and the outcome counts for neither arm.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.context import is_text
from tidegate.evaluation.results import Evaluation

from tidegate_server.errors import InvalidEvaluationRequest
from tidegate_server.ofrep.evaluation_requests import (
    PARSE_ERROR,
    TARGETING_KEY,
    TARGETING_KEY_MISSING,
    EvaluationRequest,
)
from tidegate_server.ofrep.exposures import ExposureCounts, exposures_by_release
from tidegate_server.ofrep.flag_views import FlagView

OUTCOMES = ("ok", "error")
MAX_FLAGS = 100
MAX_VALUES = 20
MAX_DURATION_MS = 24 * 60 * 60 * 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one operation.

    Attributes:
        key: the targeting key.
        variants: the variant that each flag gave.
        outcome: ``ok`` or ``error``.
        microseconds: the duration; None if unknown.
        values: measured values, by name.
    """

    key: str
    variants: Mapping[str, str]
    outcome: str
    microseconds: int | None
    values: Mapping[str, float]


def parse_outcome(request: EvaluationRequest) -> Outcome:
    """Return the outcome in a request's body.

    Raises:
        InvalidEvaluationRequest: a field is missing or invalid.
    """
    body = request.body
    key = request.context.targeting_key
    if not key:
        raise InvalidEvaluationRequest(
            TARGETING_KEY_MISSING, f"An outcome needs the {TARGETING_KEY} of its user."
        )
    variants = body.get("flags")
    if not isinstance(variants, Mapping) or not variants or len(variants) > MAX_FLAGS:
        raise InvalidEvaluationRequest(
            PARSE_ERROR,
            'flags must name the variant that each flag gave: {"new-checkout": "on"}, '
            f"{MAX_FLAGS} at most.",
        )
    if not all(isinstance(variant, str) for variant in variants.values()):
        raise InvalidEvaluationRequest(
            PARSE_ERROR, "flags must give the name of a variant for each flag."
        )
    if body.get("outcome") not in OUTCOMES:
        raise InvalidEvaluationRequest(PARSE_ERROR, f"outcome must be {' or '.join(OUTCOMES)}.")
    microseconds = _microseconds(body["duration_ms"]) if "duration_ms" in body else None
    values = _values(body["values"]) if "values" in body else {}
    return Outcome(key, variants, body["outcome"], microseconds, values)


def _microseconds(duration: Any) -> int:
    if not _is_number(duration) or not 0 <= duration <= MAX_DURATION_MS:
        raise InvalidEvaluationRequest(
            PARSE_ERROR, f"duration_ms must be a number of milliseconds, {MAX_DURATION_MS} at most."
        )
    return int(duration * 1_000)


def _values(values: Any) -> Mapping[str, float]:
    if not isinstance(values, Mapping) or len(values) > MAX_VALUES:
        raise InvalidEvaluationRequest(
            PARSE_ERROR, f"values must be an object of numbers, {MAX_VALUES} at most."
        )
    if not all(is_text(name) and _is_number(value) for name, value in values.items()):
        raise InvalidEvaluationRequest(PARSE_ERROR, "values must give a number for each name.")
    return {name: float(value) for name, value in values.items()}


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # math.isfinite refuses larger integers


def count_outcome(
    view: FlagView,
    counts: ExposureCounts,
    request: EvaluationRequest,
    outcome: Outcome,
    *,
    bounded: bool,
) -> list[str]:
    """Count an outcome for its releases, and return the flags that it counts for.

    ``bounded``: a user counts for a release only ``MAX_OUTCOMES`` times within a window.
    """
    evaluations: dict[str, Evaluation] = {}
    for key, variant in outcome.variants.items():
        flag = view.flags.get(key)
        if flag is None:
            continue
        evaluation, _ = flag.evaluate(request.context)
        if evaluation.variant == variant and evaluation.exposures:
            evaluations[key] = evaluation
    exposures = exposures_by_release(evaluations.values())
    if bounded:
        exposures = counts.within_bounds(exposures, outcome.key)
        evaluations = {
            key: each
            for key, each in evaluations.items()
            if any(exposure.release in exposures for exposure in each.exposures)
        }
    if evaluations:
        counts.count_outcome(
            exposures,
            outcome.outcome,
            outcome.microseconds,
            outcome.key,
            outcome.values,
        )
    return list(evaluations)
