"""Containers of the Compose file, run as processes on this machine, on loopback addresses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from tidegate_server.store.embedded import find_server

from tests.deploy.manifests import compose
from tests.waiting import until

SERVICES: dict[str, Any] = compose()["services"]
WEB = ("server-1", "server-2")
PASSWORD = "a-password-of-a-store"


def valkey_programs(folder: Path) -> str:
    """Return a search path on which the programs of Valkey's image are."""
    folder.mkdir()
    for name in ("valkey-server", "valkey-sentinel"):
        (folder / name).symlink_to(find_server())
    return f"{folder}:{os.environ['PATH']}"


class Container:
    """A process with the command and the variables of a container.

    Args:
        folder: where its output goes.
        name: the service.
        command: its command, with what is elsewhere on this machine replaced.
        variables: its environment.
    """

    def __init__(
        self, folder: Path, name: str, command: Sequence[str], variables: Mapping[str, str]
    ) -> None:
        self._log = folder / f"{name}.log"
        self._command = command
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._variables, stdout=log, stderr=subprocess.STDOUT
            )

    def runs(self) -> bool:
        """Return whether it runs; fail if it ended by itself."""
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)


class ValkeyContainer(Container):
    """A store or a Sentinel.

    Args:
        name: the service.
        folder: its ``/data``, beside the file of the password.
        path: where the programs are.
        port: where it listens.
        variables: those that differ from the container's.
        replaced: other texts of its command, and what they are here.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        path: str,
        port: int,
        variables: Mapping[str, str] | None = None,
        replaced: Mapping[str, str] | None = None,
    ) -> None:
        service = SERVICES[name]
        script = service["command"][-1].replace("$$", "$")
        script = script.replace("port 26379\n", "").replace("/data", str(folder))
        script = script.replace("/run/secrets", str(folder.parent))
        script = script.replace(f"dir {folder}\n", f"dir {folder}\nport {port}\nbind 127.0.0.1\n")
        for text, value in (replaced or {}).items():
            assert text in script
            script = script.replace(text, value)
        super().__init__(
            folder.parent,
            name,
            [*service["command"][:2], script],
            {"PATH": path, **service["environment"], **(variables or {})},
        )
        self._name, self.port = name, port
        folder.mkdir(exist_ok=True)

    def start(self) -> None:
        super().start()
        until(self._answers, f"{self._name} answers")

    def client(self) -> redis.Redis:
        password = None if self._name.startswith("sentinel") else PASSWORD
        return redis.Redis(port=self.port, password=password, decode_responses=True)

    def _answers(self) -> bool:
        self.runs()
        with suppress(redis.exceptions.ConnectionError), self.client() as client:
            return bool(client.ping())
        return False
