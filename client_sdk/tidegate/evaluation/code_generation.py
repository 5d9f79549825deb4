"""A flag's rules written as the source of one function.

A closure for each condition costs a call for each; a function whose body contains the
flag's conditions costs one call. Only the shape of the rules becomes source: names, values
and keys that a person wrote reach the function as constants under generated names, so no
text of theirs is ever compiled. Flags of one shape share the compiled code.

Consecutive rules that compare one attribute with constants become one look-up in a table.
Conditions without a short form as an expression stay calls of their closures.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, TypeAlias

import mmh3
import msgspec

from tidegate.evaluation import operators
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

SHORTEST_TABLE = 3
"""From so many rules on, a look-up in a table is faster than comparisons."""

Rules: TypeAlias = "Sequence[tuple[Condition, Served]]"


class Fixed(msgspec.Struct, frozen=True):
    """The same result for every context."""

    result: Evaluation


class Split(msgspec.Struct, frozen=True):
    """The first result whose limit is above the key's hash under ``prefix``, else the last.

    There is one limit less than there are results; limits do not decrease.
    """

    prefix: str
    limits: tuple[int, ...]
    results: tuple[Evaluation, ...]


class Computed(msgspec.Struct, frozen=True):
    """Whatever a function of the context returns."""

    evaluate: Evaluate


Served: TypeAlias = Fixed | Split | Computed
"""What a rule serves, or the default rule."""


def always(result: Evaluation) -> Evaluate:
    """Return a function that returns ``result`` for every context."""
    return lambda _: result


def generate_function(rules: Rules, default: Served, conditions: ConditionCompiler) -> Evaluate:
    """Return a function that serves the first rule whose condition holds, else ``default``.

    Raises:
        InvalidCondition: a condition cannot be compiled.
    """
    if not rules and isinstance(default, Computed):
        return default.evaluate
    if not rules and isinstance(default, Fixed):
        return always(default.result)
    writer = _FunctionWriter(rules, conditions)
    for attribute, group in itertools.groupby(rules, lambda rule: _compared(rule[0])):
        together = list(group)
        if attribute is not None and len(together) >= SHORTEST_TABLE:
            writer.add_table(attribute, together)
        else:
            for when, served in together:
                writer.add_rule(when, served)
    writer.add_return(default, "    ")
    return writer.function()


def _compared(condition: Condition) -> str | None:
    """Return the attribute that a condition compares with constants; None for other ones."""
    comparison = _of_constants(condition)
    return None if comparison is None else comparison.attribute


def _of_constants(condition: Condition) -> Comparison | None:
    """Return the comparison of a simple attribute with constants that a condition is, or None."""
    while isinstance(condition, All | AnyOf):
        parts = condition.all if isinstance(condition, All) else condition.any
        if len(parts) != 1:
            return None
        condition = parts[0]
    if not isinstance(condition, Comparison) or "." in condition.attribute:
        return None
    return condition if condition.operator in ("equals", "in") else None


class _FunctionWriter:
    """The source of one function, and the constants that it refers to."""

    def __init__(self, rules: Rules, conditions: ConditionCompiler) -> None:
        self._rules = rules
        self._conditions = conditions
        self._uses: Counter[str] | None = None
        self._constants: list[Any] = []
        self._lines: list[str] = []
        self._variables: dict[str, str] = {}

    def add_rule(self, when: Condition, served: Served) -> None:
        """Add a rule: the function returns what it serves if its condition holds."""
        test = self._test(when)
        self._lines.append(f"    if {test}:")
        self.add_return(served, "        ")

    def add_table(self, attribute: str, rules: Rules) -> None:
        """Add rules that compare an attribute with constants, as one look-up.

        A constant of several rules belongs to the first of them.
        """
        fixed = all(isinstance(served, Fixed) for _, served in rules)
        table: dict[object, Any] = {}
        for when, served in rules:
            comparison = _of_constants(when)
            assert comparison is not None
            if fixed and isinstance(served, Fixed):
                found: Any = served.result
            else:
                found = generate_function((), served, self._conditions)
            for constant in operators.constants(comparison.operator, comparison.value):
                # Interned: many flags compare with the same texts.
                key = sys.intern(constant) if isinstance(constant, str) else constant
                table.setdefault(key, found)
        name = self._constant(table)
        test = f"(value := identity({{}})) in {name}"
        if all(isinstance(constant, str) for constant in table):
            test = f"isinstance(value := {{}}, str) and value in {name}"
        self._lines.append(f"    if {self._with_attribute(attribute, test)}:")
        self._lines.append(f"        return {name}[value]{'' if fixed else '(context)'}")

    def add_return(self, served: Served, indent: str) -> None:
        """Add the return of what a rule serves."""
        if isinstance(served, Fixed):
            self._lines.append(f"{indent}return {self._constant(served.result)}")
        elif isinstance(served, Computed):
            self._lines.append(f"{indent}return {self._constant(served.evaluate)}(context)")
        else:
            # Positional arguments, and unsigned: one comparison instead of two.
            hashed = f"hash({self._constant(served.prefix)} + context.targeting_key, 0, False)"
            # The comparisons are in the block, too: to leave it before them takes longer.
            self._lines.append(f"{indent}try:")
            if len(served.limits) != 1:
                self._lines.append(f"{indent}    hashed = {hashed}")
                hashed = "hashed"
            for limit, result in zip(served.limits, served.results, strict=False):
                limit_name, name = self._constant(limit), self._constant(result)
                self._lines.append(f"{indent}    if {hashed} < {limit_name}: return {name}")
            self._lines += [
                f"{indent}except TypeError:",
                f"{indent}    return TARGETING_KEY_MISSING",
                f"{indent}return {self._constant(served.results[-1])}",
            ]

    def function(self) -> Evaluate:
        """Return the function."""
        # Constants are defaults of parameters: as variables of an enclosing function, each
        # would take an object of its own.
        names = "".join(f", c{number}=0" for number in range(len(self._constants)))
        source = "\n".join([f"def evaluate(context{names}):", *self._lines])
        code = _compile_source(source)
        return FunctionType(code, _GLOBALS, "evaluate", tuple(self._constants))

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
        """Return the expression of a comparison that only text can satisfy; None for others."""
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
        if self._is_used_again(attribute):
            variable = self._variable(attribute)
            return f"({variable} is not None and {variable} {comparison})"
        return self._with_attribute(
            attribute, f"isinstance(value := {{}}, str) and value {comparison}"
        )

    def _with_attribute(self, name: str, test: str) -> str:
        """Return a test, with an attribute in the place of ``{}``; false without the attribute.

        Most often the attribute is missing, and to ask for that first takes half the time.
        """
        if name == "targetingKey":
            return f"({test.format('context.targeting_key')})"
        constant = self._constant(name)
        self._read_attributes()
        return f"({constant} in attributes and {test.format(f'attributes[{constant}]')})"

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

    def _is_used_again(self, attribute: str) -> bool:
        """Return whether several conditions compare an attribute."""
        if self._uses is None:
            self._uses = Counter(
                condition.attribute
                for when, _ in self._rules
                for condition in nested_conditions(when)
                if isinstance(condition, Comparison)
            )
        return self._uses[attribute] > 1

    def _attribute(self, name: str) -> str:
        if name == "targetingKey":
            return "context.targeting_key"
        self._read_attributes()
        return f"attributes.get({self._constant(name)})"

    def _read_attributes(self) -> None:
        """Read the context's attributes at the beginning of the function."""
        if self._lines[:1] != [_READ_ATTRIBUTES]:
            self._lines.insert(0, _READ_ATTRIBUTES)


_READ_ATTRIBUTES = "    attributes = context.attributes"
_GLOBALS: dict[str, Any] = {
    "hash": mmh3.hash,
    "identity": operators.identity,
    "isinstance": isinstance,
    "str": str,
    "TypeError": TypeError,
    "TARGETING_KEY_MISSING": TARGETING_KEY_MISSING,
}
"""What a function refers to by name. The functions themselves are not in it: one in its own
globals would be freed only by the garbage collector."""


@lru_cache(maxsize=512)
def _compile_source(source: str) -> CodeType:
    """Return the code of a function of a shape. Shapes are few."""
    module = compile(source, "<tidegate flag>", "exec", dont_inherit=True)
    return next(each for each in module.co_consts if isinstance(each, CodeType))
