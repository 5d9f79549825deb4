"""A server and an application with the drill's proxy between them, in a folder of their own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tidegate_server.drill.api import Api
from tidegate_server.drill.changes import Changes
from tidegate_server.drill.journals import Journals, quiet_path
from tidegate_server.drill.proxy import Proxy
from tidegate_server.errors import StartupRefused
from tidegate_server.store.embedded import find_server

WORKERS = 2
"""Forked processes of the application."""

START_SECONDS = 90.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02

SERVE = "from tidegate_server.cli import main; main()"


class Stopped(Exception):
    """Somebody asked the drill to stop."""


class NotInTime(Exception):
    """What the drill waited for did not happen; the message says what."""


def check_requirements() -> None:
    """Check that a drill is possible here.

    Raises:
        StartupRefused: something is missing; the message says what to install.
    """
    if not hasattr(os, "fork"):
        raise StartupRefused("A drill forks processes: run it on Linux or macOS.")
    find_server()


class Demo:
    """The server with its store and its policy job, the proxy, the application and the changes.

    Args:
        folder: for data, logs and journals.
        stopping: set when somebody asks the drill to stop.
    """

    def __init__(self, folder: Path, stopping: threading.Event) -> None:
        self._folder = folder
        self._stopping = stopping
        self._port = free_port()
        self._token = f"tg_admin_drill_{secrets.token_urlsafe(24)}"
        self._server: subprocess.Popen[bytes] | None = None
        self._application: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.api = Api(self.url, self._token)
        self.proxy = Proxy(self._port)
        self.changes = Changes(Api(self.url, self._token))
        self.journals = Journals(folder, WORKERS)
        self.release = ""

    def start(self) -> None:
        """Start everything; return when the workers count operations and get changes.

        Raises:
            NotInTime: a part did not start.
            Stopped: somebody asked the drill to stop.
        """
        self.start_server()
        token = self.api.set_up()
        self.release = self.api.start_release()
        self._application = self._start(
            "application",
            [
                *(sys.executable, "-m", "tidegate_server.drill.application"),
                *(str(self._folder), str(WORKERS)),
            ],
            {"TIDEGATE_URL": self.proxy.url, "TIDEGATE_TOKEN": token},
        )
        self.changes.start()
        self.wait_for("the workers get changes", self.all_is_well, START_SECONDS)

    def all_is_well(self) -> bool:
        """Return whether changes are acknowledged and arrive, and operations are counted."""
        latest = self.changes.latest
        return latest > 0 and self.journals.all_reach(latest) and self.journals.operations() > 0

    def start_server(self) -> None:
        """Start the server and wait until it is ready.

        Raises:
            NotInTime: it did not start.
            Stopped: somebody asked the drill to stop.
        """
        self._server = self._start(
            "server",
            [sys.executable, "-c", SERVE, "serve"],
            {
                "TIDEGATE_HOST": "127.0.0.1",
                "TIDEGATE_PORT": str(self._port),
                "TIDEGATE_WORKERS": "1",
                "TIDEGATE_DATA_DIR": str(self._data),
                "TIDEGATE_BOOTSTRAP_TOKEN": self._token,
            },
        )
        self.wait_for("the server is ready", self.api.is_ready, START_SECONDS)

    def kill_server(self) -> None:
        """End the server and its store without notice; its other processes end with it."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self.signal_store(signal.SIGKILL)

    def signal_store(self, number: signal.Signals) -> None:
        """Send a signal to the process of the store."""
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int((self._data / "store.lock").read_text()), number)

    def stop_operations(self) -> int:
        """Let the workers do no more operations; return how many have ended.

        Raises:
            NotInTime: a worker goes on.
            Stopped: somebody asked the drill to stop.
        """
        quiet_path(self._folder).touch()
        self.wait_for("the workers do no more operations", self.journals.all_quiet, STOP_SECONDS)
        return self.journals.operations()

    def stop(self) -> None:
        """End everything."""
        self.signal_store(signal.SIGCONT)
        self.proxy.mend()
        self.changes.stop()
        _end(self._application)
        _end(self._server)
        self.proxy.close()
        self.api.close()

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds.

        Raises:
            NotInTime: it did not hold in ``seconds``, or the application has ended.
            Stopped: somebody asked the drill to stop.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise NotInTime(f"{what}: not within {seconds:g} seconds")
            if self._application is not None and self._application.poll() is not None:
                raise NotInTime(f"{what}: the application has ended")
            self.wait(POLL_SECONDS)

    def wait(self, seconds: float) -> None:
        """Wait for some time.

        Raises:
            Stopped: somebody asked the drill to stop.
        """
        if self._stopping.wait(seconds):
            raise Stopped

    def log_ends(self, lines: int = 15) -> str:
        """Return the last lines of the logs, to explain a failure."""
        parts = []
        for path in sorted(self._folder.glob("*.log")):
            text = path.read_text(errors="replace").splitlines()
            parts.append("\n".join([f"--- the end of {path.name}", *text[-lines:]]))
        return "\n".join(parts)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _start(
        self, name: str, command: Sequence[str], variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        others = {
            key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")
        }
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own modules
                command,
                env={**others, **variables},
                # A pipe, which closes when the drill ends, however it ends.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the drill, which ends them in order
            )


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(process: subprocess.Popen[bytes] | None) -> None:
    """End a process; kill it if it takes too long."""
    if process is None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
