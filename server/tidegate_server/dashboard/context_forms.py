"""An evaluation context as people type it: a line for each attribute, or a JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tidegate_server.dashboard.rule_forms import MOST_CHARACTERS, read_value, shown_value
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_json

KEY = "targetingKey"


def read_context(key: str, attributes: str) -> dict[str, Any]:
    """Return the context that was typed.

    Args:
        key: the targeting key; may be empty.
        attributes: lines such as ``country: DE``, or a JSON object.

    Raises:
        ValueError: a line cannot be read; the message says which, and how to write it.
    """
    text = attributes.strip()
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"Give at most {MOST_CHARACTERS:,} characters.")
    found = _read_json(text) if text.startswith("{") else _read_lines(text)
    if key:
        found[KEY] = key
    return found


def _read_json(text: str) -> dict[str, Any]:
    try:
        found = parse_json(text, "This")
    except Unreadable as error:
        raise ValueError(error.message) from None
    if isinstance(found, dict):
        return found
    raise ValueError('Write an object, such as {"country": "DE"}.')


def _read_lines(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not name:
            raise ValueError(f"Line {number}: write the name, a colon and the value: country: DE.")
        found[name] = read_value(value)
    return found


def shown_attributes(context: Mapping[str, Any]) -> str:
    """Return the attributes of a context as text that ``read_context`` reads again."""
    attributes = {name: value for name, value in context.items() if name != KEY}
    lines = []
    for name, value in attributes.items():
        text = shown_value(value) if isinstance(value, str | int | float | bool) else None
        line = f"{name}: {text}"
        if (
            text is None
            or ":" in name
            or name.startswith("{")
            or name != name.strip()
            or line.splitlines() != [line]
        ):
            return json.dumps(attributes, ensure_ascii=False, indent=1)
        lines.append(line)
    return "\n".join(lines)
