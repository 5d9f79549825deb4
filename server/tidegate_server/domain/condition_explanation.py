"""Why a condition holds for a context or does not, in words.

Every part is tested by the SDK's own code, so an explanation never differs from an evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.context import Context
from tidegate.errors import InvalidCondition, InvalidFlag
from tidegate.evaluation.conditions import (
    NO_KEY_SETS,
    ConditionCompiler,
    KeySets,
    nested_attribute,
)
from tidegate.model import (
    All,
    AnyOf,
    Comparison,
    Condition,
    InKeySet,
    InSegment,
    NoneOf,
    Segment,
)

from tidegate_server.domain.seen_users import KEY_LISTS

LONGEST_VALUE = 100
"""How many characters of a value are shown."""

DEEPEST = 5
"""So many segments within segments are explained."""


@dataclass(frozen=True, slots=True)
class Explained:
    """Whether a condition holds, and why."""

    holds: bool
    why: str


class ConditionExplainer:
    """Explains the conditions of one snapshot.

    Args:
        segments: the snapshot's segments by key.
        key_sets: the key sets that they name.
    """

    def __init__(self, segments: Mapping[str, Segment], key_sets: KeySets = NO_KEY_SETS) -> None:
        self._segments = segments
        self._compiler = ConditionCompiler(segments, key_sets)

    def explain(self, condition: Condition, context: Context, depth: int = 0) -> Explained:
        """Return whether a condition holds for a context, and why; a part that decides suffices."""
        try:
            holds = self._compiler.test(condition)(context)
        except (InvalidCondition, InvalidFlag) as error:
            return Explained(False, f"the condition cannot be compiled: {error}")
        if isinstance(condition, Comparison):
            return Explained(holds, _comparison(condition, context, holds))
        if isinstance(condition, InSegment):
            return Explained(holds, self._segment(condition.segment, context, holds, depth))
        if isinstance(condition, All):
            why = self._parts(condition.all, context, depth, decisive=False, decided=not holds)
            return Explained(holds, why)
        if isinstance(condition, AnyOf):
            why = self._parts(condition.any, context, depth, decisive=True, decided=holds)
            return Explained(holds, why)
        if isinstance(condition, NoneOf):
            why = self._parts(condition.none, context, depth, decisive=True, decided=not holds)
            return Explained(holds, why)
        if isinstance(condition, InKeySet):
            among = "is among" if holds else "is not among"
            return Explained(holds, f"the targeting key {among} {condition.count:,} uploaded keys")
        return Explained(holds, "it holds" if holds else "it does not hold")

    def _parts(
        self,
        parts: tuple[Condition, ...],
        context: Context,
        depth: int,
        *,
        decisive: bool,
        decided: bool,
    ) -> str:
        """Return the explanation of the first part that decides, or of all parts if none does.

        Args:
            parts: of the group.
            context: for whom.
            depth: how many segments are around it.
            decisive: what a part that decides alone is: it holds (``any``, ``none``) or it does
                not (``all``).
            decided: whether such a part decided.
        """
        explained = [self.explain(part, context, depth) for part in parts]
        if not explained:
            return "it has no parts"
        if decided:
            return next(each.why for each in explained if each.holds is decisive)
        return " and ".join(each.why for each in explained)

    def _segment(self, key: str, context: Context, holds: bool, depth: int) -> str:
        where = f"in segment {key}" if holds else f"not in segment {key}"
        segment = self._segments.get(key)
        if segment is None:
            return f"there is no segment {key}"
        if context.targeting_key in segment.excluded:
            return f"{where}, which excludes the targeting key"
        if context.targeting_key in segment.included:
            return f"{where}, which includes the targeting key"
        if segment.when is None or depth >= DEEPEST:
            return f"{where}, which does not list the targeting key" if not holds else where
        return f"{where}: {self.explain(segment.when, context, depth + 1).why}"


def _comparison(comparison: Comparison, context: Context, holds: bool) -> str:
    name, operator = comparison.attribute, comparison.operator.replace("_", " ")
    value = _value(context, name)
    found = f"{name} is missing" if value is None else f"{name} is {_json(value)}"
    if name == KEY_LISTS:
        return f"the targeting key is {'' if holds else 'not '}among the uploaded keys"
    if comparison.operator == "exists":
        return found
    wanted = f"{operator} {_json(_plain(comparison.value))}"
    if value is None:
        return f"{found}, so it does not meet: {wanted}"
    return f"{found}, which {'meets' if holds else 'does not meet'}: {wanted}"


def _value(context: Context, name: str) -> Any:
    if name == "targetingKey":
        return context.targeting_key
    return nested_attribute(context.attributes, name, name.split("."))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
