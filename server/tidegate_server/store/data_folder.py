"""Who may use a data folder: one ``tidegate serve`` at a time, and one store below it.

Two locks, which end with the processes that hold them, however those end. ``lock`` is the
supervisor's. ``store.lock`` is handed to the store's own process: while it is held a store
of this folder runs, even when nobody can reach it and its supervisor is long gone. Two
stores on one append-only file would ruin it.
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

LONGEST_SOCKET_PATH = 100
"""Unix socket addresses hold 104 bytes on macOS and 108 on Linux, the final zero included."""

STOP_SECONDS = 15.0
"""How long a store that was left behind has to end by itself."""

LOOK_SECONDS = 0.02


class DataFolder:
    """The folder of one embedded store, and who holds it.

    Args:
        path: where the data live.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: TextIOWrapper | None = None

    @property
    def socket(self) -> Path:
        """The socket's path: in the data folder, or where that is too long in a short one."""
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        folder = f"tidegate-{os.getuid()}-{name}"
        temporary = Path(tempfile.gettempdir())
        places = (self.path, temporary / folder, Path("/tmp") / folder)  # noqa: S108
        paths = [place / "valkey.sock" for place in places]
        return next(
            (path for path in paths if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH), paths[-1]
        )

    def take(self) -> None:
        """Make the folder if need be and hold it for this process.

        Raises:
            StartupRefused: it cannot be used, or another process holds it.
        """
        place = self.path
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.path / "lock").open("a+", encoding="ascii")
            place = self.socket.parent
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StartupRefused(
                f"The data folder {self.path} cannot be used: {place}: {error.strerror}. "
                "Name another in TIDEGATE_DATA_DIR."
            ) from None
        if not _locked(lock):
            holder = _content(lock)
            lock.close()
            raise StartupRefused(
                f"The data folder {self.path} is in use by another tidegate serve"
                f"{f' (process {holder})' if holder else ''}; stop that one, or name another "
                "folder in TIDEGATE_DATA_DIR."
            )
        self._lock = lock
        _write(lock, os.getpid())
        if place != self.path:
            self._insist_on_ownership(place)

    def let_go(self) -> None:
        """Let another process have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def lock_for_store(self) -> TextIOWrapper:
        """Return the lock that a store's process is to inherit; a store left behind is ended.

        Raises:
            StartupRefused: there is one that cannot be ended.
        """
        lock = (self.path / "store.lock").open("a+", encoding="ascii")
        if not _locked(lock):
            try:
                _end_group(_content(lock), lock)
            except BaseException:
                lock.close()
                raise
        # Nobody listens there any more.
        self.socket.unlink(missing_ok=True)
        return lock

    def name_store(self, lock: TextIOWrapper, pid: int) -> None:
        """Note whose process, and group of processes, holds the store's lock."""
        _write(lock, pid)

    def _insist_on_ownership(self, place: Path) -> None:
        """The short folder lies where everybody may write: it might be somebody's trap."""
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            self.let_go()
            raise StartupRefused(
                f"The path of {self.path} is too long for a socket, and {place}, which would "
                "take its place, is open to others; remove that, or name a folder with a shorter "
                "path in TIDEGATE_DATA_DIR."
            )


def _end_group(leader: str, lock: TextIOWrapper) -> None:
    """End the processes that hold a lock: while they do, their group's number is theirs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if leader:
            with contextlib.suppress(OSError, ValueError):
                os.killpg(int(leader), number)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if _locked(lock):
                return
            time.sleep(LOOK_SECONDS)
    raise StartupRefused(
        f"A store still uses {Path(lock.name).parent}{f' (process {leader})' if leader else ''} "
        "and does not end; stop it first."
    )


def _locked(file: TextIOWrapper) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _content(file: TextIOWrapper) -> str:
    file.seek(0)
    return file.read().strip()


def _write(file: TextIOWrapper, pid: int) -> None:
    with contextlib.suppress(OSError):  # a full disk is reported by the server itself
        file.truncate(0)
        file.write(str(pid))
        file.flush()
