"""ETags: ``"7"`` for revision 7, or ``"7.<suffix>"`` if a response shows more than the document.

``If-Match`` is compared by the revision alone, so that new evidence of a release does not make
a person's update stale. ``If-None-Match`` is compared by the whole tag.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The revisions that a request's ``If-Match`` header accepts.

    Attributes:
        given: whether the request has the header.
        any_revision: whether the header is ``*``.
        revisions: the revisions in the header, as text.
    """

    given: bool = False
    any_revision: bool = False
    revisions: frozenset[str] = frozenset()

    def require(self, revision: int, name: str) -> None:
        """Check that the caller has read the current revision of a document.

        Args:
            revision: the document's current revision.
            name: what the error message calls the document.

        Raises:
            RevisionRequired: the request has no ``If-Match``.
            StaleRevision: the header names another revision.
        """
        if not self.given:
            raise RevisionRequired(
                f"To change {name}, send the header If-Match with the ETag under which you read "
                "it, so that no other change is lost."
            )
        self.check(revision, name)

    def check(self, revision: int, name: str) -> None:
        """Check the revision of a document if the request has an ``If-Match``.

        Raises:
            StaleRevision: the header names another revision.
        """
        if not self.given or self.any_revision or str(revision) in self.revisions:
            return
        raise StaleRevision(
            f"Someone changed {name} since you read it: it now has the ETag "
            f'"{revision}". Read it again and apply your change to that.'
        )


def read_if_match() -> IfMatch:
    """Return the ``If-Match`` header of the current request."""
    if "If-Match" not in request.headers:
        return IfMatch()
    tags = request.if_match
    # werkzeug reads an empty tag, `""`, as None.
    revisions = frozenset(tag.partition(".")[0] for tag in tags.as_set() if tag is not None)
    return IfMatch(given=True, any_revision=tags.star_tag, revisions=revisions)


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
