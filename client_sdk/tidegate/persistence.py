"""The last snapshot in a file, for a start without the server.

The file holds one snapshot, its digest, and a digest of the server's address and the token. It
is replaced as a whole, so several processes can share it, and a reader finds one whole version.
If anything is wrong with the file, the client starts without it. A symbolic link stays: the file
that it names is replaced. A device, a pipe or a folder is neither read nor replaced.

The key sets of the snapshot are beside it, in a folder with ``.keys`` after the file's name: each
in a file that is named like its digest.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.errors import WireError
from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from tidegate.evaluation.key_sets import KeySet
    from tidegate.model import InKeySet

log: logging.Logger = logging.getLogger("tidegate")

FORMAT = "tidegate-snapshot 1"
LARGEST_FILE = 64 * 1024 * 1024


class SnapshotFile:
    """The file of one client's last snapshot.

    Args:
        path: the file; its folder is made if it does not exist.
        url: the server's address.
        token: the SDK token; only a digest of both is written.
    """

    def __init__(self, path: str | os.PathLike[str], url: str, token: str) -> None:
        self._path = Path(path)
        self._origin = hashlib.sha256(f"{url.rstrip('/')}\n{token}".encode()).hexdigest()[:32]
        self._save_failed = False

    def load(self) -> bytes | None:
        """Return the snapshot as JSON; None without a file, or with one that cannot be trusted."""
        try:
            content = _read(self._path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("cannot read the cached flags in %s: %s", self._path, _reason(error))
            self._save_failed = isinstance(error, _NotAFile)
            return None
        header, _, body = content.partition(b"\n")
        expected = f"{FORMAT} {self._origin} {hashlib.sha256(body).hexdigest()}".encode()
        if header != expected:
            foreign = header.startswith(FORMAT.encode()) and self._origin.encode() not in header
            reason = "they are for another server or token" if foreign else "the file is damaged"
            log.warning("the cached flags are ignored: %s", reason)
            return None
        return body

    def load_key_sets(self, named: Mapping[str, InKeySet]) -> dict[str, KeySet]:
        """Return the key sets that are here, by digest.

        Args:
            named: those that the snapshot names, by digest.
        """
        found: dict[str, KeySet] = {}
        for digest, each in named.items():
            with contextlib.suppress(OSError, ValueError, WireError):
                content = _read(self._keys_folder / digest)
                key_sets = load("tidegate.evaluation.key_sets")
                found[digest] = key_sets.KeySet.of_content(digest, each.salt, content)
        return found

    def save(self, body: bytes) -> None:
        """Replace the file with a snapshot as JSON. A failure is logged once and never raised."""
        header = f"{FORMAT} {self._origin} {hashlib.sha256(body).hexdigest()}\n".encode()
        self._save_failed = not self._replace(self._path, header + body)

    def save_key_sets(self, key_sets: Mapping[str, KeySet]) -> None:
        """Keep these key sets, and delete all others. A failure is never raised."""
        with contextlib.suppress(OSError, ValueError):
            # ``exists`` raises, too, where the folder may not be looked into.
            if not key_sets and not self._keys_folder.exists():
                return
            for digest, keys in key_sets.items():
                path = self._keys_folder / digest
                if not path.exists() and not self._replace(path, keys.content):
                    self._save_failed = True
            for path in self._keys_folder.iterdir():
                if path.name not in key_sets and not path.name.startswith("."):
                    path.unlink()

    @property
    def _keys_folder(self) -> Path:
        path = Path(os.path.realpath(self._path))
        return path.with_name(f"{path.name}.keys")

    def _replace(self, file: Path, content: bytes) -> bool:
        """Replace a file as a whole; return whether that worked."""
        draft: Path | None = None
        try:
            path = Path(os.path.realpath(file))
            if path.exists() and not path.is_file():
                raise _NotAFile(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            # In the folder of the file, with a name that no other process or thread uses.
            draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.draft")
            number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(number, "wb") as opened:
                opened.write(content)
            draft.replace(path)
        except (OSError, ValueError) as error:
            if draft is not None:
                with contextlib.suppress(OSError):
                    draft.unlink()
            if not self._save_failed:
                log.warning("cannot cache the flags in %s: %s", file, _reason(error))
            return False
        return True


class _NotAFile(OSError):
    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, f"{path} is not a file, choose another cache_path")


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _read(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise _NotAFile(path)
    with path.open("rb") as file:
        return file.read(LARGEST_FILE + 1)
