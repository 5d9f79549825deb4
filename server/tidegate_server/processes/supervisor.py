"""Runs `tidegate serve`: the embedded store, the web processes and the policy job.

The supervisor starts these processes in order, restarts those that end, and stops all in reverse
order. It has one thread; signals only set a flag, which the loop reads.
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
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import structlog
from tidegate.backoff import Backoff

from tidegate_server import process_metrics
from tidegate_server.admin.bootstrap import BootstrapResult, bootstrap, key_in_use
from tidegate_server.errors import PortTaken, StartupRefused, TidegateError
from tidegate_server.private_folder import UMASK, make_private
from tidegate_server.processes import parent_watch
from tidegate_server.processes.connection_limits import (
    MOST_CONNECTIONS,
    RESERVED_FILES,
    connections_of,
    raise_file_limit,
)
from tidegate_server.processes.mail_settings import mail_environment
from tidegate_server.processes.settings import ServeSettings, secret_key
from tidegate_server.store import Store, schema_versions
from tidegate_server.store.embedded import EmbeddedValkey
from tidegate_server.web.invitations import invitation_link

log = structlog.get_logger("tidegate.serve")

POLL_SECONDS = 0.1
STABLE_SECONDS = 30.0
RESTART = Backoff(first_s=0.1, longest_s=5.0)
STOP_SECONDS = 12.0
READY_SECONDS = 60.0
PORT_SECONDS = 12.0
"""How long to wait for a used port: the web processes of a killed server free it when they have
answered their requests, which may take them eight seconds."""


MODULES = {
    "web": "tidegate_server.processes.web",
    "policy job": "tidegate_server.processes.policy_job_process",
}


class ChildProcess:
    """A process that is restarted when it ends, after a growing pause.

    Args:
        name: its name, a key of ``MODULES``.
        environment: its environment variables.
        read_end: the pipe that tells it when the supervisor ends.
    """

    def __init__(self, name: str, environment: Mapping[str, str], read_end: int) -> None:
        self._name = name
        self._environment = {**environment, parent_watch.VARIABLE: str(read_end)}
        self._read_end = read_end
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._restart_at: float | None = None

    def start(self) -> None:
        """Start the process."""
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", MODULES[self._name]],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(self._read_end,),
            # Ctrl-C must reach the supervisor only, which stops the processes in order.
            start_new_session=True,
        )
        self._started = time.monotonic()
        self._restart_at = None

    def restart_if_ended(self) -> None:
        """Restart the process if it has ended and its pause is over."""
        if self._process is None or self._process.poll() is None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            stable = now - self._started > STABLE_SECONDS
            self._failures = 1 if stable else self._failures + 1
            self._restart_at = now + RESTART.wait_s(self._failures)
            log.warning("process_ended", process=self._name, status=self._process.returncode)
            process_metrics.forget_process(
                self._process.pid, self._environment[process_metrics.VARIABLE]
            )
        elif now >= self._restart_at:
            self.start()
            log.info("process_restarted", process=self._name)

    def stop(self) -> None:
        """Stop the process; kill it if it does not end in time."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("process_killed", process=self._name)
            self._process.kill()
            self._process.wait()


