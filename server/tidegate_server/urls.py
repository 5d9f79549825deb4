"""Addresses that requests can go to.

Nothing is imported here but the standard library: every command reads its server's address.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

LONGEST_URL = 2_000


def split_url(url: str) -> SplitResult | None:
    """The parts of an address that requests can go to; None when it is no such address."""
    if not 0 < len(url) <= LONGEST_URL or not all("!" <= character <= "~" for character in url):
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if sound else None
