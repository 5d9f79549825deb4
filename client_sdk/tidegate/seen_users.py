"""The users whom this instance has seen lately, for previews of changes on the server.

The server asks for them in its answers to reports, and says how: the secret for the users' names,
which names belong to the sample, which attributes rules compare, and the lists of uploaded keys. A
user is reported under a name that is a hash of the targeting key; the key itself is never sent. The
name also decides if a user belongs to the sample, so it does not matter how often a user comes.

Threads: any thread may call ``look_at``; one thread takes and acknowledges reports. Each step on
the shared dictionaries is atomic, and no lock is taken.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec

from tidegate.context import Context, is_text
from tidegate.runtime.decoders import convert
from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from tidegate.evaluation.key_sets import KeySet

MAX_KNOWN = 20_000
"""After so many targeting keys, those that were looked at are forgotten."""

MAX_WAITING = 200
"""How many users the next report names at most; others come with a later one."""

AGAIN_SECONDS = 600.0
"""After this time a user who is still seen is reported again."""

MAX_TEXT = 500
MAX_LIST = 50
MAX_SIZE = 2_000
"""How many characters the attributes of one user have at most; others are left out."""

LARGEST = 2**63

ALL_NAMES = 1 << 32


class Wanted(msgspec.Struct, frozen=True):
    """Which users the server wants to know.

    Attributes:
        secret: what names are made with.
        below: a user belongs to the sample if the first 32 bits of the name are less.
        attributes: the names of those that rules and segments compare, with dotted paths.
        key_lists: lists of uploaded keys, by the salts of their key sets.
    """

    secret: str
    below: int
    attributes: tuple[str, ...]
    key_lists: tuple[str, ...] = ()


class SeenUsers:
    """The users whom one instance has seen.

    Attributes:
        wanted: None: the server wants none, or the application does not allow it.
        known: the targeting keys that were looked at lately; None while none are wanted, so that
            every operation needs to read no more than this.
        allowed: whether the application allows it.
    """

    def __init__(self, allowed: bool = True) -> None:
        self.allowed: bool = allowed
        self.wanted: Wanted | None = None
        self.known: set[str | None] | None = None
        self._waiting: dict[str, tuple[str, dict[str, Any]]] = {}
        """The targeting keys and the attributes of users, by their names."""
        self._since = time.monotonic()

    def look_at(self, context: Context) -> None:
        """Remember a context's user for the next report, if the server wants to know it."""
        wanted, known, key = self.wanted, self.known, context.targeting_key
        if wanted is None or known is None or not isinstance(key, str):
            return
        if len(self._waiting) >= MAX_WAITING:
            return
        if len(known) >= MAX_KNOWN:
            known.clear()
        known.add(key)
        name = user_name(wanted.secret, key)
        if sample_number(name) < wanted.below:
            self._waiting[name] = (key, reported_attributes(context, wanted.attributes))

    def document(self, key_sets: Collection[KeySet] = ()) -> list[dict[str, Any]]:
        """Return the users whom the next report names.

        Args:
            key_sets: the key sets in force, to say which of the wanted lists have a user's key.
        """
        if self.known and time.monotonic() - self._since > AGAIN_SECONDS:
            self._look_again()
        wanted = self.wanted
        names = () if wanted is None else wanted.key_lists
        lists = [each for each in key_sets if each.salt in names] if names else []
        found: list[dict[str, Any]] = []
        for name, (key, attributes) in list(self._waiting.items()):
            in_lists = {"lists": _lists(key, lists)} if lists else {}
            found.append({"user": name, "attributes": attributes, **in_lists})
        return found

    def acknowledge(self, named: list[dict[str, Any]], answer: object) -> None:
        """Note that the server has these users, and what it wants from now on.

        Args:
            named: the users whom the report named.
            answer: ``seen_users`` of the server's answer.
        """
        for each in named:
            self._waiting.pop(each["user"], None)
        wanted = _parse(answer) if self.allowed else None
        again = self.wanted is None or wanted is None or _asks_for_more(self.wanted, wanted)
        self.wanted = wanted
        if wanted is None:
            self.known = None
            self._waiting.clear()
        elif again:
            self._look_again()

    def _look_again(self) -> None:
        self.known = {None}
        self._since = time.monotonic()


def user_name(secret: str, key: str) -> str:
    """Return the name under which a user is reported: 16 hex digits, a keyed BLAKE2b hash."""
    blake2b = load("hashlib").blake2b
    name: str = blake2b(
        key.encode("utf-8", "surrogatepass"), digest_size=8, key=secret.encode()[:64]
    ).hexdigest()
    return name


def sample_number(name: str) -> int:
    """Return the number of a name, which decides whether the user belongs to the sample."""
    return int(name[:8], 16)


def _asks_for_more(before: Wanted, after: Wanted) -> bool:
    return (before.attributes, before.key_lists) != (after.attributes, after.key_lists)


def _lists(key: str, lists: list[KeySet]) -> dict[str, bool]:
    """Return which lists of uploaded keys have a targeting key, by their salts."""
    if not is_text(key):
        return {}
    key_test = load("tidegate.evaluation.key_sets").key_test
    context = Context(key)
    return {each.salt: key_test(each, each.salt)(context) for each in lists}


def reported_attributes(context: Context, names: tuple[str, ...]) -> dict[str, Any]:
    """Return those attributes of a context that a report names, by their dotted paths.

    Values are scalars, or lists of scalars. Others, and what is too large, are left out.
    """
    found: dict[str, Any] = {}
    size = 0
    attributes = context.attributes
    nested_attribute = load("tidegate.evaluation.conditions").nested_attribute
    for name in names:
        try:
            value = _plain(nested_attribute(attributes, name, name.split(".")))
            if value is None:
                continue
            size += len(name) + len(repr(value)) + 6
        except Exception:  # noqa: S112 - whatever an application gave as an attribute
            continue
        if size > MAX_SIZE:
            break
        found[name] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -LARGEST < value < LARGEST else None
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if isinstance(value, str):
        return str(value) if len(value) <= MAX_TEXT and is_text(value) else None
    if isinstance(value, list | tuple | set | frozenset) and len(value) <= MAX_LIST:
        parts = [_plain(part) for part in value]
        nested = any(part is None or isinstance(part, list) for part in parts)
        return None if nested else parts
    return None


def _parse(answer: object) -> Wanted | None:
    """Return what a server wants; None if it says nothing, or not in this way."""
    if not isinstance(answer, dict):
        return None
    try:
        return convert(answer, Wanted)
    except msgspec.ValidationError:
        return None
