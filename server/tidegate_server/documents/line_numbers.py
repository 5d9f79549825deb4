"""On which line of a YAML or JSON text each value stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from tidegate_server.documents.json_pointers import pointer


def lines_of(text: str) -> Mapping[str, int]:
    """The line, from 1, of every value by its pointer; empty where the text has none.

    The text is one that ``texts`` could read. JSON is read as the YAML that it nearly always
    is.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    return dict(_lines(root, ())) if root is not None else {}


def line_of(lines: Mapping[str, int], of: str) -> int | None:
    """The line of a pointer, or of the nearest value around it that is there."""
    while of and of not in lines:
        of = of.rpartition("/")[0]
    return lines.get(of)


def _lines(node: yaml.Node, at: tuple[object, ...]) -> Iterator[tuple[str, int]]:
    yield pointer(*at), node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*at, key.value)
            for place, line in _lines(value, inner):
                # A field begins where its name stands, whatever comes between.
                yield place, key.start_mark.line + 1 if place == pointer(*inner) else line
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _lines(item, (*at, number))
