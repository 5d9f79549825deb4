"""How a release's story is told in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.output import cell

if TYPE_CHECKING:
    from rich.console import Group, RenderableType


def story(told: Json) -> Group:
    """The story of a release, chapter by chapter."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = [
        Text(cell(told["headline"]).plain, style="bold"),
        cell(told["beginning"]),
    ]
    for chapter in told["chapters"]:
        lines += ["", Text(cell(chapter["title"]).plain, style="bold"), *_chapter(chapter)]
    lines += ["", cell(told["ending"])]
    for title, sentences in (
        ("What is left to clean up:", told["cleanup"]),
        ("What cannot be told:", told["limits"]),
    ):
        if sentences:
            lines += ["", Text(title, style="bold"), *(_indented(each) for each in sentences)]
    return Group(*lines)


def _chapter(chapter: Json) -> list[RenderableType]:
    ended = chapter["ended_at"]
    until = f"to {instant(ended)}" if ended else "until now"
    return [
        _indented(f"{instant(chapter['began_at'])} {until}. {chapter['text']}"),
        *(_indented(f"{instant(each['at'])}  {each['text']}") for each in chapter["happenings"]),
    ]


def _indented(sentence: str) -> RenderableType:
    from rich.padding import Padding

    return Padding(cell(sentence), (0, 0, 0, 2))
