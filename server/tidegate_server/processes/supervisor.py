"""What `tidegate serve` runs: an embedded store, web processes, a policy job, kept alive.

The supervisor itself serves nothing. It starts the parts in order, starts again whichever
ends, and stops all in the reverse order. One thread: signals only set a flag, which the
loop reads.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from urllib.error import URLError
from urllib.request import urlopen

import structlog
from tidegate.backoff import Backoff

from tidegate_server.admin.bootstrap import BootstrapResult, bootstrap
from tidegate_server.errors import PortTaken, StartupRefused, TidegateError
from tidegate_server.processes import parent_watch
from tidegate_server.processes.settings import ServeSettings, secret_key
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

log = structlog.get_logger("tidegate.serve")

LOOK_SECONDS = 0.1
STEADY_SECONDS = 30.0
RESTART = Backoff(first_s=0.1, longest_s=5.0)
STOP_SECONDS = 12.0
READY_SECONDS = 60.0
PORT_SECONDS = 5.0
"""How long a port may stay taken: what a killed server left behind lets go of it by then."""


@dataclass(frozen=True, slots=True)
class Part:
    """A child process: its name and its module."""

    name: str
    module: str


WEB = Part("web", "tidegate_server.processes.web")
POLICY_JOB = Part("policy job", "tidegate_server.processes.policy_job_process")


class Child:
    """A process that is started again when it ends, after a pause that grows."""

    def __init__(self, part: Part, environment: Mapping[str, str], reading_end: int) -> None:
        self._part = part
        self._environment = {**environment, parent_watch.VARIABLE: str(reading_end)}
        self._reading_end = reading_end
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._again_at: float | None = None

    def start(self) -> None:
        """Start the process."""
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", self._part.module],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(self._reading_end,),
            # Ctrl-C goes to the supervisor alone, which stops the parts in order.
            start_new_session=True,
        )
        self._started = time.monotonic()
        self._again_at = None

    def look_after(self) -> None:
        """Start the process again if it has ended and its pause is over."""
        if self._process is None or self._process.poll() is None:
            return
        now = time.monotonic()
        if self._again_at is None:
            steady = now - self._started > STEADY_SECONDS
            self._failures = 1 if steady else self._failures + 1
            self._again_at = now + RESTART.wait_s(self._failures)
            log.warning("part_ended", part=self._part.name, status=self._process.returncode)
        elif now >= self._again_at:
            self.start()
            log.info("part_started_again", part=self._part.name)

    def stop(self) -> None:
        """End the process: politely first."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("part_killed", part=self._part.name)
            self._process.kill()
            self._process.wait()


class Supervisor:
    """One server's parts.

    Args:
        settings: what to serve.
        announce: is given each line meant for the person who started the server.
    """

    def __init__(self, settings: ServeSettings, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._stopping = threading.Event()
        self._embedded: EmbeddedValkey | None = None
        self._children: list[Child] = []

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            StartupRefused: a setting, the folder or the port stops the start.
            StoreUnavailable: the store cannot be reached.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_soon)
        self._wait_for_port()
        reading_end, writing_end = os.pipe()
        try:
            self._start(reading_end)
            self._wait_until_ready()
            while not self._stopping.wait(LOOK_SECONDS):
                self._look_after_store()
                for child in self._children:
                    child.look_after()
        finally:
            self._stop()
            os.close(writing_end)
            os.close(reading_end)

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + PORT_SECONDS
        while True:
            try:
                return check_port(self._settings.host, self._settings.port)
            except PortTaken:
                if time.monotonic() > deadline or self._stopping.wait(LOOK_SECONDS):
                    raise

    def _stop_soon(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()

    def _start(self, reading_end: int) -> None:
        settings = self._settings
        key = secret_key(settings.secret_key, settings.data_dir)
        store_url = settings.store_url or self._start_embedded()
        store = Store.connect(store_url)
        try:
            self._report_first_start(bootstrap(store, key, settings.bootstrap_token))
            if store.durability() != "disk":
                log.warning(
                    "store_not_durable",
                    mend="turn on the store's append-only file: acknowledged changes may be "
                    "lost with the store's host",
                )
        finally:
            store.close()
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")
        } | {
            "TIDEGATE_BIND": settings.bind,
            "TIDEGATE_WORKERS": str(settings.workers),
            "TIDEGATE_STORE_URL": store_url,
            "TIDEGATE_SECRET_KEY": key.decode(),
            "TIDEGATE_LOG_LEVEL": settings.log_level,
            "TIDEGATE_LOG_FORMAT": settings.log_format,
            "TIDEGATE_PROMETHEUS_URL": settings.prometheus_url,
            "TIDEGATE_PROMETHEUS_TOKEN": settings.prometheus_token,
        }
        self._children = [Child(part, environment, reading_end) for part in (WEB, POLICY_JOB)]
        for child in self._children:
            child.start()

    def _start_embedded(self) -> str:
        self._embedded = EmbeddedValkey(self._settings.data_dir)
        self._embedded.start()
        return self._embedded.url

    def _report_first_start(self, found: BootstrapResult) -> None:
        if found.token is not None:
            self._announce(f"Admin token, shown this once: {found.token}")
        if found.ignored:
            log.warning(
                "bootstrap_token_ignored",
                why="the server has admin tokens already, and this is none of them",
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._stopping.wait(LOOK_SECONDS):
            if answers(f"{self._settings.url}/health/ready"):
                self._announce(
                    f"Tidegate serves at {self._settings.url}, data in "
                    f"{self._settings.data_dir.absolute()}"
                    if self._settings.store_url is None
                    else f"Tidegate serves at {self._settings.url}"
                )
                return
            for child in self._children:
                child.look_after()
            if time.monotonic() > deadline:
                raise StartupRefused(
                    f"The web process did not answer in {READY_SECONDS:.0f} s; its log is above."
                )

    def _look_after_store(self) -> None:
        if self._embedded is None or self._embedded.alive():
            return
        try:
            log.warning("part_ended", part="embedded store", said=self._embedded.last_words())
            self._embedded.restart_if_dead()
            log.info("part_started_again", part="embedded store")
        except TidegateError as error:
            log.error("store_does_not_start", error=error.message)  # noqa: TRY400
            self._stopping.wait(RESTART.longest_s)

    def _stop(self) -> None:
        for child in self._children:
            child.stop()
        if self._embedded is not None:
            self._embedded.stop()


def check_port(host: str, port: int) -> None:
    """Raise ``StartupRefused`` when nobody could serve at an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "another program serves there" if taken else error.strerror
            raise (PortTaken if taken else StartupRefused)(
                f"Cannot serve at {host} port {port}: {why}. "
                "Choose another TIDEGATE_PORT or TIDEGATE_HOST."
            ) from None


def answers(url: str) -> bool:
    """Return whether a health address says that all is well."""
    try:
        with urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
