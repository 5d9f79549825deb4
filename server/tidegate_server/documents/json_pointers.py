"""JSON pointers (RFC 6901) of what a schema found wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate_server.errors import FieldProblem

SCHEMA_KEY = "_schema"
"""Where marshmallow keeps what is wrong with an object as a whole."""


def pointer(*steps: object) -> str:
    """The pointer that goes through these keys and positions: ``/stages/0/name``."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def steps(of: str) -> list[str]:
    """The keys and positions that a pointer goes through, unescaped."""
    return [step.replace("~1", "/").replace("~0", "~") for step in of.split("/")[1:]]


def nested(of: str, message: str) -> Any:
    """A message in marshmallow's form for a place that lies deeper than the field itself."""
    found: Any = [message]
    for step in reversed(steps(of)):
        found = {step: found}
    return found


def problems(messages: Any, at: str = "") -> Iterator[FieldProblem]:
    """Each message of marshmallow's nested dictionaries, with the pointer of its field."""
    if isinstance(messages, Mapping):
        for key, value in messages.items():
            yield from problems(value, at if key == SCHEMA_KEY else at + pointer(key))
    elif isinstance(messages, Sequence) and not isinstance(messages, str):
        for message in messages:
            yield from problems(message, at)
    else:
        yield FieldProblem(at, str(messages))
