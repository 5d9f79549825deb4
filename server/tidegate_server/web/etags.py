"""ETags: ``"7"`` for revision 7, or ``"7.<suffix>"`` if a response shows more than the document.

``If-Match`` is compared by the revision alone, so that new evidence of a release does not make
a person's update stale. ``If-None-Match`` is compared by the whole tag.
"""

from __future__ import annotations

import hashlib

from flask import Response, request

from tidegate_server.errors import RevisionRequired, StaleRevision

LARGEST_VERSION = 2**63 - 1


def revision_etag(revision: int, suffix: str = "") -> str:
    """Return the ETag of a document at a revision, without quotes."""
    return f"{revision}.{suffix}" if suffix else str(revision)


def parse_version(text: str) -> int | None:
    """Return the version in a text; None if the text is no possible version."""
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_VERSION:
        return int(text)
    return None


def require_if_match(revision: int, what: str) -> None:
    """Check that ``If-Match`` names the current revision.

    Raises:
        RevisionRequired: the request has no ``If-Match``.
        StaleRevision: it names another revision.
    """
    if "If-Match" not in request.headers:
        raise RevisionRequired(
            f"To change {what}, send the header If-Match with its ETag: read it first, so that "
            "nobody's change is lost."
        )
    check_if_match(revision, what)


def check_if_match(revision: int, what: str) -> None:
    """Check ``If-Match`` if the request has it.

    Raises:
        StaleRevision: it names another revision.
    """
    if "If-Match" not in request.headers:
        return
    expected = request.if_match
    if expected.star_tag or any(
        tag.partition(".")[0] == str(revision) for tag in expected.as_set()
    ):
        return
    raise StaleRevision(
        f"Someone changed {what} since you read it: its ETag is now "
        f'"{revision}". Read it again and repeat your change.'
    )


def with_etag(response: Response, tag: str, *, weak: bool = False) -> Response:
    """Set an ETag; turn the response into 304 without a body if the client has that tag."""
    response.set_etag(tag, weak=weak)
    if request.method in ("GET", "HEAD") and request.if_none_match.contains_weak(tag):
        response.status_code = 304
        response.set_data(b"")
        for header in ("Content-Type", "Content-Length"):
            response.headers.pop(header, None)
    return response


def with_content_etag(response: Response) -> Response:
    """Set a hash of the content as weak ETag."""
    content_hash = hashlib.sha256(response.get_data()).hexdigest()[:24]
    return with_etag(response, content_hash, weak=True)
