"""What thousands of idle event streams of one web process cost, and how soon a kill reaches them.

The baseline is a bare fan-out under gevent that writes the same bytes, in the same run.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import IO

import urllib3

from examples.shop.admin import Admin
from scripts.bench._stream_reader import StreamReader
from scripts.bench.measure import Quantiles, Ratio, Result, benchmark, compare_values
from scripts.bench.places import (
    ENVIRONMENT_PATH,
    ROOT,
    TOKEN,
    create_boolean_flag,
    fan_out,
    require_success,
    web_process,
)

MOST_STREAMS = 10_000
OTHER_FILES = 500
SLICES = 10
"""The streams are opened in so many parts, alternately with those of the baseline."""

ROUNDS = 10
FLAGS = 10
FLAG = "flag-0"
OPENING_LIMIT = 2.0
KILL_LIMIT = 2.0
STREAM_KB = 24.0
PROCESSES = 100


@benchmark
def to_every_stream() -> Iterator[Result]:
    """Ten thousand streams of one web process: to open, to hold, and to reach with a kill."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(MOST_STREAMS, files - OTHER_FILES) // SLICES * SLICES
    with ExitStack() as ending:
        url, admin, process = ending.enter_context(web_process(connections=count + OTHER_FILES))
        bare_port, bare_process = ending.enter_context(fan_out(count + OTHER_FILES))
        _create_flags(url, admin)
        port = urllib3.util.parse_url(url).port or 0
        readers = (
            StreamReader(port, _stream_request(admin.sdk_token("bench"))),
            StreamReader(bare_port, b"GET /stream HTTP/1.1\r\n\r\n"),
        )
        for reader in readers:
            ending.callback(reader.stop)
        streams, bare = readers
        events = streams.open(1)[1].partition(b"\r\n\r\n")[2]
        _, _, opening = events.removesuffix(b"\r\n").partition(b"\r\n")
        require_success(
            urllib3.request("PUT", f"http://127.0.0.1:{bare_port}/opening", body=opening)
        )
        bare.open(1)

        memory, bare_memory = _memory(process), _memory(bare_process)
        pairs = []
        for _ in range(SLICES):
            pairs.append((streams.open(count // SLICES)[0], bare.open(count // SLICES)[0]))
        grown, bare_grown = _memory(process) - memory, _memory(bare_process) - bare_memory
        yield Ratio(
            f"to open {count:,} streams",
            "a bare fan-out",
            sum(seconds for seconds, _ in pairs),
            sum(seconds for _, seconds in pairs),
            median(seconds / bare_seconds for seconds, bare_seconds in pairs),
            OPENING_LIMIT,
        )
        yield compare_values("the memory of one", grown / count, "a budget", STREAM_KB, 1.0, "kB")
        yield compare_values(
            "the same", grown / count, "a bare fan-out", bare_grown / count, None, "kB"
        )
        yield from _kills(streams, bare, count)


def _kills(streams: StreamReader, bare: StreamReader, count: int) -> Iterator[Result]:
    """Yield how long kills take, in rounds of one kill and one bare fan-out of its bytes."""
    every: list[float] = []
    pairs = []
    for number in range(ROUNDS + 1):
        times, update = streams.updates(_admin_request("kill"))
        bare_times, _ = bare.updates(_post("/publish", update))
        streams.updates(_admin_request("restore"))
        if number:  # the first one warms up
            every += times
            pairs.append((_p99(times), _p99(bare_times)))
    yield Quantiles(f"kill request to each of {count:,} streams", tuple(every))
    yield Ratio(
        "the slowest 1 % of them",
        "a bare fan-out",
        median(seconds for seconds, _ in pairs),
        median(seconds for _, seconds in pairs),
        median(seconds / bare_seconds for seconds, bare_seconds in pairs),
        KILL_LIMIT,
    )


@benchmark
def to_real_processes() -> Iterator[Result]:
    """From a kill request to the changed flag, in a hundred processes with the SDK."""
    every: list[float] = []
    with ExitStack() as ending:
        url, admin, _ = ending.enter_context(web_process(connections=MOST_STREAMS))
        _create_flags(url, admin)
        token = admin.sdk_token("bench")
        processes = [_start_sdk(ending, url, token) for _ in range(PROCESSES)]
        for output in processes:
            _time_of(output)  # ready
        http = urllib3.PoolManager(headers={"Authorization": f"Bearer {TOKEN}"}, retries=False)
        for _ in range(ROUNDS):
            for action in ("kill", "restore"):
                sent = time.monotonic()
                path = f"{ENVIRONMENT_PATH}/flags/{FLAG}/{action}"
                require_success(http.request("POST", url + path, json={"reason": "a benchmark"}))
                times = [_time_of(output) - sent for output in processes]
                if action == "kill":
                    every += times
    yield Quantiles(f"kill request to each of {PROCESSES} SDK processes", tuple(every))


def _start_sdk(ending: ExitStack, url: str, token: str) -> IO[str]:
    """Start a process with the SDK, and return what it prints."""
    command = [sys.executable, "-m", "scripts.bench._sdk_process", url, token]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def stop() -> None:
        process.terminate()
        process.communicate()

    ending.callback(stop)
    assert process.stdout is not None
    return process.stdout


def _time_of(output: IO[str]) -> float:
    return float(output.readline())


def _create_flags(url: str, admin: Admin) -> None:
    for number in range(FLAGS):
        create_boolean_flag(url, admin, f"flag-{number}", default={"variant": "on"})


def _stream_request(token: str) -> bytes:
    return (
        "GET /sdk/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: identity\r\n"
        f"Authorization: Bearer {token}\r\nUser-Agent: tidegate-python\r\n"
        "Accept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n"
    ).encode()


def _admin_request(action: str) -> bytes:
    fields = f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    body = json.dumps({"reason": "a benchmark"}).encode()
    return _post(f"{ENVIRONMENT_PATH}/flags/{FLAG}/{action}", body, fields)


def _post(path: str, body: bytes, fields: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _memory(process: int) -> float:
    """Return the resident memory of a process, in kB."""
    status = Path(f"/proc/{process}/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0])


def _p99(times: list[float]) -> float:
    return Quantiles("", tuple(times)).at(99)
