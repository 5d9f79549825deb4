"""The line numbers of the values in a YAML or JSON text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from tidegate_server.documents.json_pointers import pointer
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import YAML_LOADER, parse_text


def lines_of(text: str) -> Mapping[str, int]:
    """Return the line, from 1, of every value by its pointer.

    It is empty if the text has no values, or is none that ``strict_text`` can parse: a short text
    with aliases can stand for more values than fit into memory. JSON is parsed as YAML, since
    nearly all JSON is YAML too.
    """
    try:
        parse_text(text, "The text")
        root = yaml.compose(text, Loader=YAML_LOADER)
    except (Unreadable, yaml.YAMLError):
        return {}
    return dict(_lines(root, ())) if root is not None else {}


def line_of(lines: Mapping[str, int], of: str) -> int | None:
    """Return the line of a pointer, or of the nearest enclosing value that exists."""
    while of and of not in lines:
        of = of.rpartition("/")[0]
    return lines.get(of)


def _lines(node: yaml.Node, at: tuple[object, ...]) -> Iterator[tuple[str, int]]:
    yield pointer(*at), node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*at, key.value)
            for place, line in _lines(value, inner):
                # A field starts at its name, even if its value starts on a later line.
                yield place, key.start_mark.line + 1 if place == pointer(*inner) else line
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _lines(item, (*at, number))
