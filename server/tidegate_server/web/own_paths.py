"""Paths of this server, to which a page may lead."""

from __future__ import annotations

from urllib.parse import urlsplit


def own_path(text: str) -> str:
    """Return a path of this server, or ``/`` for anything else.

    So nobody is led to another site by a link to this one.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    harmless = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if harmless and "\\" not in text and not (parts.scheme or parts.netloc) else "/"
