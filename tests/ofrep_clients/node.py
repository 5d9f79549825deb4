"""Scripts with the OpenFeature clients for Node, driven over pipes."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.node import install, node

FOLDER = Path(__file__).parent
PATIENCE = 30.0


class Failed(Exception):
    """What a client raised: its error's name and OpenFeature's code."""

    def __init__(self, name: str, message: str, code: str | None) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.code = code


class Driver:
    """A script that does what it is told, one line of JSON after the other."""

    def __init__(self, script: str, *flags: str) -> None:
        self._process = subprocess.Popen(
            [node(), *flags, str(FOLDER / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._said: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line)
        self._said.put("")

    def do(self, what: str, **arguments: Any) -> Any:
        """Let the script do something and return what it answers; raises ``Failed``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._said.get(timeout=PATIENCE)
        assert line, "the script has ended"
        answer = json.loads(line)
        if "failed" in answer:
            failed = answer["failed"]
            raise Failed(failed["name"], failed["message"], failed.get("code"))
        return answer.get("done")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def driven(script: str, *flags: str) -> Iterator[Driver]:
    """A script, with the clients installed."""
    node()
    install(FOLDER)
    driver = Driver(script, *flags)
    try:
        yield driver
    finally:
        driver.close()
