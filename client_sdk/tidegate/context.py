"""Who is asking: a targeting key and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_MISSING: Final = object()


def is_text(value: str) -> bool:
    """Return whether a string can be encoded; mmh3 crashes the process where it cannot."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Context:
    """An evaluation context, in OpenFeature's sense. Treat it as immutable.

    Args:
        targeting_key: what buckets are computed from, usually the user's id. One that is no
            text, since it has half of a surrogate pair, counts as missing.
        attributes: whatever rules look at; nested mappings are read by dotted path.
    """

    __slots__ = ("attributes", "targeting_key")

    targeting_key: str | None
    attributes: Mapping[str, Any]

    def __init__(self, targeting_key: str | None = None, /, **attributes: Any) -> None:
        if isinstance(targeting_key, str) and not is_text(targeting_key):
            targeting_key = None
        self.targeting_key = targeting_key
        self.attributes = attributes

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Context:
        """Make a context from OpenFeature's flat form, where ``targetingKey`` is one entry."""
        key = mapping.get("targetingKey")
        context = cls(key if isinstance(key, str) else None)
        context.attributes = {name: mapping[name] for name in mapping if name != "targetingKey"}
        return context

    def __repr__(self) -> str:
        # Attributes may be personal: they do not belong in a log line.
        return f"Context({self.targeting_key!r}, {len(self.attributes)} attributes)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        return self.targeting_key == other.targeting_key and self.attributes == other.attributes

    def __hash__(self) -> int:
        return hash(self.targeting_key)


NOBODY: Final = Context()
"""The context of an evaluation that names none."""
