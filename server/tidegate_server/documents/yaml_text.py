"""Writes JSON values as YAML that is easy to read and to compare.

The same value always gives the same text. Other YAML readers, also those of YAML 1.1, read the same
value: whatever one of them could take for something else than text is in quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]*(?: [A-Za-z0-9_./+-]+)*|[0-9]{1,9}(?:ms|s|m|h|d)")
"""Text that needs no quotes in any version of YAML, unless it is one of ``WORDS``."""

WORDS = frozenset(
    ("true", "false", "yes", "no", "on", "off", "null", "none", "nan", "inf", "y", "n")
)
"""Words that some version of YAML reads as something else, in any case."""

ESCAPED = re.compile("[\x7f-\x9f\ufeff\ufffe\uffff\u2028\u2029]")
"""What JSON leaves as it is in a string, and YAML does not."""

UNPRINTABLE = re.compile(
    "[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
LINE_SEPARATORS = re.compile("[\u2028\u2029]")

MAX_FLOW_LIST = 80
"""The longest list of scalars on one line, in characters."""


def yaml_text(document: dict[str, Any]) -> str:
    """Return an object as YAML text that ends with a line break."""
    return "".join(f"{line}\n" for line in _object_lines(document, 0)) or "{}\n"


def _object_lines(members: dict[str, Any], indent: int) -> Iterator[str]:
    for name, value in members.items():
        yield from _member_lines(_scalar(name), value, indent)


def _member_lines(name: str, value: Any, indent: int) -> Iterator[str]:
    start = f"{' ' * indent}{name}:"
    short = _on_one_line(value)
    if short is not None:
        yield f"{start} {short}"
    elif isinstance(value, str):
        yield f"{start} {'|' if value.endswith(chr(10)) else '|-'}"
        yield from _literal_lines(value, indent + 2)
    else:
        yield start
        yield from _inner_lines(value, indent + 2)


def _inner_lines(value: Any, indent: int) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _object_lines(value, indent)
        return
    for item in value:
        start = f"{' ' * indent}- "
        short = _on_one_line(item)
        if short is not None:
            yield start + short
            continue
        if isinstance(item, str):
            yield f"{start}{'|' if item.endswith(chr(10)) else '|-'}"
            yield from _literal_lines(item, indent + 2)
            continue
        # The first line of what the item has begins on the line of its dash.
        lines = _inner_lines(item, indent + 2)
        yield start + next(lines)[indent + 2 :]
        yield from lines


def _literal_lines(text: str, indent: int) -> Iterator[str]:
    for line in text.removesuffix("\n").split("\n"):
        yield f"{' ' * indent}{line}" if line else ""


def _on_one_line(value: Any) -> str | None:
    """Return the text of a value that fits on the line of its name; None: it does not."""
    if isinstance(value, dict):
        return None if value else "{}"
    if isinstance(value, list):
        if any(isinstance(item, dict | list) for item in value):
            return None
        text = f"[{', '.join(_scalar(item) for item in value)}]"
        return text if len(text) <= MAX_FLOW_LIST or not value else None
    return None if isinstance(value, str) and _is_literal(value) else _scalar(value)


def _is_literal(text: str) -> bool:
    """Return whether a text is written line by line."""
    lines = text.removesuffix("\n").split("\n")
    return (
        len(lines) > 1
        and text[0] not in " \t\n"
        and not text.endswith("\n\n")
        and not any(line.endswith((" ", "\t")) for line in lines)
        and UNPRINTABLE.search(text) is None
        and LINE_SEPARATORS.search(text) is None
    )


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    return repr(value)


def _is_plain(text: str) -> bool:
    return PLAIN.fullmatch(text) is not None and text.lower() not in WORDS


def _quoted(text: str) -> str:
    # A JSON string is a string in double quotes in YAML.
    return ESCAPED.sub(
        lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False)
    )
