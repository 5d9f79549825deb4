"""Changes that create, replace or delete one document.

Each returns the one atomic commit. What differs by kind of document (validation, guards,
snapshot updates, audit details) comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidegate_server.domain.change import (
    Address,
    Audit,
    Change,
    Delete,
    Guard,
    KindGuard,
    Put,
    Refresh,
    Stored,
)
from tidegate_server.domain.field_differences import changed_fields, same
from tidegate_server.errors import NotPossible


def put_document_change(
    scope: str,
    address: Address,
    before: Stored | None,
    document: object,
    *,
    actor: str,
    reason: str = "",
    environment: str = "",
    details: Mapping[str, object] | None = None,
    writes: Iterable[Put | Delete | Guard] = (),
    refreshes: Iterable[Refresh] = (),
    kind_guards: Iterable[KindGuard] = (),
    action: str = "",
) -> Change:
    """Create a document, or replace it.

    A replacement that is equal to the present document changes nothing: the change only
    guards the revision.

    Args:
        scope: a project's key, or ``""`` for the server.
        address: where the document is.
        before: the document as it was read; None creates it.
        document: the document to write.
        actor: who.
        reason: why.
        environment: the environment that the audit log names.
        details: what else the audit log keeps. A replacement adds ``changed``, the names of
            the changed fields.
        writes: what else the commit writes or guards.
        refreshes: what snapshots gain.
        kind_guards: the kinds of documents that the change depends on as a whole.
        action: what the audit log calls it, if it is more than to create or to edit.
    """
    if before is not None and same(before.document, document):
        return unchanged(scope, address, before)
    audited = dict(details or {})
    if before is not None:
        audited["changed"] = changed_fields(before.document, document)
    action = action or f"{address.kind}.{'create' if before is None else 'edit'}"
    put = (
        Put(address, document, 0)
        if before is None
        else Put(address, document, before.revision, before=before.document)
    )
    return Change(
        scope=scope,
        writes=(put, *writes),
        refreshes=tuple(refreshes),
        kind_guards=tuple(kind_guards),
        audit=Audit(actor, action, address.key, environment, reason, audited),
    )


def delete_document_change(
    scope: str,
    address: Address,
    before: Stored,
    *,
    actor: str,
    reason: str = "",
    environment: str = "",
    details: Mapping[str, object] | None = None,
    used_by: Iterable[str] = (),
    writes: Iterable[Put | Delete | Guard] = (),
    refreshes: Iterable[Refresh] = (),
    kind_guards: Iterable[KindGuard] = (),
    forgotten: tuple[str, ...] = (),
) -> Change:
    """Delete a document. Arguments as for ``put_document_change``.

    Args:
        used_by: what uses the document, in words; anything here refuses the deletion.
        forgotten: as in ``Change``.

    Raises:
        NotPossible: something uses the document.
    """
    users = ", ".join(used_by)
    if users:
        raise NotPossible(
            f"{address.kind.words.capitalize()} {address.key!r} is used by {users}. End that first."
        )
    return Change(
        scope=scope,
        writes=(Delete(address, before.revision, before=before.document), *writes),
        refreshes=tuple(refreshes),
        kind_guards=tuple(kind_guards),
        audit=Audit(
            actor, f"{address.kind}.delete", address.key, environment, reason, details or {}
        ),
        forgotten=forgotten,
    )


def unchanged(scope: str, address: Address, before: Stored) -> Change:
    """Write nothing, but fail if the document is no longer as it was read."""
    return Change(scope=scope, writes=(Guard(address, before.revision),))
