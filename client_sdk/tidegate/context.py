"""The evaluation context: a targeting key and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_MISSING: Final = object()


def is_text(value: str) -> bool:
    """Return whether a string can be encoded as UTF-8. If not, mmh3 crashes the process."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain_text(value: str) -> str | None:
    """Return the text of a proxy that stands for one, or of a subclass; None if it has none.

    Later, and in the thread that reports, a proxy may stand for something else, or for nothing.
    """
    try:
        text = str.__str__(value) if issubclass(type(value), str) else str(value)
        return text if is_text(text) else None
    except Exception:
        return None


class Context:
    """An evaluation context, as OpenFeature defines it. Treat it as immutable.

    Args:
        targeting_key: the id that decides the bucket, usually the user's id. A key that
            contains an unpaired surrogate counts as missing.
        attributes: what conditions compare; dotted paths read nested mappings.
    """

    __slots__ = ("attributes", "targeting_key")

    targeting_key: str | None
    attributes: Mapping[str, Any]

    def __init__(self, targeting_key: str | None = None, /, **attributes: Any) -> None:
        if type(targeting_key) is str:
            if not is_text(targeting_key):
                targeting_key = None
        elif isinstance(targeting_key, str):
            targeting_key = _plain_text(targeting_key)
        self.targeting_key = targeting_key
        self.attributes = attributes

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Context:
        """Return the context of a mapping in which ``targetingKey`` is one of the entries."""
        key = mapping.get("targetingKey")
        context = cls(key if isinstance(key, str) else None)
        context.attributes = {name: mapping[name] for name in mapping if name != "targetingKey"}
        return context

    def __repr__(self) -> str:
        # Attributes may be personal data, which must not get into logs.
        return f"Context({self.targeting_key!r}, {len(self.attributes)} attributes)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        return self.targeting_key == other.targeting_key and self.attributes == other.attributes

    def __hash__(self) -> int:
        return hash(self.targeting_key)


NOBODY: Final = Context()
"""The context of an evaluation without a context."""


def context_problem(context: object) -> str:
    """Return what is wrong with what an application gave as a context; empty if nothing is."""
    if context is None or isinstance(context, str):
        return ""
    if not isinstance(context, Context):
        return (
            f"the context is of the type {type(context).__name__}; give a tidegate.Context, or the "
            "targeting key as a str"
        )
    key: object = context.targeting_key
    if key is None or isinstance(key, str):
        return ""
    return f"the targeting key is of the type {type(key).__name__}; give a str, as in str(user.id)"


def usable_context(context: object) -> Context:
    """Return the context that an application means.

    Args:
        context: a context; or a targeting key as text; anything else stands for no context.
    """
    if isinstance(context, Context):
        return context
    return Context(context) if isinstance(context, str) else NOBODY
