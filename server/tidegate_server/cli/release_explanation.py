"""How the explanation of a release looks in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.output import cell

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text


def explanation_view(explanation: Json) -> Group:
    """Return the explanation of a release, chapter by chapter."""
    from rich.console import Group

    lines: list[RenderableType] = [_bold(explanation["headline"]), cell(explanation["beginning"])]
    for chapter in explanation["chapters"]:
        lines += ["", _bold(chapter["title"]), *_chapter(chapter)]
    lines += ["", cell(explanation["ending"])]
    steps = [f"[{'x' if each['done'] else ' '}] {each['text']}" for each in explanation["cleanup"]]
    for title, sentences in (
        ("What is left to do:", steps),
        ("Limits of this explanation:", explanation["limits"]),
    ):
        if sentences:
            lines += ["", _bold(title), *(_indented(each) for each in sentences)]
    return Group(*lines)


def _chapter(chapter: Json) -> list[RenderableType]:
    ended = chapter["ended_at"]
    until = f"to {instant(ended)}" if ended else "until now"
    return [
        _indented(f"{instant(chapter['began_at'])} {until}. {chapter['text']}"),
        *(_indented(f"{instant(each['at'])}  {each['text']}") for each in chapter["happenings"]),
    ]


def _bold(text: str) -> Text:
    line = cell(text)
    line.stylize("bold")
    return line


def _indented(sentence: str) -> RenderableType:
    from rich.padding import Padding

    return Padding(cell(sentence), (0, 0, 0, 2))
