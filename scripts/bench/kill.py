"""How long a kill takes to reach every process.

All times are from the machine's monotonic clock, which its processes share.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection

import tidegate

from scripts.bench.measure import Quantiles, Result, benchmark
from scripts.bench.places import (
    ENVIRONMENT_PATH,
    HTTP,
    create_boolean_flag,
    require_success,
    server,
)

PROCESSES = 20
ROUNDS = 10
POLL_SECONDS = 0.002
START_SECONDS = 300.0
"""How long all processes may take to start, on cores that are busy with each other."""

PATIENCE_SECONDS = 60.0
FLAG = "new-checkout"


@benchmark
def to_every_process() -> Iterator[Result]:
    """From a kill request to the flag off, in twenty processes that evaluate it all the time."""
    every: list[float] = []
    last: list[float] = []
    responses: list[float] = []
    reason = {"reason": "a benchmark"}
    with server() as (url, admin), ExitStack() as watchers:
        create_boolean_flag(url, admin, FLAG, default={"variant": "on"})
        flag_url = f"{url}{ENVIRONMENT_PATH}/flags/{FLAG}"
        token = admin.sdk_token("bench")
        pipes = [_start_watcher(watchers, url, token) for _ in range(PROCESSES)]
        for number in range(ROUNDS):
            for pipe in pipes:
                _receive(pipe, PATIENCE_SECONDS if number else START_SECONDS)  # the flag is on
            sent = time.monotonic()
            require_success(HTTP.request("POST", f"{flag_url}/kill", json=reason))
            responses.append(time.monotonic() - sent)
            times = [_receive(pipe) - sent for pipe in pipes]
            every += times
            last.append(max(times))
            require_success(HTTP.request("POST", f"{flag_url}/restore", json=reason))
    yield Quantiles("kill request to its response", tuple(responses))
    yield Quantiles(f"kill request to flag off, in each of {PROCESSES} processes", tuple(every))
    yield Quantiles("kill request to flag off in the last of them", tuple(last))


def _start_watcher(watchers: ExitStack, url: str, token: str) -> Connection:
    """Start a process that runs ``watch``, and return the pipe that it sends to."""
    context = get_context("spawn")
    pipe, sender = context.Pipe()
    process = context.Process(target=watch, args=(url, token, sender), daemon=True)
    process.start()
    sender.close()

    def stop() -> None:
        process.terminate()
        process.join()
        pipe.close()

    watchers.callback(stop)
    return pipe


def watch(url: str, token: str, pipe: Connection) -> None:
    """Evaluate the flag until terminated, and send the time when it goes on or off."""
    client = tidegate.Client(url, token)
    client.wait_until_ready(START_SECONDS)
    while True:
        for expected in (True, False):
            while client.boolean(FLAG, not expected) is not expected:
                time.sleep(POLL_SECONDS)
            pipe.send(time.monotonic())


def _receive(pipe: Connection, seconds: float = PATIENCE_SECONDS) -> float:
    if not pipe.poll(seconds):
        raise TimeoutError("a process does not see the flag change")
    at: float = pipe.recv()
    return at
