"""The processes of the quickstart: each in a group of its own, all of them ended at the end.

Groups are why Ctrl-C works as it should: the terminal's signal reaches the story alone, which
then stops the others in order and makes sure that nothing of any group is left.
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
    """Somebody asked the story to stop."""


class StoryFailed(Exception):
    """The story did not go as it must; the message says why."""


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Processes:
    """Starts processes, knows which still run, and stops them, the last one first.

    Args:
        folder: where each one's output goes, as ``NAME.log``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._pipes: list[IO[bytes]] = []
        self._interrupted = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """A signal handler: the next ``check`` ends the story.

        It raises nothing itself, so that a process that is being started is never forgotten.
        """
        self._interrupted = True

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process in a process group of its own.

        Its standard input is a pipe that closes when this process is gone.
        """
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - the story's own commands
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
        """The process id, and the process group, of what was started last under this name."""
        return self._started[name].pid

    def log(self, name: str) -> Path:
        """Where the output of a process goes."""
        return self._folder / f"{name}.log"

    def check(self) -> None:
        """See that all is well.

        Raises:
            Interrupted: a signal asked for the end.
            StoryFailed: a process has ended by itself.
        """
        if self._interrupted:
            raise Interrupted
        for name, process in self._started.items():
            status = process.poll()
            if status is not None:
                raise StoryFailed(f"{name} ended by itself with status {status}")

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until a condition holds.

        Raises:
            Interrupted: a signal asked for the end.
            StoryFailed: it did not within the time, or a process ended meanwhile.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise StoryFailed(f"{what}: not within {seconds:g} seconds")
            time.sleep(0.1)

    def stop(self) -> None:
        """End every process, the last one started first; nothing of its group is left after it.

        Only the first process of a group is asked: it knows in which order to stop the others.
        """
        for process in reversed(self._started.values()):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            kill_group(process.pid)
            process.wait()
        for pipe in self._pipes:
            pipe.close()
        self._started.clear()
        self._pipes.clear()

    def tails(self, lines: int = 25) -> str:
        """The last lines of every log, for the report of a failure."""
        parts = []
        for name in self._started:
            text = self.log(name).read_text(errors="replace").splitlines()
            parts.append("\n".join([f"--- the end of {name}.log", *text[-lines:]]))
        return "\n".join(parts)


def kill_group(group: int) -> None:
    """End whatever is left of a process group; it may be gone already."""
    # macOS says "not permitted" of a group that has only zombies left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