class Supervisor:
    """The processes of one server.

    Args:
        settings: the server's settings.
        announce: prints a line for the person who started the server.
    """

    def __init__(self, settings: ServeSettings, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._stopping = threading.Event()
        self._embedded: EmbeddedValkey | None = None
        self._children: list[ChildProcess] = []
        self._metrics_folder: Path | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            StartupRefused: a setting, the data folder or the port cannot be used.
            StoreUnavailable: the store cannot be reached.
        """
        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop_signal, lambda *_: self._stopping.set())
        self._wait_for_port()
        read_end, write_end = os.pipe()
        try:
            self._start(read_end)
            self._wait_until_ready()
            while not self._stopping.wait(POLL_SECONDS):
                self._restart_what_ended()
        finally:
            self._stop()
            os.close(write_end)
            os.close(read_end)

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + PORT_SECONDS
        waits = False
        while True:
            try:
                return check_port(self._settings.host, self._settings.port)
            except PortTaken:
                if time.monotonic() > deadline or self._stopping.wait(POLL_SECONDS):
                    raise
            if not waits:
                log.info("waiting_for_port", port=self._settings.port, seconds=PORT_SECONDS)
                waits = True

    def _start(self, read_end: int) -> None:
        settings = self._settings
        os.umask(UMASK)
        self._make_data_folder_private(settings.data_dir)
        key = secret_key(settings.secret_key, settings.data_dir)
        files = raise_file_limit()
        store_url = settings.store_url or self._start_embedded()
        store = Store.connect(store_url)
        try:
            before = schema_versions.upgrade(store)
            if before != schema_versions.CURRENT:
                log.info("store_upgraded", schema_before=before, schema=schema_versions.CURRENT)
            key = key_in_use(store, key)
            self._announce_token(bootstrap(store, key, settings.bootstrap_token))
            if store.durability() != "disk":
                log.warning(
                    "store_not_durable",
                    fix="turn on the store's append-only file; without it, acknowledged changes "
                    "may be lost",
                )
        finally:
            store.close()
        connections = self._say_capacity(files)
        self._metrics_folder = process_metrics.make_folder()
        environment = child_environment(
            settings, store_url, key.decode(), connections, self._metrics_folder
        )
        self._children = [ChildProcess(name, environment, read_end) for name in MODULES]
        for child in self._children:
            child.start()

    def _say_capacity(self, files: int) -> int:
        """Log and return how many connections a web process can hold."""
        connections = connections_of(files)
        log.info(
            "connections_possible",
            of_each_web_process=connections,
            web_processes=self._settings.workers,
            open_files=files,
        )
        if connections < MOST_CONNECTIONS:
            log.warning(
                "few_open_files",
                open_files=files,
                fix=f"raise the hard limit of open files to {MOST_CONNECTIONS + RESERVED_FILES} or "
                "more, with LimitNOFILE or ulimit -Hn",
            )
        return connections

    def _make_data_folder_private(self, folder: Path) -> None:
        try:
            mode = make_private(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StartupRefused(
                f"The data folder {folder} cannot be used: {error.strerror}. "
                "Set TIDEGATE_DATA_DIR to another folder."
            ) from None
        if mode is not None:
            log.warning("data_folder_made_private", folder=str(folder), mode_before=f"{mode:o}")

    def _start_embedded(self) -> str:
        self._embedded = EmbeddedValkey(self._settings.data_dir)
        self._embedded.start()
        return self._embedded.url

    def _announce_token(self, result: BootstrapResult) -> None:
        if result.token is not None:
            self._announce(f"Admin token, shown this once: {result.token}")
        if result.invitation is not None:
            link = invitation_link(
                self._settings.public_url or self._settings.url, result.invitation
            )
            self._announce(f"Invitation for the first admin, works once within 24 hours: {link}")
        if result.ignored:
            log.warning(
                "bootstrap_token_ignored",
                problem="the server already has admin tokens, and this is not one of them",
                fix="remove TIDEGATE_BOOTSTRAP_TOKEN from the settings; `tidegate admin recover` "
                "makes another admin token",
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._stopping.wait(POLL_SECONDS):
            if is_healthy(f"{self._settings.url}/health/ready"):
                self._announce(
                    f"Tidegate serves at {self._settings.url}"
                    + (f", data in {self._embedded.data_dir}" if self._embedded else "")
                )
                return
            self._restart_what_ended()
            if time.monotonic() > deadline:
                raise StartupRefused(
                    f"The web process did not answer in {READY_SECONDS:.0f} s; its log is above."
                )

    def _restart_what_ended(self) -> None:
        self._restart_store_if_ended()
        for child in self._children:
            child.restart_if_ended()

    def _restart_store_if_ended(self) -> None:
        if self._embedded is None or self._embedded.alive():
            return
        try:
            log.warning(
                "process_ended", process="embedded store", problem=self._embedded.exit_reason()
            )
            self._embedded.restart_if_dead()
            log.info("process_restarted", process="embedded store")
        except TidegateError as error:
            log.error("store_start_failed", problem=error.message)  # noqa: TRY400
            self._stopping.wait(RESTART.longest_s)

    def _stop(self) -> None:
        for child in self._children:
            child.stop()
        if self._embedded is not None:
            self._embedded.stop()
        if self._metrics_folder is not None:
            process_metrics.remove_folder(self._metrics_folder)


def child_environment(
    settings: ServeSettings, store_url: str, key: str, connections: int, metrics_folder: Path
) -> dict[str, str]:
    """Return the environment variables of the web processes and the policy job.

    Args:
        settings: the server's settings.
        store_url: the store.
        key: the secret key.
        connections: how many connections a web process can hold.
        metrics_folder: for the numbers of the processes.
    """
    return {
        name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")
    } | {
        "TIDEGATE_BIND": settings.bind,
        "TIDEGATE_WORKERS": str(settings.workers),
        "TIDEGATE_STORE_URL": store_url,
        "TIDEGATE_SECRET_KEY": key,
        "TIDEGATE_LOG_LEVEL": settings.log_level,
        "TIDEGATE_LOG_FORMAT": settings.log_format,
        "TIDEGATE_TRUSTED_PROXIES": ",".join(map(str, settings.trusted_proxies)),
        "TIDEGATE_REPORTS_PER_MINUTE": str(settings.reports_per_minute),
        "TIDEGATE_CONNECTIONS": str(connections),
        "TIDEGATE_CONNECTIONS_PER_ADDRESS": str(
            settings.connections_per_address or max(10, connections // 4)
        ),
        process_metrics.VARIABLE: str(metrics_folder),
        "TIDEGATE_SESSION_IDLE": str(settings.session_idle_seconds),
        "TIDEGATE_SESSION_LIMIT": str(settings.session_seconds),
        "TIDEGATE_PROMETHEUS_URL": settings.prometheus_url,
        "TIDEGATE_PROMETHEUS_TOKEN": settings.prometheus_token,
        "TIDEGATE_WEBHOOK_NETWORKS": ",".join(map(str, settings.webhook_networks.networks)),
        "TIDEGATE_PASSWORD_SIGN_IN": "on" if settings.password_sign_in else "off",
        "TIDEGATE_IDENTITY_PROVIDER_NETWORKS": ",".join(
            map(str, settings.identity_provider_networks.networks)
        ),
        "TIDEGATE_PUBLIC_URL": settings.public_url,
        **mail_environment(settings.mail_server),
    }


def check_port(host: str, port: int) -> None:
    """Raise ``StartupRefused`` if a server cannot listen at an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "another program uses it" if taken else error.strerror
            raise (PortTaken if taken else StartupRefused)(
                f"Cannot serve at {host} port {port}: {reason}. "
                "Set TIDEGATE_PORT or TIDEGATE_HOST to another one."
            ) from None


def is_healthy(url: str) -> bool:
    """Return whether a health check succeeds."""
    try:
        with urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
