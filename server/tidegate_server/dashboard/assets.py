"""Style sheets and scripts, served under an address that names their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file, which never changes under one address."""

    content: bytes
    content_type: str


@cache
def all_assets() -> dict[str, Asset]:
    """Return every static file by its name."""
    folder = files("tidegate_server.dashboard") / "static"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        suffix = file.name[file.name.rfind(".") :]
        if suffix in CONTENT_TYPES:
            found[file.name] = Asset(file.read_bytes(), CONTENT_TYPES[suffix])
    return found


@cache
def version() -> str:
    """Return a digest of all static files; it changes when one of them does."""
    digest = hashlib.sha256()
    for name, asset in all_assets().items():
        digest.update(name.encode() + b"\0" + asset.content + b"\0")
    return digest.hexdigest()[:16]


def address(name: str) -> str:
    """Return the address of a static file.

    Raises:
        KeyError: there is no such file.
    """
    all_assets()[name]
    return f"/assets/{version()}/{name}"
