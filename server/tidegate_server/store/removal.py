"""Removes what belonged to a deleted environment or project, in steps of bounded size.

Every step can be repeated, and any process may do it: after a crash, the policy job goes on where
another process has stopped. Documents are deleted by ordinary commits, so that no revision is used
twice and no process keeps a copy. Everything else is found by the names of its keys.

What stays: the audit log; the last revision of each deleted document; and the version of each
environment, raised by one. So an SDK that has an old version gets a whole snapshot, never an
update, if another environment gets the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from tidegate_server.domain.change import Address, Audit, Change, Delete, Put, Stored
from tidegate_server.domain.deletions import (
    Deletion,
    delete_project,
    deletion_address,
    finished,
    unfinished_address,
)
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import Group, Person
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import StaleRevision
from tidegate_server.store import documents, keys

if TYPE_CHECKING:
    from tidegate_server.store.store import Store

STEP = 500
"""How many documents or keys one step removes."""

SERVER = ""


def go_on(store: Store) -> int:
    """Remove what belongs to every deletion that is not done; return how many those were."""
    unfinished = [each.document for each in store.all(SERVER, Kind.DELETION).values()]
    for project in store.projects():
        for stored in store.all(project, Kind.DELETION).values():
            if not stored.document.done:
                unfinished.append(stored.document)
    for deletion in unfinished:
        finish(store, deletion)
    return len(unfinished)


def finish(store: Store, deletion: Deletion) -> None:
    """Remove what belongs to a deletion, and note that it is done."""
    project, environment = deletion.project, deletion.environment
    if not environment:
        stored = store.get(SERVER, Address(Kind.PROJECT, project))
        if stored is not None:
            with suppress(StaleRevision):  # another process does the same
                store.commit(delete_project(stored, deletion))
    _delete_access(store, deletion)
    for scope_environment in [environment] if environment else ["", *_environments(store, project)]:
        _delete_documents(store, deletion, scope_environment)
    if environment:
        _delete_hooks_and_shares(store, deletion)
    _remove_keys(store, project, environment)
    address = deletion_address(environment)
    present = store.get(project, address)
    if present is not None and not present.document.done:
        with suppress(StaleRevision):
            store.commit(finished(present))
    if not environment:
        unfinished = store.get(SERVER, unfinished_address(project))
        if unfinished is not None:
            delete = Delete(unfinished_address(project), unfinished.revision, unfinished.document)
            with suppress(StaleRevision):
                store.commit(Change(SERVER, (delete,)))


def deleted_place(store: Store, token_id: str) -> str | None:
    """Return which place was deleted together with a token, in words; None: none that is known."""
    value = store._connection.read("HGET", keys.tokens_of_deleted_places(), token_id)
    return None if value is None else value.decode()


def _environments(store: Store, project: str) -> list[str]:
    """Return the environments that a project has, and those that it had."""
    found = set(store.keys(project, Kind.ENVIRONMENT))
    for name in _names(store, project):
        parts = keys.parts_of(project, name)
        if parts[0] == "version":
            found.add(parts[1])
    return sorted(found)


def _delete_documents(store: Store, deletion: Deletion, environment: str) -> None:
    """Delete the documents of an environment; empty: those that a project has besides them."""
    project = deletion.project
    for kind in Kind:
        if kind is Kind.DELETION:
            continue
        key = keys.documents(project, kind, environment)
        while True:
            found = _some_documents(store, key, kind)
            if not found:
                break
            writes = tuple(
                Delete(Address(kind, name, environment), stored.revision, stored.document)
                for name, stored in found.items()
            )
            details = {"kind": kind.value, "count": len(writes)}
            audit = Audit(
                *(deletion.actor, "deletion.step", deletion.environment or project, environment),
                reason=deletion.reason,
                details=details,
            )
            with suppress(StaleRevision):  # another process does the same: look again
                store.commit(Change(project, writes, audit=audit), durable=False)


def _some_documents(store: Store, key: str, kind: Kind) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    for name, value in islice(store._connection.scan_fields(key, STEP), STEP):
        revision, updated_ms, json = value.split(b" ", 2)
        try:
            document = documents.decode_json(kind, json)
        except Exception:  # written by a later version: it is deleted all the same
            document = None
        found[name.decode()] = Stored(document, int(revision), int(updated_ms))
    return found


def _delete_hooks_and_shares(store: Store, deletion: Deletion) -> None:
    """Delete the hooks that act in a deleted environment, and the links that show it."""
    for kind, action in ((Kind.HOOK, "hook.delete"), (Kind.SHARE, "share.revoke")):
        for id, stored in store.all(deletion.project, kind).items():
            if stored.document.environment == deletion.environment:
                write = Delete(Address(kind, id), stored.revision, stored.document)
                audit = _audit(deletion, action, id)
                with suppress(StaleRevision):
                    store.commit(Change(deletion.project, (write,), audit=audit))


def _delete_access(store: Store, deletion: Deletion) -> None:
    """Delete the tokens of a place, and take away what people and groups may do in it."""

    def is_of(project: str | None, environment: str | None) -> bool:
        return project == deletion.project and deletion.environment in ("", environment)

    for id, stored in store.all(SERVER, Kind.TOKEN).items():
        token: Token = stored.document
        if is_of(token.project, token.environment):
            store._connection.write(
                "HSET", keys.tokens_of_deleted_places(), id, deletion.name[:200]
            )
            delete = Delete(Address(Kind.TOKEN, id), stored.revision, token)
            audit = _audit(deletion, "token.delete", id)
            with suppress(StaleRevision):
                store.commit(Change(SERVER, (delete,), audit=audit))
            store.token_uses.forget(id)
    for kind in (Kind.PERSON, Kind.GROUP):
        for key, stored in store.all(SERVER, kind).items():
            holder: Person | Group = stored.document
            kept = tuple(
                each for each in holder.grants if not is_of(each.project, each.environment)
            )
            if kept != holder.grants:
                after = replace(holder, grants=kept)
                put = Put(Address(kind, key), after, stored.revision, before=holder)
                audit = _audit(deletion, f"{kind}.edit", key)
                with suppress(StaleRevision):
                    store.commit(Change(SERVER, (put,), audit=audit))


def _audit(deletion: Deletion, action: str, target: str) -> Audit:
    details = {"because": f"{deletion.name} was deleted"}
    return Audit(deletion.actor, action, target, deletion.environment, deletion.reason, details)


def _remove_keys(store: Store, project: str, environment: str) -> None:
    """Remove every other key of an environment; empty: of a whole project."""
    connection = store._connection
    for name in _names(store, project):
        if keys.stays_after_deletion(project, name):
            parts = keys.parts_of(project, name)
            if parts[0] == "version" and environment in ("", parts[1]):
                connection.write("INCR", name)
        elif not environment or keys.is_of_environment(project, name, environment):
            connection.write("UNLINK", name)


def _names(store: Store, project: str) -> Iterator[str]:
    """Return the names of a project's keys; one that exists all the time comes at least once."""
    names = store._connection.scan_names(keys.all_of_scope(project), STEP)
    return (name.decode() for name in names)
