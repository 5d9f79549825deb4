"""Starts the processes of the quickstart, each in its own process group, and stops them.

Because of the groups, Ctrl-C in a terminal only reaches the quickstart itself, which then stops
the other processes in order and makes sure that none is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socket import socket
from types import FrameType
from typing import IO

PATIENCE = 20.0
"""Seconds that a process has to end after SIGTERM, before its group is killed."""


class Interrupted(Exception):
    """A signal asked the quickstart to stop."""


class QuickstartFailed(Exception):
    """The quickstart did not go as expected; the message says why."""


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Processes:
    """Processes that are started one after another, and stopped in reverse order.

    Args:
        folder: where their output goes, as ``NAME.log``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._pipes: list[IO[bytes]] = []
        self._interrupted = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the next ``check`` raises ``Interrupted``.

        Raising here could lose track of a process that is being started.
        """
        self._interrupted = True

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process in its own process group.

        Its standard input is a pipe, which closes when this process ends.
        """
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - fixed commands
                command,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started[name] = process
        if process.stdin is not None:
            self._pipes.append(process.stdin)

    def pid(self, name: str) -> int:
        """Return the id of the process, and of its group, that was last started with this name."""
        return self._started[name].pid

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self._folder / f"{name}.log"

    def check(self) -> None:
        """Check that no signal has arrived and all processes run.

        Raises:
            Interrupted: a signal asked to stop.
            QuickstartFailed: a process has ended.
        """
        if self._interrupted:
            raise Interrupted
        for name, process in self._started.items():
            status = process.poll()
            if status is not None:
                raise QuickstartFailed(f"{name} ended unexpectedly with status {status}")

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until a condition holds.

        Raises:
            Interrupted: a signal asked to stop.
            QuickstartFailed: the time is over, or a process has ended.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise QuickstartFailed(f"{what}: not within {seconds:g} seconds")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop every process with its group, in reverse order of their start."""
        for name in reversed(list(self._started)):
            self.stop_one(name)
        for pipe in self._pipes:
            pipe.close()
        self._pipes.clear()

    def stop_one(self, name: str) -> None:
        """Stop a process with its group; do nothing if it was not started.

        SIGTERM only goes to the first process of a group, which stops its children in order.
        """
        process = self._started.pop(name, None)
        if process is None:
            return
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        kill_group(process.pid)
        process.wait()

    def tails(self, lines: int = 25) -> str:
        """Return the last lines of every log, to report a failure."""
        parts = []
        for name in self._started:
            text = self.log(name).read_text(errors="replace").splitlines()
            parts.append("\n".join([f"--- the end of {name}.log", *text[-lines:]]))
        return "\n".join(parts)


def kill_group(group: int) -> None:
    """Kill what is left of a process group, if anything."""
    # macOS reports "not permitted" for a group with only zombies left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
