"""Recently seen users: a sample of an environment's users, known by hashes of their keys.

Nobody knows the targeting key of a seen user, so its buckets are not known either. An evaluation
takes its name for the key. The name is a hash, as random as the key's own hashes, so the shares of
a split and of a release are right, although the single user may be in another bucket. Where a rule
or a segment names targeting keys, their names are put in place of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from tidegate.context import Context
from tidegate.model import (
    All,
    AnyOf,
    Comparison,
    Condition,
    Flag,
    InKeySet,
    NoneOf,
    Segment,
    nested_conditions,
)

from tidegate_server.domain.change import Stored

TARGETING_KEY = "targetingKey"
NAMEABLE = ("equals", "in", "exists")
"""The operators on targeting keys that can be told from names."""

KEY_LISTS = "\0key lists"
"""The attribute of a seen user that has the lists of uploaded keys with the user's key, by their
salts. The server's own hashes of uploaded keys do not fit to a name, so the SDKs say it."""

MOST_KEY_LISTS = 20
MOST_ATTRIBUTES = 100
LONGEST_ATTRIBUTE = 100

Name = Callable[[str], str]
"""Returns the name of the user with a targeting key."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SeenUser:
    """A user who was seen in the last hour.

    Attributes:
        name: 16 hex digits, a keyed hash of the targeting key.
        attributes: those that rules and segments compare, by their dotted paths.
        lists: whether lists of uploaded keys have the user's key, by their salts; of those that are
            missing the SDK knew nothing.
        seen_ms: when the server last heard of it (the store's time); 0: not known yet.
    """

    name: str
    attributes: Mapping[str, Any]
    lists: Mapping[str, bool] = field(default_factory=dict)
    seen_ms: int = 0

    @property
    def context(self) -> Context:
        """The context to evaluate flags with: the name stands for the targeting key."""
        context = Context(self.name)
        having = [salt for salt, has in self.lists.items() if has]
        context.attributes = {**self.attributes, KEY_LISTS: having}
        return context


@dataclass(frozen=True, slots=True)
class SeenUserSample:
    """A fair sample of the users of the last hour.

    ``share``: how many of all users belong to it, 0 to 1.
    """

    users: tuple[SeenUser, ...]
    share: float

    @property
    def population(self) -> int:
        """About how many users there were in all."""
        return round(len(self.users) / self.share) if self.share else 0

    def knows(self, salt: str) -> bool:
        """Return whether of every user is known if a list of uploaded keys has the user's key."""
        return all(salt in user.lists for user in self.users)


def compared_attributes(conditions: Iterable[Condition | None]) -> tuple[str, ...]:
    """Return the names of the attributes that conditions compare, in order; the first 100."""
    found = {
        part.attribute
        for condition in conditions
        if condition is not None
        for part in nested_conditions(condition)
        if isinstance(part, Comparison) and part.attribute != TARGETING_KEY
    }
    short = (name for name in found if len(name) <= LONGEST_ATTRIBUTE)
    return tuple(sorted(short)[:MOST_ATTRIBUTES])


def attributes_of_targetings(targetings: Mapping[str, Stored]) -> tuple[str, ...]:
    """Return the names of the attributes that the rules of targetings compare."""
    return compared_attributes(
        rule.when for stored in targetings.values() for rule in stored.document.rules
    )


def attributes_of_segments(segments: Mapping[str, Stored]) -> tuple[str, ...]:
    """Return the names of the attributes that segments compare."""
    return compared_attributes(stored.document.when for stored in segments.values())


def key_lists_of_segments(segments: Mapping[str, Stored]) -> tuple[str, ...]:
    """Return the salts of the lists with uploaded keys, by the keys of segments; the first 20."""
    found = (
        keys.salt
        for _, stored in sorted(segments.items())
        for keys in (stored.document.included_set, stored.document.excluded_set)
        if keys is not None
    )
    return tuple(islice(found, MOST_KEY_LISTS))


def flag_for_seen_users(flag: Flag, name: Name) -> Flag:
    """Return a flag that evaluates names as it would evaluate the keys behind them."""
    rules = tuple(replace(rule, when=_named_condition(rule.when, name)) for rule in flag.rules)
    return replace(flag, rules=rules)


def segment_for_seen_users(segment: Segment, name: Name) -> Segment:
    """Return a segment that contains the names of the keys that it contains."""
    when = None if segment.when is None else _named_condition(segment.when, name)
    return replace(
        segment,
        when=when,
        included=tuple(map(name, segment.included)),
        excluded=tuple(map(name, segment.excluded)),
    )


def unknown_to_names(
    conditions: Iterable[Condition | None], sample: SeenUserSample
) -> Iterator[str]:
    """Yield in words what conditions do with targeting keys that the sample does not tell."""
    for condition in conditions:
        if condition is None:
            continue
        for part in nested_conditions(condition):
            if isinstance(part, InKeySet) and not sample.knows(part.salt):
                yield "asks for the uploaded keys of a segment"
            if (
                isinstance(part, Comparison)
                and part.attribute == TARGETING_KEY
                and part.operator not in NAMEABLE
            ):
                yield f"compares targeting keys with {part.operator}"


def unreported_attributes(
    conditions: Iterable[Condition | None], sample: SeenUserSample
) -> Iterator[str]:
    """Yield the attributes that conditions compare and that no user of the sample has.

    SDKs report only attributes that a saved rule or segment compares.
    """
    reported = {name for user in sample.users for name in user.attributes}
    for name in compared_attributes(conditions):
        if sample.users and name not in reported:
            yield name


def _named_condition(condition: Condition, name: Name) -> Condition:
    if isinstance(condition, All):
        return All(tuple(_named_condition(part, name) for part in condition.all))
    if isinstance(condition, AnyOf):
        return AnyOf(tuple(_named_condition(part, name) for part in condition.any))
    if isinstance(condition, NoneOf):
        return NoneOf(tuple(_named_condition(part, name) for part in condition.none))
    if isinstance(condition, InKeySet):
        return Comparison(KEY_LISTS, "contains", condition.salt)
    if isinstance(condition, Comparison) and condition.attribute == TARGETING_KEY:
        value = condition.value
        if isinstance(value, str):
            return replace(condition, value=name(value))
        if isinstance(value, tuple):
            named = tuple(name(each) if isinstance(each, str) else each for each in value)
            return replace(condition, value=named)
    return condition
