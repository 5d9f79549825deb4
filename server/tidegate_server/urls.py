"""Parses URLs that requests can be sent to.

This module imports the standard library only, because every command parses its server's URL.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

MAX_URL_LENGTH = 2_000


def split_url(url: str) -> SplitResult | None:
    """Return the parts of an HTTP or HTTPS URL, or None if no request can be sent to it."""
    if not 0 < len(url) <= MAX_URL_LENGTH or not all("!" <= character <= "~" for character in url):
        return None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if valid else None
