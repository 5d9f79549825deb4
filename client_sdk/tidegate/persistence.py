"""The last known snapshot on disk, for a start without a server.

A file holds one snapshot with a digest of it, and says from which server and with which
token it came. It is replaced as a whole, so several processes may share it, and a reader
finds one version or another. Whatever is not right with it, the client starts without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

log: logging.Logger = logging.getLogger("tidegate")

FORMAT = "tidegate-snapshot 1"
LARGEST_FILE = 64 * 1024 * 1024


class SnapshotFile:
    """A snapshot's place on disk.

    Args:
        path: the file; its folder is made when it does not exist.
        url: the server's address.
        token: the SDK token; only a digest of both is written.
    """

    def __init__(self, path: str | os.PathLike[str], url: str, token: str) -> None:
        self._path = Path(path)
        self._origin = hashlib.sha256(f"{url.rstrip('/')}\n{token}".encode()).hexdigest()[:32]
        self._complained = False

    def load(self) -> Any | None:
        """Return the snapshot document; None when there is none that can be trusted."""
        try:
            with self._path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the cached flags cannot be read: %s", error.strerror)
            return None
        header, _, body = content.partition(b"\n")
        expected = f"{FORMAT} {self._origin} {hashlib.sha256(body).hexdigest()}".encode()
        if header != expected:
            other = header.startswith(FORMAT.encode()) and self._origin.encode() not in header
            why = "they are another server's or token's" if other else "the file is damaged"
            log.warning("the cached flags are ignored: %s", why)
            return None
        try:
            return json.loads(body)
        except ValueError:
            log.warning("the cached flags are ignored: the file is damaged")
            return None

    def save(self, document: Any) -> None:
        """Replace what is there; trouble is told once and never raised."""
        body = json.dumps(document, separators=(",", ":")).encode()
        header = f"{FORMAT} {self._origin} {hashlib.sha256(body).hexdigest()}\n".encode()
        # A name that no other process or thread has, in the folder of the file.
        draft = self._path.with_name(
            f".{self._path.name}.{os.getpid()}.{threading.get_ident()}.draft"
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(number, "wb") as file:
                file.write(header + body)
            draft.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            if not self._complained:
                log.warning("the flags cannot be cached: %s", error.strerror)
                self._complained = True
            return
        self._complained = False
