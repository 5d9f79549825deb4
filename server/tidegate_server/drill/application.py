"""The application of the drill: it makes a client, forks workers, and evaluates flags in them.

Run it with ``python -m tidegate_server.drill.application FOLDER WORKERS``. It ends on SIGTERM, or
when its standard input closes because the drill has ended.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import tidegate
from tidegate.details import EvaluationDetails

from tidegate_server.drill import flags
from tidegate_server.drill.journals import EVERY_SECONDS, Line, path_of, quiet_path

T = TypeVar("T")

PAUSE_SECONDS = 0.005
"""Between two operations of a worker."""

USERS = 20_000

POLL_SECONDS = 0.2


class Worker:
    """Evaluates three flags in each operation, and writes what it saw to its journal.

    Args:
        client: the client, made before the fork.
        journal: the file to write to.
    """

    def __init__(self, client: tidegate.Client, journal: Path) -> None:
        self._client = client
        self._journal = journal.open("a", encoding="ascii")
        self._answered = self._errors = self._operations = 0
        self._slowest = 0.0
        self._number = 0
        self._killed = False
        self._written = 0.0

    def step(self, user: str) -> None:
        """Do one operation for a user."""
        before = self._number, self._killed
        with self._client.operation(user):
            number = self._timed(self._client.integer_details, flags.NUMBER, -1)
            switch = self._timed(self._client.boolean_details, flags.SWITCH, False)
            released = self._timed(self._client.boolean_details, flags.RELEASED, False)
        if number.error_code is None:
            self._number = number.value
        if switch.error_code is None:
            self._killed = not switch.value
        self._operations += "releaseId" in released.metadata
        now = time.monotonic()
        if before != (self._number, self._killed) or now - self._written >= EVERY_SECONDS:
            self.write(now)

    def write(self, now: float, *, quiet: bool = False) -> None:
        """Write a line; ``quiet``: no more operations follow."""
        line = Line(
            now, self._answered, self._errors, self._slowest, self._number, self._killed,
            self._operations, quiet,
        )  # fmt: skip
        self._journal.write(line.as_json())
        self._journal.flush()
        self._written, self._slowest = now, 0.0

    def _timed(
        self, evaluate: Callable[[str, T], EvaluationDetails[T]], key: str, default: T
    ) -> EvaluationDetails[T]:
        began = time.monotonic()
        details = evaluate(key, default)
        self._slowest = max(self._slowest, time.monotonic() - began)
        if details.error_code is None:
            self._answered += 1
        else:
            self._errors += 1
        return details


class Application:
    """The main process and its workers; SIGTERM sets ``stopping`` in each of them."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._workers = workers
        self.stopping = False
        signal.signal(signal.SIGTERM, self._stop)

    def run(self) -> int:
        """Fork the workers and wait until it is time to stop; returns the exit status."""
        client = tidegate.Client(application="drill")
        main = os.getpid()
        children = []
        for number in range(self._workers):
            child = os.fork()
            if child == 0:
                try:
                    self._work(client, number, main)
                finally:
                    os._exit(0)
            children.append(child)
        ended = False
        while not (self.stopping or ended):
            readable, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
            self.stopping = self.stopping or bool(readable)  # nobody writes to it, so it has closed
            ended = any(os.waitpid(child, os.WNOHANG)[0] for child in children)
        for child in children:
            if not ended:
                os.kill(child, signal.SIGTERM)
                os.waitpid(child, 0)
        client.close()
        return int(ended)

    def _work(self, client: tidegate.Client, number: int, main: int) -> None:
        worker = Worker(client, path_of(self._folder, number))
        if not client.wait_until_ready(60.0):
            return
        user = number
        quiet = quiet_path(self._folder)
        while not self.stopping and os.getppid() == main:
            if quiet.exists():
                worker.write(time.monotonic(), quiet=True)
                time.sleep(EVERY_SECONDS)
                continue
            worker.step(f"user-{user % USERS}")
            user += self._workers
            time.sleep(PAUSE_SECONDS)
        client.close()

    def _stop(self, *_: object) -> None:
        self.stopping = True


if __name__ == "__main__":
    sys.exit(Application(Path(sys.argv[1]), int(sys.argv[2])).run())
