"""What benchmarks run on: a folder on a real disk, a store in it, a whole server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tidegate_server.store.embedded import EmbeddedValkey

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "tg_admin_bench_0123456789abcdefghijklmnop"


@contextmanager
def folder() -> Iterator[Path]:
    """A folder beside the repository's files, since temporary folders are often in memory."""
    with TemporaryDirectory(prefix=".bench-", dir=ROOT) as made:
        yield Path(made)


@contextmanager
def store() -> Iterator[str]:
    """An embedded store; its address."""
    with folder() as made:
        valkey = EmbeddedValkey(made / "data")
        valkey.start()
        try:
            yield valkey.url
        finally:
            valkey.stop()


@contextmanager
def server() -> Iterator[tuple[str, Admin]]:
    """``tidegate serve`` on a free port of this machine; its address, and a way to administer."""
    with folder() as made:
        processes = Processes(made)
        url = f"http://127.0.0.1:{free_port()}"
        admin = Admin(url, TOKEN)
        try:
            processes.start(
                "server",
                [str(Path(sys.executable).with_name("tidegate")), "serve"],
                {
                    "TIDEGATE_HOST": "127.0.0.1",
                    "TIDEGATE_PORT": url.rpartition(":")[2],
                    "TIDEGATE_WORKERS": "2",
                    "TIDEGATE_DATA_DIR": str(made / "data"),
                    "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
                    "TIDEGATE_LOG_LEVEL": "warning",
                },
            )
            processes.wait_for("the server is ready", admin.ready)
            yield url, admin
        finally:
            processes.stop()
