"""The last snapshot in a file, for a start without the server.

The file holds one snapshot, its digest, and a digest of the server's address and the token. It
is replaced as a whole, so several processes can share it, and a reader finds one whole version.
If anything is wrong with the file, the client starts without it. A symbolic link stays: the file
that it names is replaced. A device, a pipe or a folder is neither read nor replaced.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
import threading
from pathlib import Path

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
        except OSError as error:
            log.warning("cannot read the cached flags: %s", error.strerror)
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

    def save(self, body: bytes) -> None:
        """Replace the file with a snapshot as JSON. A failure is logged once and never raised."""
        header = f"{FORMAT} {self._origin} {hashlib.sha256(body).hexdigest()}\n".encode()
        draft: Path | None = None
        try:
            path = Path(os.path.realpath(self._path))
            if path.exists() and not path.is_file():
                raise _NotAFile(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            # In the folder of the file, with a name that no other process or thread uses.
            draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.draft")
            number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(number, "wb") as file:
                file.write(header + body)
            draft.replace(path)
        except OSError as error:
            if draft is not None:
                with contextlib.suppress(OSError):
                    draft.unlink()
            if not self._save_failed:
                log.warning("cannot cache the flags: %s", error.strerror)
                self._save_failed = True
            return
        self._save_failed = False


class _NotAFile(OSError):
    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, f"{path} is not a file, choose another cache_path")


def _read(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise _NotAFile(path)
    with path.open("rb") as file:
        return file.read(LARGEST_FILE + 1)
