"""A flag's rules, written out as the source of one function.

A closure for each condition costs a call for each; a function whose body is the flag's
conditions, one after the other, costs one. Only the shape of the rules becomes source:
whatever a person wrote (names, values, keys) reaches the function as a constant under a name
made here, so no text of theirs is ever compiled. Flags of one shape share the compiled code.

What has no short form as an expression stays a call of its closure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeAlias, TypeVar

import mmh3

from tidegate.context import Context
from tidegate.model import All, AnyOf, Comparison, Condition, InSegment, NoneOf

T = TypeVar("T")
Test: TypeAlias = Callable[[Context], bool]


@dataclass(frozen=True, slots=True)
class Arms(Generic[T]):
    """``below`` to keys whose hash is below ``limit``, ``above`` to the others."""

    prefix: str
    limit: int
    below: T
    above: T
    no_key: T


@dataclass(frozen=True, slots=True)
class Always(Generic[T]):
    """One answer for everyone."""

    answer: T


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    """What a function of the context gives."""

    function: Callable[[Context], T]


Given: TypeAlias = Always[T] | Arms[T] | Asked[T]


def function_of(
    rules: Sequence[tuple[Condition, Given[T]]],
    default: Given[T],
    test_of: Callable[[Condition], Test],
    members_of: Callable[[str], frozenset[str] | None],
) -> Callable[[Context], T]:
    """Return the function that gives what the first matching rule gives, else ``default``.

    Args:
        rules: conditions, and what they give.
        default: what all others get.
        test_of: compiles a condition that has no short form here.
        members_of: the keys of a segment that is nothing but a list of them, else None.
    """
    if not rules and isinstance(default, Asked):
        return default.function
    looks = Counter(attribute for when, _ in rules for attribute in _attributes(when))
    writer = _Writer(looks, test_of, members_of)
    for when, given in rules:
        writer.rule(when, given)
    writer.give(default, "    ")
    return writer.function()


class _Writer:
    """One function in the making: its lines, and the constants that it refers to."""

    def __init__(
        self,
        looks: Mapping[str, int],
        test_of: Callable[[Condition], Test],
        members_of: Callable[[str], frozenset[str] | None],
    ) -> None:
        self._looks = looks
        self._test_of = test_of
        self._members_of = members_of
        self._constants: list[Any] = []
        self._lines: list[str] = []
        self._read: dict[str, str] = {}

    def rule(self, when: Condition, given: Given[Any]) -> None:
        test = self._test(when)
        self._lines.append(f"    if {test}:")
        self.give(given, "        ")

    def give(self, given: Given[Any], indent: str) -> None:
        if isinstance(given, Always):
            self._lines.append(f"{indent}return {self._name(given.answer)}")
        elif isinstance(given, Asked):
            self._lines.append(f"{indent}return {self._name(given.function)}(context)")
        else:
            limit, below, above = map(self._name, (given.limit, given.below, given.above))
            # By position: unsigned with one comparison beats signed with two.
            hashed = f"hash({self._name(given.prefix)} + context.targeting_key, 0, False)"
            self._lines += [
                f"{indent}try:",
                f"{indent}    return {below} if {hashed} < {limit} else {above}",
                f"{indent}except TypeError:",
                f"{indent}    return {self._name(given.no_key)}",
            ]

    def function(self) -> Callable[[Context], Any]:
        names = ", ".join(f"c{number}" for number in range(len(self._constants)))
        source = "\n".join(
            [
                f"def make({names}):",
                "  def evaluate(context):",
                *self._lines,
                "  return evaluate",
            ]
        )
        function: Callable[[Context], Any] = _maker(source)(*self._constants)
        return function

    def _name(self, value: Any) -> str:
        self._constants.append(value)
        return f"c{len(self._constants) - 1}"

    def _test(self, condition: Condition) -> str:
        if isinstance(condition, Comparison):
            return self._comparison(condition)
        if isinstance(condition, InSegment):
            members = self._members_of(condition.segment)
            if members is not None:
                return f"context.targeting_key in {self._name(members)}"
        elif isinstance(condition, All) and condition.all:
            return self._joined(" and ", condition.all)
        elif isinstance(condition, AnyOf) and condition.any:
            return self._joined(" or ", condition.any)
        elif isinstance(condition, NoneOf) and condition.none:
            return f"not {self._joined(' or ', condition.none)}"
        return f"{self._name(self._test_of(condition))}(context)"

    def _joined(self, word: str, parts: Sequence[Condition]) -> str:
        return f"({word.join(self._test(part) for part in parts)})"

    def _comparison(self, condition: Comparison) -> str:
        expected = condition.value
        if "." not in condition.attribute:
            if condition.operator == "equals" and isinstance(expected, str):
                return self._compared(condition.attribute, "==", expected)
            if (
                condition.operator == "in"
                and isinstance(expected, tuple)
                and all(isinstance(item, str) for item in expected)
            ):
                return self._compared(condition.attribute, "in", frozenset(expected))
        return f"{self._name(self._test_of(condition))}(context)"

    def _compared(self, attribute: str, sign: str, expected: object) -> str:
        """Return a comparison of an attribute, which only a text can pass.

        None stands for what is missing, which is found out soonest.
        """
        if self._looks[attribute] > 1:
            value = self._value(attribute)
            return f"({value} is not None and {value} {sign} {self._name(expected)})"
        read = f"(value := {self._place(attribute)})"
        return (
            f"({read} is not None and isinstance(value, str) and value {sign} "
            f"{self._name(expected)})"
        )

    def _value(self, attribute: str) -> str:
        """Return the variable of an attribute's text, None where it is no text.

        It is read once, before the first rule that looks at it.
        """
        if attribute not in self._read:
            variable = f"v{len(self._read)}"
            self._lines += [
                f"    {variable} = {self._place(attribute)}",
                f"    if {variable} is not None and not isinstance({variable}, str):",
                f"        {variable} = None",
            ]
            self._read[attribute] = variable
        return self._read[attribute]

    def _place(self, attribute: str) -> str:
        if attribute == "targetingKey":
            return "context.targeting_key"
        return f"context.attributes.get({self._name(attribute)})"


def _attributes(condition: Condition) -> Iterator[str]:
    """Yield the attribute of each comparison within a condition."""
    if isinstance(condition, Comparison):
        yield condition.attribute
    elif isinstance(condition, All):
        for part in condition.all:
            yield from _attributes(part)
    elif isinstance(condition, AnyOf):
        for part in condition.any:
            yield from _attributes(part)
    elif isinstance(condition, NoneOf):
        for part in condition.none:
            yield from _attributes(part)


@lru_cache(maxsize=512)
def _maker(source: str) -> Callable[..., Any]:
    """Return the compiled maker of a shape; shapes are few, and forgotten beyond a bound."""
    names: dict[str, Any] = {"hash": mmh3.hash}
    exec(compile(source, "<tidegate flag>", "exec", dont_inherit=True), names)  # noqa: S102
    maker: Callable[..., Any] = names.pop("make")  # what refers to itself is freed late
    return maker
