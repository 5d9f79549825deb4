"""Decoders of JSON that any thread may make.

msgspec learns the fields of a type when the first decoder of it is made, and runs Python for that.
A thread that decodes in the meantime, or a child that is forked then, would use the half of it that
is there, and crash. So one thread at a time makes decoders, and nobody forks then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from tidegate.runtime.fork_lock import no_fork

T = TypeVar("T")


def new_decoder(
    type_: type[T], dec_hook: Callable[[type, Any], Any] | None = None
) -> msgspec.json.Decoder[T]:
    """Return a decoder of a type."""
    with no_fork():
        return msgspec.json.Decoder(type_, dec_hook=dec_hook)


def convert(value: object, type_: type[T]) -> T:
    """Return a struct made of a dictionary.

    Raises:
        msgspec.ValidationError: it is not one of this type.
    """
    with no_fork():
        return msgspec.convert(value, type_)
