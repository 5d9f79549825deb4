"""How long a kill takes to reach everybody.

All times are of the machine's monotonic clock, which its processes share.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection

import tidegate
import urllib3

from scripts.bench.measure import Found, Quantiles, benchmark
from scripts.bench.places import TOKEN, server

PROCESSES = 20
ROUNDS = 10
LOOK_SECONDS = 0.002
PATIENCE_SECONDS = 60.0
FLAG = "new-checkout"
ENVIRONMENT = "api/v1/projects/default/environments/production"


@benchmark
def to_every_process() -> Iterator[Found]:
    """From the request to the flag being off, in twenty processes that ask all the time."""
    reached: list[float] = []
    last: list[float] = []
    answered: list[float] = []
    with server() as (url, admin), ExitStack() as watchers:
        admin.create(
            "flags",
            {
                "key": FLAG,
                "type": "boolean",
                "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
            },
        )
        person = urllib3.PoolManager(headers={"Authorization": f"Bearer {TOKEN}"}, retries=False)
        place = f"{url}/{ENVIRONMENT}/flags/{FLAG}"
        seen = {**person.headers, "If-Match": person.request("GET", place).headers["ETag"]}
        on = {"enabled": True, "off_variant": "off", "default": {"variant": "on"}}
        _insist(person.request("PUT", place, json=on, headers=seen))
        pipes = [_watch(watchers, url, admin.sdk_token("bench")) for _ in range(PROCESSES)]
        for _ in range(ROUNDS):
            for pipe in pipes:
                _receive(pipe)  # it has the flag on
            sent = time.monotonic()
            _insist(person.request("POST", f"{place}/kill", json={"reason": "a benchmark"}))
            answered.append(time.monotonic() - sent)
            times = [_receive(pipe) - sent for pipe in pipes]
            reached += times
            last.append(max(times))
            _insist(person.request("POST", f"{place}/restore", json={"reason": "a benchmark"}))
    yield Quantiles("kill request to its answer", tuple(answered))
    yield Quantiles(f"kill request to flag off, in each of {PROCESSES} processes", tuple(reached))
    yield Quantiles("kill request to flag off in the last of them", tuple(last))


def _watch(watchers: ExitStack, url: str, token: str) -> Connection:
    """Start a process with the SDK, and return where it says what it sees."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=watch, args=(url, token, there), daemon=True)
    process.start()
    there.close()

    def end() -> None:
        process.terminate()
        process.join()
        here.close()

    watchers.callback(end)
    return here


def watch(url: str, token: str, pipe: Connection) -> None:
    """Ask for the flag all the time and say when it goes on and off, until terminated."""
    client = tidegate.Client(url, token)
    client.wait_until_ready(PATIENCE_SECONDS)
    while True:
        for wanted in (True, False):
            while client.boolean(FLAG, not wanted) is not wanted:
                time.sleep(LOOK_SECONDS)
            pipe.send(time.monotonic())


def _receive(pipe: Connection) -> float:
    if not pipe.poll(PATIENCE_SECONDS):
        raise TimeoutError("a process does not see the flag change")
    at: float = pipe.recv()
    return at


def _insist(answer: urllib3.BaseHTTPResponse) -> None:
    if answer.status >= 300:
        raise RuntimeError(f"{answer.status}: {answer.data.decode(errors='replace')}")
