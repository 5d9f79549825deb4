"""What commands print: tables and facts for people, JSON for programs.

Colour codes are for terminals only, and what others wrote cannot drive a terminal: control
characters are shown, not sent. rich is imported when something is drawn.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

JSON = "json"
TABLE = "table"

NOT_A_TERMINAL = 10_000
"""Columns where nobody looks: a line stays one line for whatever reads it."""

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def clean(value: object) -> str:
    """A value as text that only shows itself on a terminal."""
    return str(value).translate(_CONTROL)


def print_json(value: Any) -> None:
    """Print a JSON value."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(sentence: str, *, err: bool = False) -> None:
    """Print a sentence, which may have several lines; ``err``: on standard error."""
    click.echo("\n".join(clean(line) for line in sentence.split("\n")), err=err)


def note(sentence: str) -> None:
    """Print a sentence beside the output proper, on standard error."""
    click.echo(clean(sentence), err=True)


def print_changed(what: str, edited: tuple[dict[str, Any], dict[str, Any]], output: str) -> None:
    """Print what became of an edit: the document as it was read, and as it was written."""
    before, after = edited
    if output == JSON:
        return print_json(after)
    if before["revision"] == after["revision"]:
        return say(f"{what} was like that already.")
    return say(f"{what} changed, revision {after['revision']}.")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings; numbers stand right."""
    draw(table(columns, rows))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values in two columns."""
    draw(facts_grid(facts))


def draw(*parts: RenderableType) -> None:
    """Print what rich draws, one part below the other; no line ends in spaces for programs."""
    to = console()
    if to.is_terminal:
        to.print(*parts, sep="\n")
        return
    with to.capture() as drawn:
        to.print(*parts, sep="\n")
    click.echo("\n".join(line.rstrip() for line in drawn.get().rstrip("\n").splitlines()))


def facts_grid(facts: Iterable[tuple[str, object]]) -> Table:
    """Names and values in two columns, to be drawn; what is None or empty is left out."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        if value not in (None, ""):
            grid.add_row(name, cell(value))
    return grid


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Rows under headings, to be drawn."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    listed = [list(row) for row in rows]
    for number, column in enumerate(columns):
        values = [row[number] for row in listed]
        numeric = any(
            isinstance(value, int | float) and not isinstance(value, bool) for value in values
        )
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        drawn.add_row(*(cell(value) for value in row))
    return drawn


def cell(value: object) -> Text:
    """A value in a table."""
    from rich.text import Text

    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    return Text("-" if value is None else clean(value))


def console() -> Console:
    """Where things are drawn: standard output, as wide as it is."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        force_terminal=terminal,
        width=None if terminal else NOT_A_TERMINAL,
        highlight=False,
        markup=False,
        emoji=False,
    )
