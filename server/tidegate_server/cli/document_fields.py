"""Documents as they were read, and as they are sent back."""

from __future__ import annotations

from typing import Any

from tidegate_server.cli.api_client import Json

KNOWN_ABOUT = ("revision", "updated_at")
"""What an answer knows about a document, beside what the document says."""


def as_sent(document: Json, *more: str) -> Json:
    """A document without what only the server sets: these fields, and ``more``.

    The rest stays, fields included that this version of the command does not know.
    """
    left_out = {*KNOWN_ABOUT, *more}
    return {name: value for name, value in document.items() if name not in left_out}


def given(**fields: Any) -> Json:
    """The fields of which something was said: those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def tag_of(revision: int) -> str:
    """The ETag of a document's revision."""
    return f'"{revision}"'
