"""Computations of requests, in processes of their own, so that they keep no other request waiting.

A web process serves thousands of connections on one thread, and what computes there stops them
all. So whatever may take longer than a few milliseconds runs in a child process: a few at a time,
the rest in a queue, each under a deadline. A computation that nobody waits for any more is ended.

Threads and greenlets: ``_changed`` guards the counts and the list of idle processes. Nobody holds
it while something is computed. A process is used by one request at a time.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from tidegate_server.errors import Abandoned, Overloaded, RateLimited
from tidegate_server.web import computation_process
from tidegate_server.web.computation_process import Call, Raised, Returned

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

RETRY_SECONDS = 5

LOOK_SECONDS = 0.5
"""How often a computation is asked for whether somebody still waits for it."""

_MAIN = f"from {computation_process.__name__} import main; main()"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be computed at once for one web process.

    Attributes:
        processes: computations at a time.
        most_waiting: further ones that may wait.
        most_per_caller: running and waiting ones of one caller, so that nobody takes every turn.
        queue_seconds: how long one may wait for its turn.
        deadline_seconds: how long one may run.
        after_deadline: what to do about one that took longer.
    """

    processes: int
    most_waiting: int
    most_per_caller: int
    queue_seconds: float
    deadline_seconds: float
    after_deadline: str = "Ask for less."


class Computations:
    """The child processes of one web process that compute one kind of thing.

    They start when they are needed, and end when nobody needs them for a while.

    Args:
        name: what the messages call a computation: "simulation or replay".
        limits: how much may be computed at once.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self._name = name
        self._limits = limits
        self._changed = threading.Condition()
        self._idle: list[_Process] = []
        self._running = 0
        self._waiting = 0
        self._of_caller: Counter[str] = Counter()
        self._closed = False

    def run(
        self,
        caller: str,
        function: Callable[Arguments, Value],
        *arguments: Arguments.args,
        **none: Arguments.kwargs,
    ) -> Value:
        """Return what a function returns, computed in another process.

        Args:
            caller: whose computation it is: the id of a token.
            function: a function of a module; it, its arguments and its value can be pickled.
            arguments: its arguments.
            none: keyword arguments are not passed on; there must be none.

        Raises:
            RateLimited: the caller has too many computations already.
            Overloaded: too many computations wait, or this one took too long.
            TidegateError: as the function raises it.
        """
        return self.run_while(_always, caller, function, *arguments, **none)

    def run_while(
        self,
        wanted: Callable[[], bool],
        caller: str,
        function: Callable[Arguments, Value],
        *arguments: Arguments.args,
        **none: Arguments.kwargs,
    ) -> Value:
        """Do the same as ``run`` as long as somebody waits for the value.

        Args:
            wanted: whether somebody does; asked every ``LOOK_SECONDS``.
            caller, function, arguments, none: as in ``run``.

        Raises:
            Abandoned: nobody waits any more; the computation has been ended.
            RateLimited, Overloaded, TidegateError: as ``run`` raises them.
        """
        assert not none
        with self._turn(caller, wanted):
            call = Call(function, arguments, self._limits.deadline_seconds * 2)
            answer = self._compute(call, wanted)
        if isinstance(answer, Returned):
            value: Value = answer.value
            return value
        if answer.error is not None:
            raise answer.error
        raise RuntimeError(f"A computation failed:\n{answer.traceback}")

    def close(self) -> None:
        """End the processes. Idempotent."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for process in idle:
            process.end()

    @contextmanager
    def _turn(self, caller: str, wanted: Callable[[], bool]) -> Iterator[None]:
        """Wait for a turn to compute, and hold it."""
        limits = self._limits
        with self._changed:
            if self._of_caller[caller] >= limits.most_per_caller:
                raise RateLimited(
                    f"This token already has {limits.most_per_caller} requests of this kind "
                    f"({self._name}) running or waiting; wait for one of them.",
                    RETRY_SECONDS,
                )
            if self._running >= limits.processes and self._waiting >= limits.most_waiting:
                raise self._overloaded("Too many others wait already")
            self._of_caller[caller] += 1
            try:
                self._wait_for_turn(limits, wanted)
            except BaseException:
                self._leave(caller)
                raise
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._leave(caller)
                self._changed.notify_all()

    def _wait_for_turn(self, limits: Limits, wanted: Callable[[], bool]) -> None:
        deadline = time.monotonic() + limits.queue_seconds
        self._waiting += 1
        try:
            while self._running >= limits.processes and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._overloaded(f"No process was free within {limits.queue_seconds:g} s")
                if not wanted():
                    raise _abandoned()
                self._changed.wait(min(left, LOOK_SECONDS))
        finally:
            self._waiting -= 1
        if self._closed:
            raise self._overloaded("The server is stopping")

    def _leave(self, caller: str) -> None:
        self._of_caller[caller] -= 1
        if not self._of_caller[caller]:
            del self._of_caller[caller]

    def _overloaded(self, why: str) -> Overloaded:
        return Overloaded(
            f"The server computes as much as it can ({self._name}). {why}; try again in a few "
            "seconds.",
            RETRY_SECONDS,
        )

    def _compute(self, call: Call, wanted: Callable[[], bool]) -> Returned | Raised:
        with self._changed:
            process = self._idle.pop() if self._idle else None
        answer = None
        if process is not None:
            # It may have ended since, because nobody needed it.
            answer = self._ask(process, call, wanted)
        if answer is None:
            process = _Process()
            answer = self._ask(process, call, wanted)
        if answer is None or process is None:
            raise RuntimeError("The process of a computation ended without an answer.")
        with self._changed:
            if not self._closed:
                self._idle.append(process)
                return answer
        process.end()
        return answer

    def _ask(
        self, process: _Process, call: Call, wanted: Callable[[], bool]
    ) -> Returned | Raised | None:
        """Return a process's answer; None if it has ended. A process that fails is ended."""
        answer = None
        try:
            answer = process.ask(call, self._limits.deadline_seconds, wanted)
        except TimeoutError:
            raise Overloaded(
                f"This took longer than {self._limits.deadline_seconds:g} s and was ended "
                f"({self._name}). {self._limits.after_deadline}",
                RETRY_SECONDS,
            ) from None
        except (EOFError, ConnectionError):
            return None
        finally:
            if answer is None:
                process.end()
        return answer


