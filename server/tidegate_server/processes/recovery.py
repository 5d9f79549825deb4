"""A new admin token for whoever controls the store, when every admin token is lost."""

from __future__ import annotations

import socket
from pathlib import Path

from tidegate_server.admin.bootstrap import add_admin_token
from tidegate_server.errors import StartupRefused
from tidegate_server.processes.local_store import check_data_folder, used_store, user
from tidegate_server.processes.settings import KEY_FILE, check_secret_key


def recover_admin(
    data_dir: Path, store_url: str | None, configured_key: str | None, why: str = ""
) -> str:
    """Create an admin token of the whole server, and return its text.

    The server may run or not. The audit log says who did this, on which machine.

    Args:
        data_dir: the data folder of the embedded store and of the secret key.
        store_url: the store, if it is not the embedded one.
        configured_key: the servers' secret key, if it is not in the data folder.
        why: the reason, for the audit log.

    Raises:
        StartupRefused: there is no data folder or no key, or the store was used with another.
        StoreUnavailable: the store cannot be reached.
    """
    check_data_folder(data_dir, store_url)
    key = check_secret_key(configured_key) if configured_key else _key_in(data_dir)
    reason = f"recovered by {user()} on {socket.gethostname()}{f': {why}' if why else ''}"
    with used_store(data_dir, store_url) as store:
        return add_admin_token(store, key, "recovered admin", reason)


def _key_in(data_dir: Path) -> bytes:
    path = data_dir / KEY_FILE
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise StartupRefused(
            f"The secret key {path} cannot be read: {error.strerror}. Run this as the user of the "
            "server, or give the key in TIDEGATE_SECRET_KEY."
        ) from None
