"""`tidegate backup` and `tidegate restore-backup`, on the server's own machine."""

from __future__ import annotations

import socket
from pathlib import Path

from tidegate_server.admin.bootstrap import FINGERPRINT
from tidegate_server.errors import StartupRefused
from tidegate_server.processes.local_store import reached_store, used_store, user
from tidegate_server.store.backups import Backup, read_backup, restore_backup, write_backup


def back_up(data_dir: Path, store_url: str | None, file: Path) -> Backup:
    """Write a backup of a server's store; the server may run or not.

    Args:
        data_dir: the data folder of the embedded store.
        store_url: the store, if it is not the embedded one.
        file: the new file.

    Raises:
        StartupRefused: the store or the file cannot be used.
        StoreUnavailable: the store cannot be reached.
    """
    with used_store(data_dir, store_url) as store:
        return write_backup(store, file, store.get_server_value(FINGERPRINT) or "")


def restore(data_dir: Path, store_url: str | None, file: Path, why: str) -> Backup:
    """Replace everything in a server's store by a backup; the server may run or not.

    Args:
        data_dir: the data folder of the embedded store.
        store_url: the store, if it is not the embedded one.
        file: the backup.
        why: the reason, for the audit log.

    Raises:
        StartupRefused: the store or the file cannot be used, or the store has another secret key.
        StoreUnavailable: the store cannot be reached; the backup may be restored in part.
    """
    backup = read_backup(file)
    with reached_store(data_dir, store_url) as store:
        present = store.get_server_value(FINGERPRINT)
        if present and backup.key_fingerprint and present != backup.key_fingerprint:
            raise StartupRefused(
                f"{file} belongs to another secret key than this store, so no token in it would "
                "work here. Restore it into the data folder, or the store, of that key."
            )
        reason = f"restored by {user()} on {socket.gethostname()}{f': {why}' if why else ''}"
        return restore_backup(store, file, "server", reason)
