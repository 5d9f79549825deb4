"""What one report, one stream and one change cost a server: the constants of its sizing.

They are CPU times and memory of whole processes, read from the system, so a busy machine changes
them little. Linux only.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import tidegate

from examples.shop.admin import Admin
from examples.shop.processes import free_port
from scripts.bench.measure import Result, benchmark, beyond_idle, compare_values
from scripts.bench.places import (
    ENVIRONMENT_PATH,
    HTTP,
    TOKEN,
    create_boolean_flag,
    require_success,
    server_process,
    temporary_folder,
)
from scripts.bench.reports import SEEN_USERS, batch_of_reports, start_releases

INSTANCES = 40
"""Clients of the SDK, each of which reports about once a second while a release is active."""

REPORTING_SECONDS = 20.0
IDLE_SECONDS = 5.0
BATCHES = 40
STREAMS = 500
CHANGES = 20
FLAG = "new-checkout"
POLICY = {
    "key": "sizing",
    "interval": "1s",
    "stages": [{"percentage": 50, "min_duration": "24h"}, {"percentage": 100}],
}
CORE = "a second of a core"
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a server: the web processes, the policy job and the store."""

    web: Sequence[int]
    policy_job: Sequence[int]
    store: Sequence[int]


@contextmanager
def small_server() -> Iterator[tuple[str, Admin, Processes]]:
    """Run a server with one web process; yield its URL, a client and its processes."""
    port = free_port()
    with temporary_folder() as folder:
        environment = {
            "TIDEGATE_HOST": "127.0.0.1",
            "TIDEGATE_PORT": str(port),
            "TIDEGATE_WORKERS": "1",
            "TIDEGATE_DATA_DIR": str(folder / "data"),
            "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
            "TIDEGATE_LOG_LEVEL": "warning",
        }
        command = [str(Path(sys.executable).with_name("tidegate")), "serve"]
        with server_process(command, environment, port, folder) as (url, admin, _):
            store = int((folder / "data" / "store.lock").read_text())
            supervisor = int((folder / "data" / "lock").read_text())
            yield (
                url,
                admin,
                Processes(
                    _below(supervisor, "tidegate_server.processes.web"),
                    _below(supervisor, "tidegate_server.processes.policy_job_process"),
                    (store,),
                ),
            )


@benchmark
def a_report() -> Iterator[Result]:
    """What the processes of a server spend on a report, with forty clients of the SDK."""
    with small_server() as (url, admin, processes), ExitStack() as ending:
        create_boolean_flag(url, admin, FLAG)
        admin.create("policies", POLICY)
        token = admin.sdk_token("sizing")
        admin.start_release(FLAG, "on", str(POLICY["key"]), "a benchmark")
        idles = [_spent_idle(processes)]
        clients = [
            tidegate.Client(url, token, application=f"sizing-{number}")
            for number in range(INSTANCES)
        ]
        for client in clients:
            ending.callback(client.close)
            client.wait_until_ready(60.0)
        _operate(clients, IDLE_SECONDS)  # so that everything is loaded
        reports, spent, began = _reports(url), _spent(processes), time.monotonic()
        _operate(clients, REPORTING_SECONDS)
        reports, seconds = _reports(url) - reports, time.monotonic() - began
        spent = {name: value - spent[name] for name, value in _spent(processes).items()}
        ending.close()
        idles.append(_spent_idle(processes))
    rate = reports / seconds
    yield compare_values("reports a second", rate, "clients", INSTANCES, None, "reports")
    for name in ("web", "store", "policy_job"):
        longer = seconds / IDLE_SECONDS
        value, is_measured = beyond_idle(
            spent[name], [each[name] * longer for each in idles], 2 * TICK_SECONDS * longer
        )
        what = f"CPU of the {name.replace('_', ' ')}, a report{'' if is_measured else ': at most'}"
        yield compare_values(what, value / reports, CORE, 1.0, None)


