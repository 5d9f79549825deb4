"""The variants and the metadata of a flag, as fields of a form, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate_server.dashboard.rule_forms import MOST_CHARACTERS, read_value, shown_value
from tidegate_server.dashboard.typed_numbers import whole_number
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_json


@dataclass(frozen=True, slots=True)
class VariantLine:
    """A variant, as typed."""

    key: str = ""
    value: str = ""


def variant_lines(flag: Mapping[str, Any]) -> tuple[VariantLine, ...]:
    """Return the variants of a flag."""
    return tuple(
        VariantLine(each["key"], _shown(each["value"], flag["type"])) for each in flag["variants"]
    )


def _shown(value: Any, type: str) -> str:
    if type == "string" and isinstance(value, str):
        return value
    indent = 2 if type == "object" else None
    return json.dumps(value, ensure_ascii=False, indent=indent)


def typed_variants(form: Mapping[str, str], button: str) -> tuple[VariantLine, ...]:
    """Return the variants of a form after a button that changes its lines.

    Args:
        form: the fields by name; the variants are numbered from 0 without gaps.
        button: ``add-variant``, ``remove-variant N``; anything else changes nothing.
    """
    lines: list[VariantLine] = []
    while (name := f"variants-{len(lines)}-key") in form:
        value = form.get(f"variants-{len(lines)}-value", "")
        lines.append(VariantLine(form[name].strip(), value.replace("\r\n", "\n")))
    verb, _, number = button.partition(" ")
    if verb == "add-variant":
        lines.append(VariantLine())
    elif verb == "remove-variant" and (at := whole_number(number)) is not None:
        del lines[at : at + 1]
    return tuple(lines)


def goes_on_at(lines: Sequence[VariantLine], button: str) -> str:
    """Return the field at which its reader goes on after a button; empty: it changes no lines.

    Args:
        lines: after the button.
        button: as for ``typed_variants``.
    """
    verb, _, number = button.partition(" ")
    if verb == "add-variant":
        return f"variants-{len(lines) - 1}-key"
    if verb == "remove-variant" and (at := whole_number(number)) is not None:
        return f"variants-{min(at, len(lines) - 1)}-key" if lines else "add-variant"
    return ""


@dataclass(frozen=True, slots=True)
class TypedVariants:
    """Variants read from a form, and what cannot be read, by the name of its field."""

    variants: list[dict[str, Any]]
    errors: dict[str, str]


def read_variants(lines: tuple[VariantLine, ...], type: str) -> TypedVariants:
    """Return the variants that the lines describe, of a flag of a type."""
    read = TypedVariants([], {})
    for number, line in enumerate(lines):
        if not line.key:
            read.errors[f"variants-{number}-key"] = "Give the variant a key, such as on."
        value: Any = line.value
        if type != "string" or line.value.strip() == "null":
            try:
                value = parse_json(line.value, "This")
            except Unreadable as error:
                value = None
                read.errors[f"variants-{number}-value"] = _unreadable(error, line.value, type)
        read.variants.append({"key": line.key, "value": value})
    return read


def _unreadable(problem: Unreadable, text: str, type: str) -> str:
    if type != "object":
        return f"Give {'true or false' if type == 'boolean' else 'a number'}."
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        lines = text.splitlines() or [""]
        there = lines[min(error.lineno, len(lines)) - 1].strip()
        return f"Line {error.lineno}, {there!r}, is not JSON: {error.msg}."
    except (ValueError, RecursionError):
        pass  # it is JSON, with something that no document may have
    return problem.message


def metadata_lines(metadata: Mapping[str, Any]) -> str:
    """Return metadata as lines that ``read_metadata`` reads again."""
    return "\n".join(f"{name}: {shown_value(value)}" for name, value in metadata.items())


def read_metadata(text: str) -> dict[str, Any]:
    """Return metadata that was typed as lines such as ``ticket: PAY-1``.

    Raises:
        ValueError: a line has no colon; the message says which. Or the text is too long.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"Give at most {MOST_CHARACTERS:,} characters.")
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            name, colon, value = (part.strip() for part in line.partition(":"))
            if not colon:
                raise ValueError(f"Line {number}: write the name, a colon and the value.")
            found[name] = read_value(value)
    return found
