"""A flag's rules written as the source of one function.

A closure for each condition costs a call for each; a function whose body contains the
flag's conditions costs one call. Only the shape of the rules becomes source: names, values
and keys that a person wrote reach the function as constants under generated names, so no
text of theirs is ever compiled. Flags of one shape share the compiled code.

Conditions without a short form as an expression stay calls of their closures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import mmh3

from tidegate.evaluation.conditions import ConditionCompiler
from tidegate.evaluation.results import TARGETING_KEY_MISSING, Evaluate, Evaluation
from tidegate.model import (
    All,
    AnyOf,
    Comparison,
    Condition,
    InSegment,
    NoneOf,
    nested_conditions,
)


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same result for every context."""

    result: Evaluation


@dataclass(frozen=True, slots=True)
class TwoWaySplit:
    """``below`` for keys whose hash under ``prefix`` is below ``limit``, else ``above``."""

    prefix: str
    limit: int
    below: Evaluation
    above: Evaluation


@dataclass(frozen=True, slots=True)
class Computed:
    """Whatever a function of the context returns."""

    evaluate: Evaluate


Served: TypeAlias = Fixed | TwoWaySplit | Computed
"""What a rule serves, or the default rule."""


def generate_function(
    rules: Sequence[tuple[Condition, Served]], default: Served, conditions: ConditionCompiler
) -> Evaluate:
    """Return a function that serves the first rule whose condition holds, else ``default``.

    Raises:
        InvalidCondition: a condition cannot be compiled.
    """
    if not rules and isinstance(default, Computed):
        return default.evaluate
    writer = _FunctionWriter(rules, conditions)
    for when, served in rules:
        writer.add_rule(when, served)
    writer.add_return(default, "    ")
    return writer.function()


class _FunctionWriter:
    """The source of one function, and the constants that it refers to."""

    def __init__(
        self, rules: Sequence[tuple[Condition, Served]], conditions: ConditionCompiler
    ) -> None:
        self._uses = Counter(
            condition.attribute
            for when, _ in rules
            for condition in nested_conditions(when)
            if isinstance(condition, Comparison)
        )
        self._conditions = conditions
        self._constants: list[Any] = []
        self._lines: list[str] = []
        self._variables: dict[str, str] = {}

    def add_rule(self, when: Condition, served: Served) -> None:
        test = self._test(when)
        self._lines.append(f"    if {test}:")
        self.add_return(served, "        ")

    def add_return(self, served: Served, indent: str) -> None:
        if isinstance(served, Fixed):
            self._lines.append(f"{indent}return {self._constant(served.result)}")
        elif isinstance(served, Computed):
            self._lines.append(f"{indent}return {self._constant(served.evaluate)}(context)")
        else:
            prefix = self._constant(served.prefix)
            limit, below, above = map(self._constant, (served.limit, served.below, served.above))
            # Positional arguments, and unsigned: one comparison instead of two.
            hash_ = f"hash({prefix} + context.targeting_key, 0, False)"
            self._lines += [
                f"{indent}try:",
                f"{indent}    return {below} if {hash_} < {limit} else {above}",
                f"{indent}except TypeError:",
                f"{indent}    return {self._constant(TARGETING_KEY_MISSING)}",
            ]

    def function(self) -> Evaluate:
        names = ", ".join(f"c{number}" for number in range(len(self._constants)))
        lines = [f"def make({names}):", "  def evaluate(context):", *self._lines]
        function: Evaluate = _compile_source("\n".join([*lines, "  return evaluate"]))(
            *self._constants
        )
        return function

    def _constant(self, value: Any) -> str:
        self._constants.append(value)
        return f"c{len(self._constants) - 1}"

    def _test(self, condition: Condition) -> str:
        """Return the expression that tests a condition."""
        if isinstance(condition, Comparison):
            text_test = self._text_test(condition)
            if text_test is not None:
                return text_test
        elif isinstance(condition, InSegment):
            members = self._conditions.segment_members(condition.segment)
            if members is not None:
                return f"context.targeting_key in {self._constant(members)}"
        elif isinstance(condition, All) and condition.all:
            return self._joined(" and ", condition.all)
        elif isinstance(condition, AnyOf) and condition.any:
            return self._joined(" or ", condition.any)
        elif isinstance(condition, NoneOf) and condition.none:
            return f"not {self._joined(' or ', condition.none)}"
        return f"{self._constant(self._conditions.test(condition))}(context)"

    def _joined(self, word: str, parts: Sequence[Condition]) -> str:
        return f"({word.join(self._test(part) for part in parts)})"

    def _text_test(self, condition: Comparison) -> str | None:
        """Return the expression of a comparison that only text can satisfy; None for others.

        It compares with None first, since most often the attribute is missing.
        """
        attribute, expected = condition.attribute, condition.value
        if "." in attribute:
            return None
        if condition.operator == "equals" and isinstance(expected, str):
            comparison = f"== {self._constant(expected)}"
        elif (
            condition.operator == "in"
            and isinstance(expected, tuple)
            and all(isinstance(item, str) for item in expected)
        ):
            comparison = f"in {self._constant(frozenset(expected))}"
        else:
            return None
        if self._uses[attribute] > 1:
            variable = self._variable(attribute)
            return f"({variable} is not None and {variable} {comparison})"
        value = f"(value := {self._attribute(attribute)})"
        return f"({value} is not None and isinstance(value, str) and value {comparison})"

    def _variable(self, attribute: str) -> str:
        """Return the variable with an attribute's text, or None if it is not text.

        The function reads the attribute once, before the first rule that uses it.
        """
        if attribute not in self._variables:
            variable = f"v{len(self._variables)}"
            self._lines += [
                f"    {variable} = {self._attribute(attribute)}",
                f"    if {variable} is not None and not isinstance({variable}, str):",
                f"        {variable} = None",
            ]
            self._variables[attribute] = variable
        return self._variables[attribute]

    def _attribute(self, name: str) -> str:
        if name == "targetingKey":
            return "context.targeting_key"
        return f"context.attributes.get({self._constant(name)})"


@lru_cache(maxsize=512)
def _compile_source(source: str) -> Callable[..., Any]:
    """Return the function that makes functions of a shape. Shapes are few."""
    names: dict[str, Any] = {"hash": mmh3.hash}
    exec(compile(source, "<tidegate flag>", "exec", dont_inherit=True), names)  # noqa: S102
    # Popped: a function in its own globals would be freed only by the garbage collector.
    make: Callable[..., Any] = names.pop("make")
    return make
