"""Backups: everything that Tidegate stores, in one file, and back.

The file is a ZIP archive with one entry for each scope (a project, or the server's own) and a
``backup.json`` that describes them. A scope is read by one script, so its keys are those of one
moment while the store is in use; it is restored by one script, too. The server's documents list
the projects: they are read first and restored last, so that each project of the list is there.

A restore gives every project a new incarnation. So applications and servers that are connected
read their flags again, even if the numbers of versions meet those from before.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec
from tidegate.version import VERSION

from tidegate_server.domain.change import Audit, Change
from tidegate_server.errors import StartupRefused
from tidegate_server.store import schema_versions
from tidegate_server.store.commit import new_incarnation

if TYPE_CHECKING:
    from tidegate_server.store.store import Store

FORMAT = 1
MANIFEST = "backup.json"
SERVER = ""


@dataclass(frozen=True, slots=True)
class BackedUpScope:
    """One scope in a backup.

    Attributes:
        scope: a project; empty: the server.
        entry: the name of its entry in the archive.
        keys: how many keys it has.
        sha256: the digest of the entry's content.
    """

    scope: str
    entry: str
    keys: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself.

    Attributes:
        format: the version of the file's format.
        schema: the version of the shape of what is stored.
        made_ms: when it was made, by the store's clock.
        tidegate: the version of Tidegate that made it.
        key_fingerprint: the fingerprint of the secret key that the store needs; empty: none yet.
        scopes: what it contains.
    """

    format: int
    schema: int
    made_ms: int
    tidegate: str
    key_fingerprint: str
    scopes: tuple[BackedUpScope, ...]

    @property
    def projects(self) -> list[str]:
        """The projects in the backup."""
        return [each.scope for each in self.scopes if each.scope]

    @property
    def keys(self) -> int:
        """How many keys of the store it has."""
        return sum(each.keys for each in self.scopes)


def write_backup(store: Store, path: Path, key_fingerprint: str) -> Backup:
    """Write a backup of a store that may be in use.

    The file appears when it is complete, readable by its owner only. While a scope is read, the
    store does nothing else.

    Args:
        store: the store.
        path: the new file.
        key_fingerprint: the fingerprint of the store's secret key.

    Raises:
        StartupRefused: the file exists already, or cannot be written.
        StoreUnavailable: the store cannot be reached.
    """
    if path.exists():
        raise StartupRefused(f"{path} exists already; name another file.")
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                backup = _write(store, file, key_fingerprint)
                file.flush()
                os.fsync(file.fileno())
            # Not over a file that came meanwhile.
            os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        raise StartupRefused(f"{path} exists already; name another file.") from None
    except OSError as error:
        raise StartupRefused(f"{path} cannot be written: {error.strerror}.") from None
    return backup


def _write(store: Store, file: IO[bytes], key_fingerprint: str) -> Backup:
    scopes: list[BackedUpScope] = []
    now_ms, schema = store.now_ms(), schema_versions.stored_version(store)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:

        def add(scope: str) -> None:
            content = store.dump_scope(scope)
            packed = msgspec.msgpack.encode(content)
            entry, digest = f"scopes/{len(scopes)}", hashlib.sha256(packed).hexdigest()
            archive.writestr(entry, packed)
            scopes.append(BackedUpScope(scope, entry, len(content), digest))

        add(SERVER)
        for project in sorted(_projects(store)):
            add(project)
        backup = Backup(FORMAT, schema, now_ms, VERSION, key_fingerprint, tuple(scopes))
        archive.writestr(MANIFEST, msgspec.json.encode(asdict(backup)))
    return backup


def read_backup(path: Path) -> Backup:
    """Return what a backup says of itself, after checking that all of it is there.

    Raises:
        StartupRefused: the file cannot be read, is no backup, is damaged, or was made by a later
            version of Tidegate.
    """
    with _opened(path) as archive:
        backup = _manifest(archive, path)
        for each in backup.scopes:
            _content(archive, each, path)
        return backup


def restore_backup(store: Store, path: Path, actor: str, reason: str) -> Backup:
    """Replace everything that Tidegate stores by a backup, and note it in the audit logs.

    A restore that was interrupted can be repeated.

    Args:
        store: the store; servers may use it meanwhile.
        path: the backup.
        actor: who does it, for the audit logs.
        reason: why.

    Raises:
        StartupRefused: as ``read_backup`` raises it.
        StoreUnavailable: the store cannot be reached; the backup may be restored in part.
    """
    backup = read_backup(path)
    with _opened(path) as archive:
        for scope in sorted(_projects(store) - set(backup.projects)):
            store.replace_scope(scope, [], "")
        for each in sorted(backup.scopes, key=lambda each: each.scope == SERVER):
            incarnation = new_incarnation() if each.scope else ""
            store.replace_scope(each.scope, _content(archive, each, path), incarnation)
    schema_versions.upgrade(store)
    details = {"backup_made_ms": backup.made_ms, "file": path.name}
    for each in backup.scopes:
        audit = Audit(actor, "store.restore", each.scope or "server", "", reason, details)
        store.commit(Change(each.scope, (), audit=audit))
    return backup


def _projects(store: Store) -> set[str]:
    """Return the projects that have keys, also those that are being deleted."""
    return {scope for scope in store.scopes() if scope}


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise StartupRefused(f"{path} cannot be read: {error.strerror}.") from None
    except zipfile.BadZipFile:
        raise StartupRefused(f"{path} is no backup, or not all of it is there.") from None


def _manifest(archive: zipfile.ZipFile, path: Path) -> Backup:
    try:
        backup = msgspec.json.decode(archive.read(MANIFEST), type=Backup)
    except (KeyError, zipfile.BadZipFile, msgspec.DecodeError):
        raise StartupRefused(f"{path} is no backup of Tidegate.") from None
    if backup.format > FORMAT or backup.schema > schema_versions.CURRENT:
        raise StartupRefused(
            f"{path} was made by a later version of Tidegate, {backup.tidegate}; restore it with "
            "that version."
        )
    return backup


def _content(
    archive: zipfile.ZipFile, scope: BackedUpScope, path: Path
) -> list[tuple[bytes, int, bytes]]:
    damaged = f"{path} is damaged: {scope.scope or 'what belongs to the server'} cannot be read."
    try:
        packed = archive.read(scope.entry)
    except Exception:  # zlib and zipfile raise many kinds
        raise StartupRefused(damaged) from None
    if hashlib.sha256(packed).hexdigest() != scope.sha256:
        raise StartupRefused(damaged)
    return msgspec.msgpack.decode(packed, type=list[tuple[bytes, int, bytes]])
