"""Revisions as ETags: ``"7"``, or ``"7.<more>"`` where an answer shows more than the document.

``If-Match`` is compared by the revision alone, so that what a release has seen since does not
make a person's update stale. ``If-None-Match`` is compared by the whole tag.
"""

from __future__ import annotations

import hashlib

from flask import Response, request

from tidegate_server.errors import RevisionRequired, StaleRevision

LARGEST_VERSION = 2**63 - 1


def etag(revision: int, more: str = "") -> str:
    """The tag of a document at a revision, without its quotes."""
    return f"{revision}.{more}" if more else str(revision)


def version_of(text: str) -> int | None:
    """The version that is written so; None: it is none that a store can have."""
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_VERSION:
        return int(text)
    return None


def require_match(revision: int, what: str) -> None:
    """Insist that the caller has seen the present revision.

    Raises:
        RevisionRequired: the request has no ``If-Match``.
        StaleRevision: it names another revision.
    """
    if "If-Match" not in request.headers:
        raise RevisionRequired(
            f"Changing {what} needs the header If-Match with the ETag under which you read it; "
            "read it first, so that nobody's change is lost."
        )
    check_match(revision, what)


def check_match(revision: int, what: str) -> None:
    """As ``require_match``, for requests that may go without.

    Raises:
        StaleRevision: ``If-Match`` is there and names another revision.
    """
    if "If-Match" not in request.headers:
        return
    asked = request.if_match
    if asked.star_tag or any(tag.partition(".")[0] == str(revision) for tag in asked.as_set()):
        return
    raise StaleRevision(
        f"Someone changed {what} since you read it: it has the ETag "
        f'"{revision}" now. Read it again, and apply your change to that.'
    )


def tagged(response: Response, tag: str, *, weak: bool = False) -> Response:
    """Put an ETag on an answer; one that the reader has already becomes 304 without a body."""
    response.set_etag(tag, weak=weak)
    if request.method in ("GET", "HEAD") and request.if_none_match.contains_weak(tag):
        response.status_code = 304
        response.set_data(b"")
        for header in ("Content-Type", "Content-Length"):
            response.headers.pop(header, None)
    return response


def hashed(response: Response) -> Response:
    """Tag an answer, such as a list, by its content."""
    found = hashlib.sha256(response.get_data()).hexdigest()[:24]
    return tagged(response, found, weak=True)
