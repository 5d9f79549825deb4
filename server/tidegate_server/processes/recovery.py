"""A new admin token for whoever controls the store, when every admin token is lost."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tidegate_server.admin.bootstrap import add_admin_token
from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.processes.settings import KEY_FILE, check_secret_key
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey


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
    if store_url is None and not data_dir.is_dir():
        raise StartupRefused(
            f"There is no data folder {data_dir}. Name the folder that the server uses with "
            "--data-dir, or its store with --store-url."
        )
    key = check_secret_key(configured_key) if configured_key else _key_in(data_dir)
    reason = f"recovered by {_user()} on {socket.gethostname()}{f': {why}' if why else ''}"
    with _reached(data_dir, store_url) as store:
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


@contextmanager
def _reached(data_dir: Path, store_url: str | None) -> Iterator[Store]:
    """Connect to the store; start the embedded one for the moment if no server runs."""
    embedded = EmbeddedValkey(data_dir)
    if store_url is None and not _answers(embedded.url):
        embedded.start()
    store = None
    try:
        store = Store.connect(store_url or embedded.url)
        yield store
    finally:
        if store is not None:
            store.close()
        embedded.stop()


def _answers(url: str) -> bool:
    with suppress(StoreUnavailable):
        store = Store.connect(url)
        store.close()
        return True
    return False


def _user() -> str:
    with suppress(Exception):
        return getpass.getuser()
    return "an unknown user"
