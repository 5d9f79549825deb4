"""JSON pointers (RFC 6901) of the fields that a schema found wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate_server.errors import FieldProblem

SCHEMA_KEY = "_schema"
"""The key of marshmallow's messages about an object as a whole."""


def pointer(*steps: object) -> str:
    """Return the pointer of these keys and positions: ``/stages/0/name``."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def steps(of: str) -> list[str]:
    """Return the keys and positions of a pointer, unescaped."""
    return [step.replace("~1", "/").replace("~0", "~") for step in of.split("/")[1:]]


def nested(of: str, message: str) -> Any:
    """Return a message as marshmallow nests it, for a place below the field itself."""
    messages: Any = [message]
    for step in reversed(steps(of)):
        messages = {step: messages}
    return messages


def problems(messages: Any, at: str = "") -> Iterator[FieldProblem]:
    """Yield each message in marshmallow's nested dictionaries, with the pointer of its field."""
    if isinstance(messages, Mapping):
        for key, value in messages.items():
            yield from problems(value, at if key == SCHEMA_KEY else at + pointer(key))
    elif isinstance(messages, Sequence) and not isinstance(messages, str):
        for message in messages:
            yield from problems(message, at)
    else:
        yield FieldProblem(at, str(messages), getattr(messages, "suggestions", ()))
