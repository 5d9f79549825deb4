"""Servers on one store, in processes as they are in production, that can be started again."""

from __future__ import annotations

from pathlib import Path

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port
from tests.cli.calls import PROGRAM
from tests.http_application import ADMIN_TOKEN, SECRET_KEY


class ServerProcesses:
    """Servers that run.

    Args:
        folder: where their data and logs are.
        store_url: of their store.
        servers: how many there are.
        web_processes: how many each of them has.

    Attributes:
        ports: where they listen.
        processes: their processes.
    """

    def __init__(self, folder: Path, store_url: str, servers: int, web_processes: int) -> None:
        self.ports = [free_port() for _ in range(servers)]
        self.processes = Processes(folder)
        self._variables = {
            "TIDEGATE_WORKERS": str(web_processes),
            "TIDEGATE_DATA_DIR": str(folder / "data"),
            "TIDEGATE_STORE_URL": store_url,
            "TIDEGATE_SECRET_KEY": SECRET_KEY.decode(),
        }
        for number in range(servers):
            self._start(number)

    def restart(self, number: int) -> None:
        """End one of them, and start it again."""
        self.processes.stop_one(f"server-{number}")
        self._start(number)

    def stop(self) -> None:
        """End everything that ``processes`` has started."""
        self.processes.stop()

    def _start(self, number: int) -> None:
        port = self.ports[number]
        variables = {**self._variables, "TIDEGATE_PORT": str(port)}
        self.processes.start(f"server-{number}", [PROGRAM, "serve"], variables)
        ready = Admin(f"http://127.0.0.1:{port}", ADMIN_TOKEN).ready
        self.processes.wait_for("the server is ready", ready)
