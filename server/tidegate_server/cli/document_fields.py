"""Fields of the documents that commands read and write."""

from __future__ import annotations

from tidegate_server.cli.api_client import Json

SERVER_FIELDS = ("revision", "updated_at")
"""Fields that the server adds to every document."""


def writable_fields(document: Json, *read_only: str) -> Json:
    """Return a document without ``SERVER_FIELDS`` and the ``read_only`` fields.

    Fields that this version of the command does not know are kept.
    """
    left_out = {*SERVER_FIELDS, *read_only}
    return {name: value for name, value in document.items() if name not in left_out}


def etag(revision: int) -> str:
    """Return the ETag of a document's revision."""
    return f'"{revision}"'
