"""The version of the shape of what is stored, and the upgrades from earlier shapes.

An upgrade changes the store in place, at the start of a server. It adds and never takes away, so
servers of the version before go on while servers are replaced one by one. Each can be repeated, and
several servers may make it at the same time.

Documents need no upgrade for a new field: they are decoded with its default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tidegate_server.errors import StartupRefused
from tidegate_server.store.commit import new_incarnation
from tidegate_server.store.keys import SERVER

if TYPE_CHECKING:
    from tidegate_server.store.store import Store

NAME = "schema"
"""The single value of the server with the version; a store without it has version 1."""


def stored_version(store: Store) -> int:
    """Return the version of a store's shape."""
    return int(store.get_server_value(NAME) or 1)


def check(store: Store) -> None:
    """Return if this server can read a store.

    Raises:
        StartupRefused: a later version of Tidegate has upgraded it.
    """
    found = stored_version(store)
    if found > CURRENT:
        raise StartupRefused(
            f"The store has the shape {found} of a later version of Tidegate; this one knows "
            f"shapes up to {CURRENT}. Start the later version, or restore a backup that was made "
            "before the upgrade."
        )


def upgrade(store: Store) -> int:
    """Give a store the present shape; return the version that it had, an empty one the present.

    Raises:
        StartupRefused: a later version of Tidegate has upgraded it.
    """
    check(store)
    before = stored_version(store)
    if before == CURRENT:
        return before
    is_new = not store.projects()
    for step in UPGRADES[before - 1 :]:
        step(store)
    store.put_server_value(NAME, str(CURRENT))
    return CURRENT if is_new else before


def _give_projects_an_incarnation(store: Store) -> None:
    for project in store.projects():
        store.put_incarnation_once(project, new_incarnation())


def _index_audit_logs(store: Store) -> None:
    for scope in (SERVER, *store.projects()):
        store.logs.complete_index(scope)


UPGRADES: Sequence[Callable[[Store], None]] = (
    _give_projects_an_incarnation,
    _index_audit_logs,  # by key
    _index_audit_logs,  # and by kind, from the log's beginning
)
"""Each leads from the version of its place, counted from 1, to the next."""

CURRENT = len(UPGRADES) + 1
