"""Descriptions in Markdown: a small part of it, and no HTML."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from markdown_it import MarkdownIt
from markupsafe import Markup

_PARTS: Final = ("backticks", "emphasis", "escape", "link", "list", "newline")


def _parser() -> MarkdownIt:
    """Return a parser that escapes all HTML, and links only to what browsers only open."""
    parser = MarkdownIt("zero", {"html": False, "linkify": False, "typographer": False})
    return parser.enable(list(_PARTS))


_MARKDOWN: Final = _parser()


def markdown(text: str) -> Markup:
    """Return a description as HTML: paragraphs, lists, emphasis, code and links.

    Everything else stays as it was typed. Links lead to http, https and mailto addresses and to
    paths; others stay text.
    """
    return Markup(_MARKDOWN.render(text))  # noqa: S704 - the parser escapes what it is given


@lru_cache(maxsize=4_096)
def plain_markdown(text: str) -> str:
    """Return the first paragraph of a description without its marks, for a line of a list."""
    for token in _MARKDOWN.parse(text):
        if token.type == "inline":
            return "".join(
                child.content if child.type in ("text", "code_inline") else " "
                for child in token.children or ()
                if child.type in ("text", "code_inline", "softbreak", "hardbreak")
            )
    return ""
