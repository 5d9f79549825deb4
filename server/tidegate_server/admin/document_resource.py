"""The routes of documents that people create, read, replace and delete in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from flask import Response
from marshmallow import Schema

from tidegate_server.admin.document_commits import (
    ReadDocuments,
    create_document,
    delete_document,
    replace_document,
    with_key,
)
from tidegate_server.admin.document_history import (
    DocumentHistory,
    everything,
    with_restored_revision,
)
from tidegate_server.admin.document_reader import (
    SERVER,
    read_document,
    read_project,
    read_project_documents,
)
from tidegate_server.domain.change import Address, Change, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import NotPossible
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import PROJECT, Blueprint, Method, View
from tidegate_server.web.etags import read_if_match
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.reasons import current_reason


class PutDocument(Protocol):
    """Makes the change that creates or replaces a document."""

    def __call__(self, documents: Any, document: Any, /, *, actor: str, reason: str) -> Change:
        """Return the change."""


class DeleteDocument(Protocol):
    """Makes the change that deletes a document."""

    def __call__(self, documents: Any, key: str, /, *, actor: str, reason: str) -> Change:
        """Return the change."""


@dataclass(frozen=True, slots=True)
class DocumentResource:
    """The routes of one kind of document of a project, or of the server.

    A resource of flags serves ``/api/v1/projects/<project>/flags`` as ``list_flags`` and
    ``create_flag``, and ``.../flags/<flag>`` as ``get_flag``, ``replace_flag`` and
    ``delete_flag``. Each method adds one of these operations.

    Attributes:
        blueprint: where to register them; its name is the plural of the kind.
        kind: the kind of document.
        answer: the schema of one document.
        page: the schema of a page of the list; None: ``serve_list`` does not serve it.
        editor: the permission to change documents of this kind.
        key_field: the field of a document that holds its key.
        visible: returns what the caller may see of a document.
        prefix: the path of the project, or of the server.
        reader: the permission to read documents of this kind.
        read_documents: returns what a change is made from.
        scoped_to_caller: as for ``Blueprint.operation``.
    """

    blueprint: Blueprint
    kind: Kind
    answer: type[Schema]
    page: type[Schema] | None = None
    editor: Permission = Permission.WRITE
    key_field: str = "key"
    visible: Callable[[Stored], Stored] = everything
    prefix: str = PROJECT
    reader: Permission = Permission.READ
    read_documents: ReadDocuments = read_project_documents
    scoped_to_caller: bool = False

    @property
    def collection(self) -> str:
        """The path of the list."""
        return f"{self.prefix}/{self.blueprint.name.replace('_', '-')}"

    @property
    def item(self) -> str:
        """The path of one document."""
        return f"{self.collection}/<key:{self.kind}>"

    def serve_list(self, summary: str) -> None:
        """Serve the list."""
        assert self.page is not None
        page_of_documents = self.page

        @self._operation(
            "GET",
            self.collection,
            f"list_{self.blueprint.name}",
            summary,
            permission=self.reader,
            query=PageQuery,
            response=page_of_documents,
        )
        def list_documents(page: PageRequest, project: str = SERVER) -> Response:
            store = backend().store
            if project:
                read_project(store, project)
            items, following = paginate(store.cached(project, self.kind).stored, page)
            return responses.page(
                page_of_documents(), [self.visible(each) for each in items], following
            )

    def serve_create(self, body: type[Schema], put: PutDocument, summary: str) -> None:
        """Serve the creation of a document from the value that ``body`` builds."""

        @self._operation(
            "POST",
            self.collection,
            f"create_{self.kind}",
            summary,
            permission=self.editor,
            body=body,
            response=self.answer,
            status=HTTPStatus.CREATED,
        )
        def create(document: Any, project: str = SERVER) -> Response:
            actor, reason = current_actor(), current_reason()
            key = getattr(document, self.key_field)
            stored = create_document(
                backend().store,
                project,
                Address(self.kind, key),
                lambda documents: put(documents, document, actor=actor, reason=reason),
                self.read_documents,
            )
            path = {**({"project": project} if project else {}), self.kind.value: key}
            endpoint = f"{self.blueprint.name}.get_{self.kind}"
            return responses.created(
                self.answer(), self.visible(stored), stored.revision, endpoint, **path
            )

    def serve_get(self, summary: str) -> None:
        """Serve one document."""

        @self._operation(
            "GET",
            self.item,
            f"get_{self.kind}",
            summary,
            permission=self.reader,
            response=self.answer,
        )
        def get(project: str = SERVER, **path: str) -> Response:
            return self._answer(read_document(backend().store, project, self._address(path)))

    def serve_replace(self, body: type[Schema], put: PutDocument, summary: str) -> None:
        """Serve the replacement of a document by the value that ``body`` builds."""

        @self._operation(
            "PUT",
            self.item,
            f"replace_{self.kind}",
            summary,
            permission=self.editor,
            body=body,
            response=self.answer,
        )
        def replace(document: Any, project: str = SERVER, **path: str) -> Response:
            actor, reason, address = current_actor(), current_reason(), self._address(path)
            new = with_key(document, address.key, self.key_field)
            stored = replace_document(
                backend().store,
                project,
                address,
                read_if_match(),
                lambda documents: put(documents, new, actor=actor, reason=reason),
                self.read_documents,
            )
            return self._answer(stored)

    def serve_delete(self, delete_change: DeleteDocument, summary: str) -> None:
        """Serve the deletion of a document."""

        @self._operation(
            "DELETE",
            self.item,
            f"delete_{self.kind}",
            summary,
            permission=self.editor,
            response=None,
            status=HTTPStatus.NO_CONTENT,
        )
        def delete(project: str = SERVER, **path: str) -> Response:
            actor, reason, address = current_actor(), current_reason(), self._address(path)
            delete_document(
                backend().store,
                project,
                address,
                read_if_match(),
                lambda documents: delete_change(documents, address.key, actor=actor, reason=reason),
                self.read_documents,
            )
            return responses.no_content()

    def serve_history(self, restore: PutDocument, recreate: PutDocument | None = None) -> None:
        """Serve the versions of a document.

        Args:
            restore: replaces a document by an earlier version of it.
            recreate: creates a deleted document again; None: it had a secret, so that cannot be.
        """

        def restore_version(project: str, address: Address, old: Any, revision: int) -> Response:
            actor, reason, store = current_actor(), current_reason(), backend().store

            def make(put: PutDocument, documents: Any) -> Change:
                change = put(documents, old, actor=actor, reason=reason)
                return with_restored_revision(change, revision)

            if store.get(project, address) is not None:
                if_match, change = read_if_match(), partial(make, restore)
                return self._answer(
                    replace_document(store, project, address, if_match, change, self.read_documents)
                )
            if recreate is None:
                raise NotPossible(
                    f"The {self.kind.words} {address.key!r} was deleted, and its secret with it. "
                    "Create it again as this version was: it then has a new secret."
                )
            change = partial(make, recreate)
            return self._answer(
                create_document(store, project, address, change, self.read_documents)
            )

        kind = self.kind
        history = DocumentHistory(
            self.blueprint,
            kind,
            self.item,
            kind.value,
            kind.value,
            self.editor,
            self.visible,
            self.reader,
            self.scoped_to_caller,
        )
        history.serve(restore_version, self.answer)

    def _answer(self, stored: Stored) -> Response:
        visible = self.visible(stored)
        suffix = "" if visible is stored else "partial"
        return responses.document(self.answer(), visible, stored.revision, suffix=suffix)

    def _address(self, path: Mapping[str, str]) -> Address:
        return Address(self.kind, path[self.kind])

    def _operation(
        self, method: Method, rule: str, name: str, summary: str, **options: Any
    ) -> Callable[[View], View]:
        def decorate(view: View) -> View:
            view.__name__, view.__doc__ = name, summary
            options.setdefault("scoped_to_caller", self.scoped_to_caller)
            return self.blueprint.operation(method, rule, **options)(view)

        return decorate
