"""Node.js scripts with OpenFeature's clients, controlled over pipes."""

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
PATIENCE = 60.0


class ClientError(Exception):
    """An error of a client: its name and OpenFeature's code."""

    def __init__(self, name: str, message: str, code: str | None) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.code = code


class Driver:
    """A running script that takes commands, one line of JSON each."""

    def __init__(self, script: str, *flags: str) -> None:
        self._process = subprocess.Popen(
            [node(), *flags, str(FOLDER / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._responses: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._responses.put(line)
        self._responses.put("")

    def do(self, what: str, **arguments: Any) -> Any:
        """Run a command and return its result; raise ``ClientError`` if it failed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._responses.get(timeout=PATIENCE)
        assert line, "the script has ended"
        answer = json.loads(line)
        if "failed" in answer:
            failed = answer["failed"]
            raise ClientError(failed["name"], failed["message"], failed.get("code"))
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
    """Start a script, with the clients installed."""
    node()
    install(FOLDER)
    driver = Driver(script, *flags)
    try:
        yield driver
    finally:
        driver.close()
