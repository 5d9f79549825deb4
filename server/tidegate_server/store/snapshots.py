"""The snapshots of environments in their wire form, each kept in this process until it changes.

A read asks the store for the version of the environment, its incarnation, and when the version was
committed. If they are those of what is kept, so is the snapshot: every write of a snapshot raises
its version. A restored store, or one that lost its last commits in a failover, may reach the same
version again, but at another time.

Threads: ``_lock`` guards the tables and is never held during network I/O. The lock of an
environment is held while its whole snapshot is read, so that many clients that come back at once
wait for one reading.
"""

from __future__ import annotations

import gzip
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from tidegate_server.domain.change import Kind
from tidegate_server.domain.deletions import WHOLE_PROJECT
from tidegate_server.errors import NotFound
from tidegate_server.store import documents, keys
from tidegate_server.store.commit import json_object
from tidegate_server.store.connection import Connection

KEPT_BYTES = 32_000_000
"""How many bytes of snapshots a process keeps."""

COMPRESSION = 5

State: TypeAlias = tuple[bytes | None, ...]
"""The version of an environment, its incarnation, and when the version was committed."""

Place: TypeAlias = tuple[str, str]
"""The keys of a project and of one of its environments."""


@dataclass(frozen=True)  # without slots, so that it keeps its compressed form
class EncodedSnapshot:
    """An environment's snapshot in its wire form.

    Attributes:
        version: the environment's version.
        body: the snapshot as JSON.
        incarnation: tells versions of a restored store from those before; empty: there is none.
    """

    version: int
    body: bytes
    incarnation: str = ""

    @cached_property
    def compressed(self) -> bytes:
        """The snapshot compressed with gzip."""
        return gzip.compress(self.body, compresslevel=COMPRESSION, mtime=0)


@dataclass(frozen=True, slots=True)
class _Kept:
    snapshot: EncodedSnapshot
    state: State

    @property
    def size(self) -> int:
        return len(self.snapshot.body)


class Snapshots:
    """The snapshots that a process has read lately. Use ``Store.snapshot``."""

    def __init__(self, connection: Connection, most_bytes: int = KEPT_BYTES) -> None:
        self._connection = connection
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._reading: dict[Place, threading.Lock] = {}
        self._kept: OrderedDict[Place, _Kept] = OrderedDict()
        self._size = 0

    def read(self, project: str, environment: str) -> EncodedSnapshot:
        """Return an environment's snapshot, as recent as this call.

        Raises:
            NotFound: the environment was deleted.
        """
        place = (project, environment)
        with self._lock:
            kept = self._kept.get(place)
            reading = self._reading.setdefault(place, threading.Lock())
        if kept is not None and self._state(place, kept.snapshot.version) == kept.state:
            return kept.snapshot
        with reading:
            # Another request may have read it meanwhile.
            with self._lock:
                latest = self._kept.get(place)
            if latest is None or latest is kept:
                return self._read(place)
            is_present = self._state(place, latest.snapshot.version) == latest.state
            return latest.snapshot if is_present else self._read(place)

    def _state(self, place: Place, version: int) -> State:
        """Return the present state of an environment that should be at this version.

        Raises:
            NotFound: the environment was deleted.
        """
        receipt = keys.version_receipt(*place, version)
        *state, at, deleted = self._connection.read_many(
            [*_version_commands(place), ("HGET", receipt, "at"), _deleted_command(place)],
            atomic=True,
        )
        _require(place, deleted)
        return (*state, at)

    def _read(self, place: Place) -> EncodedSnapshot:
        project, environment = place
        version, incarnation, fields, deleted = self._connection.read_many(
            [
                *_version_commands(place),
                ("HGETALL", keys.snapshot(project, environment)),
                _deleted_command(place),
            ],
            atomic=True,
        )
        _require(place, deleted)
        parts: dict[str, dict[str, bytes]] = {"flag": {}, "segment": {}}
        for field, json in fields.items():
            kind, _, key = field.decode().partition(":")
            parts[kind][key] = json
        body = json_object(
            {
                "schema": b"1",
                "project": documents.encode(project),
                "environment": documents.encode(environment),
                "version": version or b"0",
                **({"incarnation": documents.encode(incarnation.decode())} if incarnation else {}),
                "flags": json_object(parts["flag"]),
                "segments": json_object(parts["segment"]),
            }
        )
        found = EncodedSnapshot(int(version or 0), body, (incarnation or b"").decode())
        state = self._state(place, found.version)
        self._keep(place, _Kept(found, state) if state[:2] == (version, incarnation) else None)
        return found

    def _keep(self, place: Place, found: _Kept | None) -> None:
        with self._lock:
            before = self._kept.pop(place, None)
            self._size -= 0 if before is None else before.size
            # What does not tell one state from every other is not kept.
            if found is None or None in found.state or found.size > self._most_bytes:
                return
            self._kept[place] = found
            self._size += found.size
            while self._size > self._most_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._size -= oldest.size


def _version_commands(place: Place) -> list[tuple[Any, ...]]:
    project, environment = place
    return [("GET", keys.version(project, environment)), ("GET", keys.incarnation(project))]


def _deleted_command(place: Place) -> tuple[Any, ...]:
    project, environment = place
    return ("HMGET", keys.documents(project, Kind.DELETION), environment, WHOLE_PROJECT)


def _require(place: Place, deleted: list[bytes | None]) -> None:
    if any(deleted):
        project, environment = place
        raise NotFound(f"Environment {environment!r} of project {project!r} was deleted.")
