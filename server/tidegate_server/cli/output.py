"""Printing: tables and labelled values for people, JSON for programs.

Only a terminal gets colour codes. Invisible characters in text from elsewhere are escaped, so that
it cannot drive a terminal or look like other text. rich is imported when something is rendered.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from tidegate_server.visible_text import INVISIBLE, escape_invisible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

JSON = "json"
TABLE = "table"

Columns: TypeAlias = Mapping[str, "str | Callable[[Any], object]"]
"""The headings of a table, each with a field of an item, or a function that computes the cell."""

UNLIMITED_WIDTH = 10_000
"""Columns when the output is not a terminal: programs get each row on one line."""

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def printable(value: object) -> str:
    """Return a value as text with its control and other invisible characters escaped."""
    return escape_invisible(str(value).translate(_ESCAPES))


def print_json(value: Any) -> None:
    """Print a JSON value."""
    _print_json(value, indent=2)


def print_json_line(value: Any) -> None:
    """Print a JSON value on one line."""
    _print_json(value, indent=None)


def _print_json(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    click.echo(INVISIBLE.sub(lambda match: json.dumps(match[0])[1:-1], text))


def print_text(text: str) -> None:
    """Print one or more lines."""
    _print_lines(text, err=False)


def print_stderr(text: str) -> None:
    """Print one or more lines that are not part of the output proper, to standard error."""
    _print_lines(text, err=True)


def print_warnings(document: Any) -> None:
    """Print the warnings about a document to standard error."""
    for each in document.get("warnings", ()):  # earlier servers have none
        print_stderr(f"Warning: {each['pointer']}: {each['detail']}")


def _print_lines(text: str, *, err: bool) -> None:
    click.echo("\n".join(printable(line) for line in text.split("\n")), err=err)


def print_list(
    items: Sequence[Any], columns: Columns, output: str, *, empty: str = "", more: bool = False
) -> None:
    """Print items as a table, or as JSON.

    Args:
        items: the items, in the order to print them in.
        columns: the table's columns.
        output: ``JSON`` or ``TABLE``.
        empty: what to say when there are no items.
        more: whether `--limit` has cut the list.
    """
    if output == JSON:
        return print_json(items)
    if empty and not items:
        return print_stderr(empty)
    if more:
        print_stderr(f"Showing the latest {len(items):,}; use --limit to show more.")
    return print_rendered(item_table(items, columns))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, with numbers aligned right."""
    print_rendered(table(headings, rows))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print labels and values in two columns."""
    print_rendered(facts_grid(facts))


def print_rendered(*parts: RenderableType) -> None:
    """Print rich renderables below each other; programs get lines without trailing spaces."""
    to = console()
    if to.is_terminal:
        to.print(*parts, sep="\n")
        return
    with to.capture() as captured:
        to.print(*parts, sep="\n")
    click.echo("\n".join(line.rstrip() for line in captured.get().rstrip("\n").splitlines()))


def facts_grid(facts: Iterable[tuple[str, object]]) -> Table:
    """Return labels and values in two columns, without those whose value is None or empty.

    A list has a line for each of its items.
    """
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in facts:
        if value not in (None, "", []):
            grid.add_row(label, cell(value))
    return grid


def item_table(items: Iterable[Any], columns: Columns) -> Table:
    """Return a table with a row for each item."""
    rows = [
        [item[column] if isinstance(column, str) else column(item) for column in columns.values()]
        for item in items
    ]
    return table(list(columns), rows)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table with numbers aligned right."""
    from rich.table import Table

    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    listed = [list(row) for row in rows]
    for number, heading in enumerate(headings):
        values = [row[number] for row in listed]
        numeric = any(
            isinstance(value, int | float) and not isinstance(value, bool) for value in values
        )
        result.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        result.add_row(*(cell(value) for value in row))
    return result


def cell(value: object) -> Text:
    """Return a value as the text of a table cell."""
    from rich.text import Text

    if isinstance(value, Text):
        return value
    if isinstance(value, list):
        return Text("\n".join(printable(each) for each in value))
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    return Text("-" if value is None else printable(value))


def console() -> Console:
    """Return standard output as a rich console."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        force_terminal=terminal,
        width=None if terminal else UNLIMITED_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
