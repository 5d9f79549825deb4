"""What benchmarks run on: a store and server processes, with their data on a real disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import urllib3
from tidegate_server.store.embedded import EmbeddedValkey

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "tg_admin_bench_0123456789abcdefghijklmnop"
ENVIRONMENT_PATH = "/api/v1/projects/default/environments/production"
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
            yield running


@contextmanager
def server_process(
    command: Sequence[str], environment: Mapping[str, str], port: int, folder: Path
) -> Iterator[tuple[str, Admin]]:
    """Run a process that serves the API; yield its URL and a client once it is ready.

    Args:
        folder: where its output goes.
    """
    url = f"http://127.0.0.1:{port}"
    admin = Admin(url, TOKEN)
    processes = Processes(folder)
    try:
        processes.start("server", command, environment)
        processes.wait_for("the server is ready", admin.ready)
        yield url, admin
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
