"""Delete environments and projects, and free their keys for new ones."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import SERVER, read_project, read_project_documents
from tidegate_server.admin.evaluation_counts.service import ago_text
from tidegate_server.admin.pending_store import PendingStore
from tidegate_server.admin.projects.schemas import DeletionRequest
from tidegate_server.domain import deletions
from tidegate_server.domain.calendar import DAY_MS
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.deletions import Deletion, deletion_address, unfinished_address
from tidegate_server.errors import NotPossible, StoreUnavailable
from tidegate_server.store import Store, removal
from tidegate_server.web.etags import IfMatch


def delete_environment(
    store: Store,
    project: str,
    environment: str,
    request: DeletionRequest,
    actor: str,
    reason: str,
    if_match: IfMatch,
) -> None:
    """Delete an environment and all that belongs to it.

    Raises:
        NotFound: there is no such environment.
        RevisionRequired, StaleRevision: ``if_match`` does not accept its revision.
        NotPossible: it has an active release, or applications use it.
        Invalid: the request does not confirm the force.
    """
    address = deletion_address(environment)

    def make_change() -> Change:
        documents = read_project_documents(store, project)
        revision = documents.environment(environment).revision
        if_match.require(revision, f"environment {environment}")
        return deletions.delete_environment(
            documents,
            environment,
            store.get(project, address),
            actor=actor,
            now_ms=store.now_ms(),
            reason=reason,
            force=request.force,
            confirmed=request.confirm,
            in_use=_users(store, project, [environment]),
        )

    _finish(store, commit_with_retry(store, make_change).stored(address))


def delete_project(
    store: Store,
    project: str,
    request: DeletionRequest,
    actor: str,
    reason: str,
    if_match: IfMatch,
) -> None:
    """Delete a project with its environments; raises as ``delete_environment`` does."""
    address = deletion_address()

    def make_change() -> Change:
        documents = read_project_documents(store, project)
        if_match.require(read_project(store, project).revision, f"project {project}")
        return deletions.close_project(
            documents,
            store.get(project, address),
            actor=actor,
            now_ms=store.now_ms(),
            reason=reason,
            force=request.force,
            confirmed=request.confirm,
            in_use=_users(store, project, documents.environments),
        )

    _finish(store, commit_with_retry(store, make_change).stored(address))


def earlier_deletion(store: Store, project: str, environment: str = "") -> Stored | None:
    """Return the deletion that a new environment, or a new project, follows; None: there is none.

    What reports and other processes may have written since is removed again.

    Raises:
        NotPossible: it is not over.
    """
    address = deletion_address(environment)
    stored = store.get(project, address)
    unfinished = None if environment else store.get(SERVER, unfinished_address(project))
    if stored is None and unfinished is None:
        return None
    found: Stored = stored or unfinished  # type: ignore[assignment]
    deletion: Deletion = found.document
    if not isinstance(store, PendingStore):
        removal.finish(store, deletion)
    stored = store.get(project, address)
    if stored is not None and not stored.document.done:
        raise NotPossible(f"The earlier {deletion.name} is still being deleted; try again soon.")
    return stored


def _finish(store: Store, stored: Stored) -> None:
    """Remove what belongs to a deletion; what is left for want of the store is removed later.

    A deletion that is only planned, for a change request, removes nothing.
    """
    if isinstance(store, PendingStore):
        return
    with suppress(StoreUnavailable):
        removal.finish(store, stored.document)


def _users(store: Store, project: str, environments: Iterable[str]) -> list[str]:
    """Return who has used environments within the project's ``deletable_after_days``."""
    now_ms = store.now_ms()
    days = read_project(store, project).document.deletable_after_days
    found = []
    for environment in environments:
        seen = [each.seen_ms for each in store.instances.all(project, environment)]
        asked_ms = store.evaluations.last_of_any(project, environment)
        last_ms = max([*seen, *([] if asked_ms is None else [asked_ms])], default=None)
        if last_ms is not None and last_ms > now_ms - days * DAY_MS:
            ago = ago_text(now_ms - last_ms)
            found.append(f"An application last used {environment} {ago} ago.")
    return found
