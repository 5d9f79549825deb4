"""ETags: ``"7"`` for revision 7, or ``"7.<suffix>"`` if a response shows more than the document.

``If-Match`` is compared by the revision alone, so that new evidence of a release does not make
a person's update stale. ``If-None-Match`` is compared by the whole tag.

Both headers are read by ``parse_etags``. Weak tags (``W/"7"``) count like strong ones: a proxy that
compresses a response weakens its tag, and the revision in it is still the one that was read.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from flask import Response, request

from tidegate_server.errors import RevisionRequired, StaleRevision

LARGEST_VERSION = 2**63 - 1


def revision_etag(revision: int, suffix: str = "") -> str:
    """Return the ETag of a document at a revision, without quotes."""
    return f"{revision}.{suffix}" if suffix else str(revision)


def content_suffix(shown: str) -> str:
    """Return a suffix that tells responses of one revision apart by what else they show."""
    return hashlib.sha256(shown.encode()).hexdigest()[:12]


_ETAG = re.compile(r'\s*(?:(?:W/)?"([^"]*)"|([^\s,"]+))\s*(?:,|$)', re.IGNORECASE)
"""One tag of a list. Tags without quotes are accepted: people type them."""


@dataclass(frozen=True, slots=True)
class ETags:
    """The tags in a conditional header.

    Attributes:
        any: whether the header is ``*``.
        tags: the tags without quotes, strong and weak ones alike.
    """

    any: bool = False
    tags: frozenset[str] = frozenset()

    def contain(self, tag: str) -> bool:
        """Return whether the header names a tag."""
        return self.any or tag in self.tags


def parse_etags(header: str) -> ETags:
    """Return the tags in a header; what cannot be read, and all after it, is left out."""
    if header.strip() == "*":
        return ETags(any=True)
    tags: list[str] = []
    position = 0
    while position < len(header) and (match := _ETAG.match(header, position)) is not None:
        tags.append(match[1] if match[1] is not None else match[2])
        position = match.end()
    return ETags(tags=frozenset(tags))


def client_has(tag: str) -> bool:
    """Return whether the current request's ``If-None-Match`` names a tag."""
    header = request.headers.get("If-None-Match")
    # Most clients send one tag unchanged: comparing text is faster than parsing.
    return header is not None and (header == f'"{tag}"' or parse_etags(header).contain(tag))


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
        revisions: what stands for revisions in the header, as text.
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
        if all(parse_version(each) is None for each in self.revisions):
            raise StaleRevision(
                f"If-Match names no revision of {name}. Send the ETag under which you read it; it "
                f'is "{revision}" now.'
            )
        raise StaleRevision(
            f"Someone changed {name} since you read it: it now has the ETag "
            f'"{revision}". Read it again and apply your change to that.'
        )


def read_if_match() -> IfMatch:
    """Return the ``If-Match`` header of the current request."""
    header = request.headers.get("If-Match")
    if header is None:
        return IfMatch()
    etags = parse_etags(header)
    revisions = frozenset(tag.partition(".")[0] for tag in etags.tags)
    return IfMatch(given=True, any_revision=etags.any, revisions=revisions)


def with_etag(response: Response, tag: str, *, weak: bool = False) -> Response:
    """Set an ETag; turn the response into 304 without a body if the client has that tag."""
    response.set_etag(tag, weak=weak)
    if request.method in ("GET", "HEAD") and client_has(tag):
        response.status_code = 304
        response.set_data(b"")
        for header in ("Content-Type", "Content-Length"):
            response.headers.pop(header, None)
    return response


def with_content_etag(response: Response) -> Response:
    """Set a hash of the content as weak ETag."""
    content_hash = hashlib.sha256(response.get_data()).hexdigest()[:24]
    return with_etag(response, content_hash, weak=True)
