"""The store of a server on this machine, for commands that need no token."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tidegate_server.admin.bootstrap import FINGERPRINT
from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

CHECK = "Name with --data-dir or --store-url what the server uses; is its volume mounted?"


def check_data_folder(data_dir: Path, store_url: str | None) -> None:
    """Raise ``StartupRefused`` if there is no data folder, and it is needed."""
    if store_url is None and not data_dir.is_dir():
        raise StartupRefused(
            f"There is no data folder {data_dir}. Name the folder that the server uses with "
            "--data-dir, or its store with --store-url."
        )


@contextmanager
def reached_store(data_dir: Path, store_url: str | None) -> Iterator[Store]:
    """Connect to the store; start the embedded one for the moment if no server runs.

    Args:
        data_dir: the data folder of the embedded store.
        store_url: the store, if it is not the embedded one.

    Raises:
        StartupRefused: there is no data folder, or it cannot be used.
        StoreUnavailable: the store cannot be reached.
    """
    check_data_folder(data_dir, store_url)
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


@contextmanager
def used_store(data_dir: Path, store_url: str | None) -> Iterator[Store]:
    """Do the same as ``reached_store`` for a store that a server has used.

    A folder whose volume is not mounted is empty: a backup of that would look like a good one.

    Raises:
        StartupRefused, StoreUnavailable: as ``reached_store`` raises them.
        StartupRefused: no server has used the store.
    """
    check_data_folder(data_dir, store_url)
    if store_url is None and not (data_dir / "appendonlydir").is_dir():
        raise StartupRefused(f"There is no store in {data_dir}. {CHECK}")
    with reached_store(data_dir, store_url) as store:
        if store.get_server_value(FINGERPRINT) is None:
            raise StartupRefused(f"No server has used this store. {CHECK}")
        yield store


def _answers(url: str) -> bool:
    with suppress(StoreUnavailable):
        store = Store.connect(url)
        store.close()
        return True
    return False


def user() -> str:
    """Return the name of who runs this process."""
    with suppress(Exception):
        return getpass.getuser()
    return "an unknown user"
