"""The routes of a document's history: its versions, their differences, and how to restore one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from flask import Response
from marshmallow import Schema, fields, validate

from tidegate_server.admin.document_reader import SERVER, missing_document, read_document
from tidegate_server.admin.presented_documents import presented
from tidegate_server.documents.fields import AnyJson, Instant, StrictBoolean, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.change import Address, Change, Stored
from tidegate_server.domain.json_differences import (
    ABSENT,
    Absent,
    Difference,
    difference_text,
    differences,
)
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import NotFound
from tidegate_server.store.history import Version
from tidegate_server.web import responses
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.document_schemas import page_schema
from tidegate_server.web.pagination import PageQuery, PageRequest, encode_cursor, log_position

MAX_REVISION = 2**53


class VersionFields(Strict):
    """Who made a version of a document, when and why."""

    revision = StrictInteger(
        required=True, metadata={"description": "of a deletion: the revision that was deleted"}
    )
    at = Instant(attribute="at_ms", required=True)
    actor = fields.String(required=True, metadata={"description": "empty: not known"})
    action = fields.String(required=True, metadata={"description": "as in the audit log"})
    reason = fields.String(required=True)
    deleted = StrictBoolean(
        required=True, metadata={"description": "the document was deleted; it has no content"}
    )


class VersionAnswer(VersionFields):
    """A version of a document."""

    document = AnyJson(
        required=True,
        metadata={"type": "object", "description": "the fields that people set, as in the API"},
    )


VersionPage = page_schema("VersionPage", VersionFields)


class FieldDifferenceSchema(Strict):
    """A field that differs."""

    pointer = fields.String(
        required=True,
        metadata={"description": "JSON pointer in `to`; in `from` if the field is not in `to`"},
    )
    field = fields.String(required=True, metadata={"description": "the pointer in words"})
    text = fields.String(required=True, metadata={"description": "the difference as one line"})
    before = AnyJson(metadata={"description": "the value in `from`; missing if it has none"})
    after = AnyJson(metadata={"description": "the value in `to`; missing if it has none"})


class DiffAnswer(Strict):
    """The differences between two versions of a document."""

    older = fields.Nested(VersionFields, data_key="from", required=True)
    newer = fields.Nested(VersionFields, data_key="to", required=True)
    changes = fields.List(fields.Nested(FieldDifferenceSchema), required=True)


class DiffQuery(Strict):
    """The query of a comparison."""

    to = fields.Integer(
        load_default=None,
        validate=validate.Range(min=1, max=MAX_REVISION),
        metadata={"description": "the other revision; by default the present one"},
    )


def everything(stored: Stored) -> Stored:
    """Return a document with all its fields: every token that may read it sees them."""
    return stored


class Restore(Protocol):
    """Gives a document the content of an earlier version, and answers with the document."""

    def __call__(self, project: str, address: Address, old: Any, revision: int, /) -> Response:
        """Return the response of the restored document."""


@dataclass(frozen=True, slots=True)
class DocumentHistory:
    """The routes of the history of one kind of document.

    Attributes:
        blueprint: where to register them.
        kind: the kind of document.
        item: the path of one document.
        name: what the operations call it: ``flag``.
        key: the part of the path that holds its key.
        editor: the permission to restore a version.
        visible: returns what the caller may see of a document.
        reader: the permission to read the history.
        scoped_to_caller: as for ``Blueprint.operation``.
    """

    blueprint: Blueprint
    kind: Kind
    item: str
    name: str
    key: str
    editor: Permission
    visible: Callable[[Stored], Stored] = everything
    reader: Permission = Permission.READ
    scoped_to_caller: bool = False

    def serve(self, restore: Restore, response: type[Schema]) -> None:
        """Serve the history; ``response`` is the schema of a restored document."""
        self._serve_reading()
        self._serve_diff()
        self._serve_restore(restore, response)

    def _serve_reading(self) -> None:
        def list_versions(page: PageRequest, project: str = SERVER, **path: str) -> Response:
            address = self._address(path)
            store = backend().store
            versions, following = store.history.versions(
                project, address, log_position(page), page.limit
            )
            if not versions and not page.after:
                read_document(store, project, address)  # says what does not exist
                raise missing_document(store, project, address)
            return responses.page(VersionPage(), versions, encode_cursor(following))

        def get_version(revision: int, project: str = SERVER, **path: str) -> Response:
            version = self._version(project, self._address(path), revision)
            shown = {**version_summary(version), "document": self._document(version)}
            return responses.value_with_etag(VersionAnswer(), shown)

        list_versions.__name__ = f"list_{self.name}_versions"
        list_versions.__doc__ = f"List the versions of a {self.name}, the latest first."
        get_version.__name__ = f"get_{self.name}_version"
        get_version.__doc__ = f"Get a {self.name} as it was at a revision."
        self.blueprint.operation(
            "GET",
            f"{self.item}/history",
            permission=self.reader,
            scoped_to_caller=self.scoped_to_caller,
            query=PageQuery,
            response=VersionPage,
        )(list_versions)
        self.blueprint.operation(
            "GET",
            f"{self.item}/history/<int:revision>",
            permission=self.reader,
            scoped_to_caller=self.scoped_to_caller,
            response=VersionAnswer,
        )(get_version)

    def _serve_diff(self) -> None:
        def diff(
            query: Mapping[str, int | None], revision: int, project: str = SERVER, **path: str
        ) -> Any:
            address = self._address(path)
            older = self._version(project, address, revision)
            newer = self._version(project, address, query["to"])
            found = differences(self._document(older), self._document(newer))
            content = {
                "older": older,
                "newer": newer,
                "changes": [shown_difference(each) for each in found],
            }
            return responses.value_with_etag(DiffAnswer(), content)

        diff.__name__ = f"compare_{self.name}_versions"
        diff.__doc__ = f"Compare two versions of a {self.name}, field by field."
        self.blueprint.operation(
            "GET",
            f"{self.item}/history/<int:revision>/diff",
            permission=self.reader,
            scoped_to_caller=self.scoped_to_caller,
            query=DiffQuery,
            response=DiffAnswer,
        )(diff)

    def _serve_restore(self, restore: Restore, response: type[Schema]) -> None:
        def restore_version(revision: int, project: str = SERVER, **path: str) -> Response:
            address = self._address(path)
            version = self._version(project, address, revision)
            return restore(project, address, version.document, revision)

        restore_version.__name__ = f"restore_{self.name}_version"
        restore_version.__doc__ = (
            f"Make a {self.name} what it was at a revision again.\n\nThis is an ordinary change, "
            "with the same checks. A document that exists needs `If-Match`."
        )
        self.blueprint.operation(
            "POST",
            f"{self.item}/history/<int:revision>/restore",
            permission=self.editor,
            scoped_to_caller=self.scoped_to_caller,
            response=response,
        )(restore_version)

    def _address(self, path: Mapping[str, str]) -> Address:
        return Address(
            self.kind, path[self.key], path.get("environment", "") if self._local else ""
        )

    @property
    def _local(self) -> bool:
        return self.kind is Kind.TARGETING

    def _version(self, project: str, address: Address, revision: int | None) -> Version:
        """Return a version with content; None: the present one."""
        store = backend().store
        if revision is not None:
            return store.history.version(project, address, revision)
        latest, _ = store.history.versions(project, address, None, 1)
        if not latest or latest[0].deleted:
            read_document(store, project, address)
            raise NotFound(f"There is no {self.name} {address.key!r} now; compare with `to`.")
        return latest[0]

    def _document(self, version: Version) -> dict[str, Any]:
        shown = self.visible(Stored(version.document, version.revision, version.at_ms))
        return presented(self.kind, shown.document)


def version_summary(version: Version) -> dict[str, Any]:
    """Return the values of ``VersionFields``."""
    return {
        "revision": version.revision,
        "at_ms": version.at_ms,
        "actor": version.actor,
        "action": version.action,
        "reason": version.reason,
        "deleted": version.deleted,
    }


def shown_difference(found: Difference) -> dict[str, Any]:
    """Return a difference as ``FieldDifferenceSchema`` shows it."""
    shown: dict[str, Any] = {
        "pointer": found.pointer,
        "field": found.field,
        "text": difference_text(found),
    }
    if not isinstance(found.before, Absent):
        shown["before"] = found.before
    if found.after is not ABSENT:
        shown["after"] = found.after
    return shown


def with_restored_revision(change: Change, revision: int) -> Change:
    """Return a change whose audit entry names the revision that it restores."""
    if change.audit is None:
        return change
    details = {**change.audit.details, "restored_revision": revision}
    return replace(change, audit=replace(change.audit, details=details))
