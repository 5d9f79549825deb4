"""The locks of a data folder: one ``tidegate serve`` and one store may use it at a time.

Both locks end with the process that holds them. The supervisor holds ``lock``. The store's
process inherits ``store.lock``: while it is held, a store runs on this folder, even if its
supervisor was killed. Two stores on one append-only file would destroy it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import stat
import tempfile
import time
from io import TextIOWrapper
from pathlib import Path

from tidegate_server.errors import StartupRefused
from tidegate_server.private_folder import make_private, private_opener

MAX_SOCKET_PATH = 100
"""Unix socket paths may have 104 bytes on macOS and 108 on Linux, with the final zero."""

STOP_SECONDS = 15.0
"""How long an orphaned store may take to stop after each signal."""

POLL_SECONDS = 0.02


class DataFolder:
    """The data folder of one embedded store."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: TextIOWrapper | None = None

    @property
    def socket(self) -> Path:
        """The socket's path: in the data folder, or in a temporary one if that path is too long."""
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        folder = f"tidegate-{os.getuid()}-{name}"
        temporary = Path(tempfile.gettempdir())
        folders = (self.path, temporary / folder, Path("/tmp") / folder)  # noqa: S108
        paths = [each / "valkey.sock" for each in folders]
        return next(
            (path for path in paths if len(os.fsencode(path)) <= MAX_SOCKET_PATH), paths[-1]
        )

    def lock(self) -> None:
        """Create the folder if it does not exist, and lock it for this process.

        Raises:
            StartupRefused: it cannot be used, is open to others, or another process has locked
                it.
        """
        folder = self.path
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            make_private(self.path)
            lock = _open_lock(self.path / "lock")
            folder = self.socket.parent
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StartupRefused(
                f"The data folder {self.path} cannot be used: {folder}: {error.strerror}. "
                "Set TIDEGATE_DATA_DIR to another folder."
            ) from None
        if not _try_lock(lock):
            holder = _read(lock)
            lock.close()
            raise StartupRefused(
                f"The data folder {self.path} is in use by another tidegate serve"
                f"{f' (process {holder})' if holder else ''}. Stop it, or set TIDEGATE_DATA_DIR "
                "to another folder."
            )
        self._lock = lock
        _write(lock, os.getpid())
        if folder != self.path:
            self._check_ownership(folder)

    def unlock(self) -> None:
        """Let another process use the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def lock_for_store(self) -> TextIOWrapper:
        """Return the lock for a store's process to inherit; stop an orphaned store first.

        Raises:
            StartupRefused: the orphaned store does not stop.
        """
        lock = _open_lock(self.path / "store.lock")
        if not _try_lock(lock):
            try:
                _stop_group(_read(lock), lock)
            except BaseException:
                lock.close()
                raise
        # The socket of a killed store remains.
        self.socket.unlink(missing_ok=True)
        return lock

    def record_store(self, lock: TextIOWrapper, pid: int) -> None:
        """Write the id of the store's process, and of its process group, to its lock."""
        _write(lock, pid)

    def _check_ownership(self, folder: Path) -> None:
        # Other users can write to the temporary folder and could have created this one.
        status = folder.lstat()
        if (
            not stat.S_ISDIR(status.st_mode)
            or status.st_uid != os.getuid()
            or status.st_mode & 0o077
        ):
            self.unlock()
            raise StartupRefused(
                f"The path {self.path} is too long for a socket, and other users can write to "
                f"{folder}, which would be used instead. Remove {folder}, or set "
                "TIDEGATE_DATA_DIR to a folder with a shorter path."
            )


def _stop_group(leader: str, lock: TextIOWrapper) -> None:
    # While a process of the group holds the lock, no other group can get its id.
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        if leader:
            with contextlib.suppress(OSError, ValueError):
                os.killpg(int(leader), stop_signal)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if _try_lock(lock):
                return
            time.sleep(POLL_SECONDS)
    raise StartupRefused(
        f"A store still uses {Path(lock.name).parent}{f' (process {leader})' if leader else ''} "
        "and does not stop. Stop it first."
    )


def _open_lock(path: Path) -> TextIOWrapper:
    return open(path, "a+", encoding="ascii", opener=private_opener)


def _try_lock(file: TextIOWrapper) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read(file: TextIOWrapper) -> str:
    file.seek(0)
    return file.read().strip()


def _write(file: TextIOWrapper, pid: int) -> None:
    with contextlib.suppress(OSError):  # the server itself reports a full disk
        file.truncate(0)
        file.write(str(pid))
        file.flush()
