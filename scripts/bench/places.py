"""What benchmarks run on: a store and server processes, with their data on a real disk."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import urllib3
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.processes.connection_limits import MOST_CONNECTIONS
from tidegate_server.processes.settings import ServeSettings
from tidegate_server.processes.supervisor import child_environment
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "tg_admin_bench_0123456789abcdefghijklmnop"
ENVIRONMENT_PATH = "/api/v1/projects/default/environments/production"
SECRET_KEY = "a secret key for benchmarks"
HTTP = urllib3.PoolManager(headers={"Authorization": f"Bearer {TOKEN}"}, retries=False)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder in the repository, since the usual temporary folders are often in memory."""
    with TemporaryDirectory(prefix=".bench-", dir=ROOT) as folder:
        yield Path(folder)


@contextmanager
def store() -> Iterator[str]:
    """Run an embedded store and yield its URL."""
    with temporary_folder() as folder:
        valkey = EmbeddedValkey(folder / "data")
        valkey.start()
        try:
            yield valkey.url
        finally:
            valkey.stop()


@contextmanager
def server() -> Iterator[tuple[str, Admin]]:
    """Run ``tidegate serve`` and yield its URL and a client of its API."""
    port = free_port()
    with temporary_folder() as folder:
        environment = {
            "TIDEGATE_HOST": "127.0.0.1",
            "TIDEGATE_PORT": str(port),
            "TIDEGATE_WORKERS": "2",
            "TIDEGATE_DATA_DIR": str(folder / "data"),
            "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
            "TIDEGATE_LOG_LEVEL": "warning",
        }
        tidegate = str(Path(sys.executable).with_name("tidegate"))
        with server_process([tidegate, "serve"], environment, port, folder) as running:
            yield running[:2]


@contextmanager
def web_process(
    module: str = "tidegate_server.processes.web", connections: int = MOST_CONNECTIONS
) -> Iterator[tuple[str, Admin, int]]:
    """Run one web process with a store; yield its URL, a client of its API, and its process id.

    Args:
        module: the program that serves.
        connections: how many the process may hold, all of one address.
    """
    port = free_port()
    with temporary_folder() as folder, store() as store_url:
        opened = Store.connect(store_url)
        bootstrap(opened, SECRET_KEY.encode(), TOKEN)
        opened.close()
        settings = ServeSettings(
            *("127.0.0.1", port, 1, folder, store_url, TOKEN, SECRET_KEY, "info", "json"),
            connections_per_address=connections,
        )
        environment = {"PYTHONPATH": str(ROOT)} | child_environment(
            settings, store_url, SECRET_KEY, connections, folder
        )
        command = [sys.executable, "-m", module]
        with server_process(command, environment, port, folder) as (url, admin, process):
            yield url, admin, _worker_of(process)


@contextmanager
def server_process(
    command: Sequence[str], environment: Mapping[str, str], port: int, folder: Path
) -> Iterator[tuple[str, Admin, int]]:
    """Run a process that serves the API; yield its URL, a client once it is ready, and its id.

    Args:
        folder: where its output goes.
    """
    url = f"http://127.0.0.1:{port}"
    admin = Admin(url, TOKEN)
    processes = Processes(folder)
    try:
        processes.start("server", command, environment)
        processes.wait_for("the server is ready", admin.ready)
        yield url, admin, processes.pid("server")
    finally:
        processes.stop()


def _worker_of(process: int) -> int:
    """Return the id of gunicorn's only worker."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text()
    return int(children.split()[0])


@contextmanager
def fan_out(connections: int) -> Iterator[tuple[int, int]]:
    """Run a bare fan-out, a baseline; yield its port and its process id."""
    port = free_port()

    def accepts() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    with temporary_folder() as folder:
        processes = Processes(folder)
        try:
            command = [sys.executable, "-m", "scripts.bench._fan_out", str(port), str(connections)]
            processes.start("fan-out", command, {"PYTHONPATH": str(ROOT)})
            processes.wait_for("the fan-out is ready", accepts)
            yield port, _worker_of(processes.pid("fan-out"))
        finally:
            processes.stop()


def create_boolean_flag(url: str, admin: Admin, key: str, **targeting: Any) -> None:
    """Create a flag and enable it: off by default, with these other fields of its targeting."""
    variants = [{"key": "on", "value": True}, {"key": "off", "value": False}]
    admin.create("flags", {"key": key, "type": "boolean", "variants": variants})
    plain = {"enabled": True, "off_variant": "off", "default": {"variant": "off"}}
    require_success(
        HTTP.request(
            "PUT",
            f"{url}{ENVIRONMENT_PATH}/flags/{key}",
            json={**plain, **targeting},
            headers={**HTTP.headers, "If-Match": "*"},
        )
    )


def require_success(response: urllib3.BaseHTTPResponse) -> None:
    """Raise an error unless the request succeeded."""
    if response.status >= 300:
        raise RuntimeError(f"{response.status}: {response.data.decode(errors='replace')}")
