"""Runs many independent jobs within a time limit, in worker processes if that is worth it.

The first second is spent in this process: short work ends there, sooner than other processes
have started. What is left is given to one worker for each core, one job at a time.
A job that runs out of time returns what it has.

A worker ends when this process ends, however that happens: it reads the end of its pipe, at the
latest after its present job, and no job outlives the time limit.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Value = TypeVar("Value")

ALONE_SECONDS = 1.0
"""How long jobs run in this process before workers start."""

SHARE_OF_LIMIT = 0.25
"""The share of the time limit that one job may take, so that several get their turn."""

NEWS_SECONDS = 0.5
"""How often a running job tells how far it is."""

MOST_PROCESSES = 16

GoesOn = Callable[[object], bool]
"""What a job calls from time to time, with how far it is; it returns whether there is time."""


@dataclass(frozen=True, slots=True)
class Finished(Generic[Value]):
    """A job has ended: its place among the jobs, and its value."""

    job: int
    value: Value


@dataclass(frozen=True, slots=True)
class News:
    """How far a running job is, in its own words."""

    job: int
    text: str


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


def run_jobs(
    function: Callable[[Job, GoesOn], Value],
    jobs: Sequence[Job],
    time_limit_seconds: float,
    processes: int | None = None,
) -> Iterator[Finished[Value] | News]:
    """Yield the value of every job as it ends, and news of those that take long.

    Args:
        function: a function of a module; it, the jobs and the values can be pickled. It calls
            its second argument from time to time, and returns soon after that returned False.
        jobs: its first arguments.
        time_limit_seconds: jobs that have not begun by then never do, and the others end.
        processes: how many workers; None: one for each core that this process may use.

    Closing the iterator ends the workers at once.

    Raises:
        RuntimeError: a worker ended before its job, for example for want of memory.
    """
    started = time.monotonic()
    deadline = started + time_limit_seconds
    workers = min(processes or _cores(), MOST_PROCESSES)
    alone_until = deadline if workers == 1 else min(deadline, started + ALONE_SECONDS)
    most = time_limit_seconds * SHARE_OF_LIMIT
    done = 0
    for number, job in enumerate(jobs):
        if time.monotonic() >= alone_until:
            break
        watch = _Watch(min(alone_until, time.monotonic() + most))
        value = function(job, watch)
        if watch.expired and workers > 1 and watch.until == alone_until < deadline:
            break
        yield Finished(number, value)
        done += 1
    rest = list(enumerate(jobs))[done:]
    if rest and time.monotonic() < deadline:
        yield from _run_in_workers(function, rest, deadline, most, min(workers, len(rest)))


def _cores() -> int:
    with suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Watch:
    """Tells a job whether to go on, and passes on how far it is."""

    def __init__(self, until: float, tell: Callable[[str], None] | None = None) -> None:
        self.until = until
        self.expired = False
        self._tell = tell
        self._told = time.monotonic()

    def __call__(self, progress: object) -> bool:
        now = time.monotonic()
        self.expired = now >= self.until
        if self._tell is not None and now >= self._told + NEWS_SECONDS:
            self._told = now
            self._tell(str(progress))
        return not self.expired


def _run_in_workers(
    function: Callable[[Job, GoesOn], Value],
    jobs: list[tuple[int, Job]],
    deadline: float,
    most_seconds: float,
    processes: int,
) -> Iterator[Finished[Value] | News]:
    workers: dict[Connection, multiprocessing.process.BaseProcess] = {}
    waiting = iter(jobs)
    try:
        for _ in range(processes):
            connection, process = _start(function, deadline, most_seconds)
            workers[connection] = process
            connection.send(next(waiting))
        busy = set(workers)
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                try:
                    message = ready.recv()
                except (EOFError, OSError):
                    raise RuntimeError(
                        "A worker process ended before its job; there may be too little memory."
                    ) from None
                if isinstance(message, _Failed):
                    raise message.error
                yield message
                if isinstance(message, Finished):
                    following = next(waiting, None) if time.monotonic() < deadline else None
                    if following is None:
                        busy.remove(ready)
                    else:
                        ready.send(following)
    finally:
        for connection, process in workers.items():
            connection.close()
            process.kill()
            process.join()


def _start(
    function: Callable[..., Any], deadline: float, most_seconds: float
) -> tuple[Connection, multiprocessing.process.BaseProcess]:
    # Not forked: this process may have threads.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_work, args=(theirs, function, deadline, most_seconds), daemon=True
    )
    process.start()
    theirs.close()
    return ours, process


def _work(
    connection: Connection, function: Callable[..., Any], deadline: float, most_seconds: float
) -> None:
    """Run jobs until the other end of the pipe is closed."""
    # Ctrl-C ends the process that the person started; it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):
        while True:
            number, job = connection.recv()

            def tell(text: str, number: int = number) -> None:
                connection.send(News(number, text))

            watch = _Watch(min(deadline, time.monotonic() + most_seconds), tell)
            try:
                connection.send(Finished(number, function(job, watch)))
            except (EOFError, OSError):
                raise
            except Exception as error:
                connection.send(_Failed(error))
