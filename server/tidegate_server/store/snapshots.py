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

from tidegate_server.domain.deletions import WHOLE_PROJECT
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import NotFound
from tidegate_server.store import documents, environment_versions, keys
from tidegate_server.store.commit import json_object
from tidegate_server.store.connection import Command, Connection
from tidegate_server.store.environment_versions import EnvironmentVersion
from tidegate_server.store.feed import Place

KEPT_BYTES = 32_000_000
"""How many bytes of snapshots a process keeps."""

COMPRESSION = 5


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
    version: EnvironmentVersion

    @property
    def size(self) -> int:
        return len(self.snapshot.body)

    @property
    def is_exact(self) -> bool:
        """Whether the version is that of the snapshot, and no other one equals it."""
        read = (self.snapshot.version, self.snapshot.incarnation)
        present = self.version
        return read == (present.number, present.incarnation) and present.is_exact


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
            if kept is not None:
                self._kept.move_to_end(place)
            reading = self._reading.setdefault(place, threading.Lock())
        if kept is not None and self._is_present(place, kept):
            return kept.snapshot
        with reading:
            # Another request may have read it meanwhile.
            with self._lock:
                latest = self._kept.get(place)
            if latest is None or latest is kept:
                return self._read(place)
            return latest.snapshot if self._is_present(place, latest) else self._read(place)

    def _is_present(self, place: Place, kept: _Kept) -> bool:
        return self._version(place, kept.snapshot.version) == kept.version

    def _version(self, place: Place, number: int) -> EnvironmentVersion:
        """Return the version of an environment that should have this one.

        Raises:
            NotFound: the environment was deleted.
        """
        *replies, deleted = self._connection.read_many(
            [*environment_versions.commands(place, number), _deleted_command(place)], atomic=True
        )
        _require(place, deleted)
        return environment_versions.parse(replies)

    def _read(self, place: Place) -> EncodedSnapshot:
        project, environment = place
        version, incarnation, fields, deleted = self._connection.read_many(
            [
                ("GET", keys.version(project, environment)),
                ("GET", keys.incarnation(project)),
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
        present = self._version(place, found.version)
        self._keep(place, _Kept(found, present))
        return found

    def _keep(self, place: Place, found: _Kept) -> None:
        with self._lock:
            before = self._kept.pop(place, None)
            self._size -= 0 if before is None else before.size
            if not found.is_exact or found.size > self._most_bytes:
                return
            self._kept[place] = found
            self._size += found.size
            while self._size > self._most_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._size -= oldest.size


def _deleted_command(place: Place) -> Command:
    project, environment = place
    return ("HMGET", keys.documents(project, Kind.DELETION), environment, WHOLE_PROJECT)


def _require(place: Place, deleted: list[bytes | None]) -> None:
    if any(deleted):
        project, environment = place
        raise NotFound(f"Environment {environment!r} of project {project!r} was deleted.")