@benchmark
def reports_at_once() -> Iterator[Result]:
    """The same for as many reports as fit, of many instances; some name seen users."""
    for seen_users in (0, SEEN_USERS):
        with small_server() as (url, admin, processes):
            port, releases = urlsplit(url).port or 0, start_releases(url, admin)
            token = admin.sdk_token("sizing")
            batch = batch_of_reports(port, "/sdk/v1/reports", token, releases, seen_users)
            batch()  # so that everything is loaded
            reports, spent = _reports(url), _spent(processes)
            for _ in range(BATCHES):
                batch()
            reports = _reports(url) - reports
            spent = {name: value - spent[name] for name, value in _spent(processes).items()}
        for name in ("web", "store"):
            what = f"CPU of the {name}, a report with {seen_users} seen users"
            yield compare_values(what, spent[name] / reports, CORE, 1.0, None)


@benchmark
def a_stream() -> Iterator[Result]:
    """What an open stream takes of memory, and a change of CPU for each of five hundred streams."""
    with small_server() as (url, admin, processes), ExitStack() as ending:
        create_boolean_flag(url, admin, FLAG)
        token = admin.sdk_token("sizing")
        ending.enter_context(_stream(url, token))  # the first one loads what all of them need
        memory, cpu = _memory(processes.web), _cpu(processes.web)
        streams = [ending.enter_context(_stream(url, token)) for _ in range(STREAMS)]
        grown, opened = _memory(processes.web) - memory, _cpu(processes.web) - cpu
        yield compare_values(
            "memory of the web process, an open stream",
            grown / STREAMS,
            "a budget",
            24.0,
            None,
            "kB",
        )
        yield compare_values("CPU of it, to open one", opened / STREAMS, CORE, 1.0, None)
        cpu = _cpu(processes.web)
        for number in range(CHANGES):
            action = "restore" if number % 2 else "kill"
            address = f"{url}{ENVIRONMENT_PATH}/flags/{FLAG}/{action}"
            require_success(HTTP.request("POST", address, json={"reason": "a benchmark"}))
            for stream in streams:
                _read(stream, b"event: update")
        delivered = (_cpu(processes.web) - cpu) / (CHANGES * STREAMS)
        yield compare_values("CPU of it, a change to one stream", delivered, CORE, 1.0, None)


def _operate(clients: Sequence[tidegate.Client], seconds: float) -> None:
    """Let every client do operations all the time, so that there is always something to report."""
    end = time.monotonic() + seconds
    user = 0
    while time.monotonic() < end:
        for client in clients:
            user += 1
            with client.operation(f"user-{user % 20_000}"):
                client.boolean(FLAG, False)
        time.sleep(0.02)


def _reports(url: str) -> float:
    text = HTTP.request("GET", f"{url}/metrics").data.decode()
    found = re.search(r"^tidegate_reports_total (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@contextmanager
def _stream(url: str, token: str) -> Iterator[socket.socket]:
    """Open an event stream and read its snapshot."""
    port = urlsplit(url).port or 0
    with socket.create_connection(("127.0.0.1", port), timeout=60.0) as stream:
        headers = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        stream.sendall(f"GET /sdk/v1/stream HTTP/1.1\r\n{headers}".encode())
        _read(stream, b"event: snapshot")
        yield stream


def _read(stream: socket.socket, event: bytes) -> None:
    """Read until an event has come to its end."""
    received = b""
    while b"\n\n" not in received.partition(event)[2]:
        part = stream.recv(65_536)
        if not part:
            raise RuntimeError(f"the stream ended: {received[-500:]!r}")
        received += part


def _spent_idle(processes: Processes) -> dict[str, float]:
    """Return what the processes spend in ``IDLE_SECONDS`` anyway, which is no report's."""
    before = _spent(processes)
    time.sleep(IDLE_SECONDS)
    return {name: value - before[name] for name, value in _spent(processes).items()}


def _spent(processes: Processes) -> dict[str, float]:
    return {
        "web": _cpu(processes.web),
        "policy_job": _cpu(processes.policy_job),
        "store": _cpu(processes.store),
    }


def _cpu(pids: Sequence[int]) -> float:
    """Return the CPU time that processes have used, in seconds."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) * TICK_SECONDS


def _memory(pids: Sequence[int]) -> float:
    """Return the memory of processes that is not shared with others, in kB."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += sum(int(found) for found in re.findall(r"^Private_\w+: +(\d+) kB", text, re.M))
    return float(total)


def _below(root: int, module: str) -> list[int]:
    """Return the processes below another one that run a module, with those that they forked."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = []
    waiting = [root]
    while waiting:
        for pid in children.get(waiting.pop(), []):
            waiting.append(pid)
            if module in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
    return found
