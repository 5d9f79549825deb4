"""Create, replace and delete the documents of a project, each in one atomic commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import missing_document, read_project_documents
from tidegate_server.domain.change import Address, Change, Stored
from tidegate_server.errors import AlreadyExists, FieldProblem, Invalid
from tidegate_server.store import Store
from tidegate_server.web.etags import IfMatch


class Documents(Protocol):
    """What a change is made from."""

    def get(self, address: Address, /) -> Stored | None:
        """Return a document; None if there is none."""


MakeChange = Callable[[Any], Change]
ReadDocuments = Callable[[Store, str], Documents]
"""Returns the documents of a project, or of the server."""

Document = TypeVar("Document", bound=Any)


@dataclass(frozen=True, slots=True)
class StoredWithSecret(Stored):
    """A stored document with its secret, which only one answer shows."""

    secret: str


def with_secret(stored: Stored, secret: str) -> StoredWithSecret:
    """Return a stored document together with its secret."""
    return StoredWithSecret(stored.document, stored.revision, stored.updated_ms, secret)


def with_key(document: Document, key: str, field: str = "key") -> Document:
    """Return a document with the key from the request's path.

    Args:
        document: what the body describes; its key is empty if the body has none.
        key: the key in the path.
        field: the name of the field that holds the key.

    Raises:
        Invalid: the body has another key; a key never changes.
    """
    given = getattr(document, field)
    if given not in ("", key):
        message = (
            f"The path has the key {key!r}, the body {given!r}, and a key never changes. Leave "
            "it out of the body, or create a new document."
        )
        raise Invalid(message, FieldProblem(f"/{field}", message))
    return replace(document, **{field: key})


def create_document(
    store: Store,
    project: str,
    address: Address,
    make_change: MakeChange,
    read: ReadDocuments = read_project_documents,
) -> Stored:
    """Create a document.

    Args:
        store: where to create it.
        project: its project; empty: it belongs to the server.
        address: the new document.
        make_change: makes the change from what ``read`` returns.
        read: returns the documents that the change depends on.

    Raises:
        AlreadyExists: the key is taken.
        NotFound: there is no such project.
        Invalid, NotPossible: as ``make_change`` raises them.
    """

    def make() -> Change:
        documents = read(store, project)
        if documents.get(address) is not None:
            raise AlreadyExists(
                f"{address.kind.words.capitalize()} {address.key!r} already exists."
            )
        return make_change(documents)

    return commit_with_retry(store, make).stored(address)


def replace_document(
    store: Store,
    project: str,
    address: Address,
    if_match: IfMatch,
    make_change: MakeChange,
    read: ReadDocuments = read_project_documents,
) -> Stored:
    """Replace a document.

    Raises:
        NotFound: there is no such document.
        RevisionRequired, StaleRevision: ``if_match`` does not accept its revision.
        Invalid, NotPossible: as ``make_change`` raises them.
    """
    make = _change_of_existing(store, project, address, if_match, make_change, read)
    return commit_with_retry(store, make).stored(address)


def delete_document(
    store: Store,
    project: str,
    address: Address,
    if_match: IfMatch,
    make_change: MakeChange,
    read: ReadDocuments = read_project_documents,
) -> None:
    """Delete a document; raises as ``replace_document`` does."""
    commit_with_retry(
        store, _change_of_existing(store, project, address, if_match, make_change, read)
    )


def _change_of_existing(
    store: Store,
    project: str,
    address: Address,
    if_match: IfMatch,
    make_change: MakeChange,
    read: ReadDocuments,
) -> Callable[[], Change]:
    def make() -> Change:
        documents = read(store, project)
        stored = documents.get(address)
        kind, key = address.kind.words, address.key
        if stored is None:
            raise missing_document(store, project, address)
        if_match.require(stored.revision, f"{kind} {key}")
        return make_change(documents)

    return make
