"""Somebody who may write webhooks tries to reach the server's own network, and to map it."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.domain.network_addresses import PUBLIC_ONLY

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port
from tests.cli.calls import PROGRAM, Tidegate
from tests.receiver import Receiver, receiver
from tests.waiting import until

TOKEN = "tg_admin_tests_0123456789abcdefghijklmnop"


INNER_HOSTS = (
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "0",
    "localhost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "169.254.169.254",
    "[fd00:ec2::254]",
    "10.0.0.1",
    "100.64.0.1",
    "224.0.0.1",
)


@pytest.fixture
def inner() -> Iterator[Receiver]:
    """Something on the server's machine that nobody outside may reach."""
    with receiver() as running:
        yield running


class Server:
    """A real server; ``networks`` is its setting."""

    def __init__(self, folder: Path) -> None:
        self._processes = Processes(folder)
        self._port = free_port()
        self._folder = folder
        url = f"http://127.0.0.1:{self._port}"
        self.admin = Admin(url, TOKEN)
        self.tidegate = Tidegate(
            {
                "TIDEGATE_URL": url,
                "TIDEGATE_TOKEN": TOKEN,
                "TIDEGATE_CONFIG": str(folder / "contexts.json"),
            }
        )

    def start(self, networks: str) -> None:
        """Start the server, and wait until it is ready."""
        self._processes.start(
            "server",
            [PROGRAM, "serve", "--port", str(self._port), "--workers", "1"],
            {
                "TIDEGATE_DATA_DIR": str(self._folder / "data"),
                "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
                "TIDEGATE_WEBHOOK_NETWORKS": networks,
            },
        )
        self._processes.wait_for("the server is ready", self.admin.ready)

    def stop(self) -> None:
        """Stop the server; its data stays."""
        self._processes.stop()

    @property
    def log(self) -> str:
        """What the server has logged."""
        return (self._folder / "server.log").read_text()

    def last_attempt(self, webhook: str) -> dict[str, Any]:
        """Return the last attempt of the latest message, as a reader sees it."""
        deliveries = self.tidegate.json("webhook", "deliveries", webhook)
        attempt: dict[str, Any] = (deliveries[-1]["last_attempt"] or {}) if deliveries else {}
        return attempt

    def try_webhook(self, webhook: str) -> dict[str, Any]:
        """Send a test message, and return its first attempt."""
        self.tidegate.run("webhook", "test", webhook, "--wait", "500ms")
        until(lambda: bool(self.last_attempt(webhook)), "an attempt")
        return self.last_attempt(webhook)


@pytest.fixture
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tg-inward-"))
    made = Server(folder)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def accepting(greeting: bytes) -> Iterator[int]:
    """Accept connections on a port, send a greeting and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    accepted.append(connection)
                    connection.sendall(greeting)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in accepted:
            connection.close()


def test_no_webhook_reaches_the_servers_own_machine(server: Server, inner: Receiver) -> None:
    port = inner.origin.rpartition(":")[2]
    server.start("127.0.0.1/32")
    server.tidegate.ok("webhook", "create", "old", inner.url)
    server.try_webhook("old")
    inner.wait_for(1)
    server.stop()

    # The operator no longer allows it.
    server.start("")
    attempt = server.try_webhook("old")
    assert (attempt["status"], attempt["took_ms"]) == (None, 0)
    assert attempt["problem"] == "refused: not a public address"
    for host in INNER_HOSTS:
        said = server.tidegate.refused("webhook", "create", "new", f"http://{host}:{port}/")
        assert "/url" in said
        assert "add the network to TIDEGATE_WEBHOOK_NETWORKS" in said
        said = server.tidegate.refused(
            "webhook", "edit", "old", "--new-url", f"http://{host}:{port}/"
        )
        assert "/url" in said
    server.tidegate.ok("webhook", "edit", "old", "--disable")

    # What a name stands for is known when the server connects.
    own_name = socket.gethostname()
    with suppress(OSError):
        if not PUBLIC_ONLY.permits(ip_address(socket.gethostbyname(own_name))):
            server.tidegate.ok("webhook", "create", "named", f"http://{own_name}:{port}/")
            attempt = server.try_webhook("named")
            assert attempt["problem"] == "refused: not a public address"
            assert "is neither public nor in an allowed network" in server.log
    assert len(inner.received) == 1


def test_deliveries_do_not_tell_closed_ports_from_open_ones(server: Server) -> None:
    server.start("127.0.0.1/32")
    with accepting(b"") as silent, accepting(b"SSH-2.0-OpenSSH_9.2\r\n") as ssh:
        ports = {"closed": free_port(), "silent": silent, "ssh": ssh}
        for key, port in ports.items():
            url = f"http://127.0.0.1:{port}/"
            server.tidegate.ok("webhook", "create", key, url, "--timeout", "500ms")
            attempt = server.try_webhook(key)
            del attempt["at"]
            assert attempt == {"took_ms": 500, "status": None, "problem": "no answer in 0.5 s"}
    # The operator can tell them apart.
    assert "connection refused" in server.log
    assert "the answer is not valid HTTP" in server.log