class _Process:
    """One child process."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                # It computes on what it is given, and needs no secrets.
                env={k: v for k, v in os.environ.items() if not k.startswith("TIDEGATE_")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def ask(
        self, call: Call, deadline_seconds: float, wanted: Callable[[], bool]
    ) -> Returned | Raised:
        """Return the answer to a call.

        Raises:
            TimeoutError: there was none within the deadline.
            Abandoned: nobody waits for it any more.
            EOFError, ConnectionError: the process has ended.
        """
        deadline = time.monotonic() + deadline_seconds
        self._connection.settimeout(deadline_seconds)
        computation_process.send(self._connection, call)
        while not self._has_answer(max(0.0, min(LOOK_SECONDS, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                raise TimeoutError
            if not wanted():
                raise _abandoned()
        self._connection.settimeout(deadline_seconds)
        answer: Returned | Raised = computation_process.receive(self._connection)
        return answer

    def _has_answer(self, seconds: float) -> bool:
        """Wait for the beginning of an answer, or for the end of the process."""
        self._connection.settimeout(seconds)
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except (TimeoutError, BlockingIOError):
            return False
        return True

    def end(self) -> None:
        """End the process at once, and those that it started."""
        self._connection.close()
        with suppress(ProcessLookupError):
            # It leads a group of its own; nobody has waited for it, so its number is still its.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _always() -> bool:
    return True


def _abandoned() -> Abandoned:
    return Abandoned("The connection was closed before the computation ended.")
