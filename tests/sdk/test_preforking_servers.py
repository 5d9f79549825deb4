"""Under servers that fork, every worker is its own instance and all counts are exact."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from examples.shop.processes import free_port
from tests.sdk.bad_proxy import Proxy
from tests.sdk.server import Environment
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "tests.sdk.forked:application"
WORKERS = 2
LIFETIME = 15
"""The number of requests after which a worker is replaced, in tests of that."""

PATIENCE = 60.0

GUNICORN = {
    f"{kind}{' preloaded' * preload}": ["--worker-class", kind, *(["--preload"] * preload)]
    for kind in ("sync", "gthread", "gevent")
    for preload in (False, True)
}
UWSGI = {
    "as it is": [],
    "with Python's fork hooks": ["--py-call-uwsgi-fork-hooks"],
    "loading late": ["--lazy-apps"],
    "with threads": ["--threads", "4"],
}
QUICK = ["sync preloaded", "gthread", "as it is"]
"""The kinds that every run tests; the others are tested by long runs."""


def all_of(kinds: dict[str, list[str]]) -> list[Any]:
    return [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.long) for kind in kinds]


@dataclass
class Served:
    """A server with workers, and the number of requests it has answered."""

    environment: Environment
    release: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    answered: int = 0
    users: Iterator[int] = field(default_factory=itertools.count)

    def get(self, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, self.log.read_text()
        document: dict[str, Any] = json.loads(body)
        return document

    def work(self, times: int) -> list[dict[str, Any]]:
        """Send requests, each from another user and each an operation in the release."""
        done = []
        for _ in range(times):
            done.append(self.get(f"/work?user-{next(self.users)}"))
            self.answered += 1
        return done

    def start(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                self.get("/ready")
            except OSError:
                return False
            return True

        until(answers, "the server answers")

    def counted(self) -> int:
        return self.environment.outcomes(self.release)

    def stop(self) -> None:
        """Stop the server, and wait for its end."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)


@contextmanager
def served(
    environment: Environment, log: Path, command: Callable[[int], list[str]], url: str = ""
) -> Iterator[Served]:
    environment.flag("checkout")
    environment.flag("banner")
    release = environment.release("checkout")
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(port),
            cwd=ROOT,
            env={
                **os.environ,
                "TIDEGATE_URL": url or environment.url,
                "TIDEGATE_TOKEN": environment.token,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Served(environment, release, port, process, log)
    try:
        server.start()
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def gunicorn(*options: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"),
            *("--workers", str(WORKERS), "--threads", "2", "--graceful-timeout", "20"),
            *options,
            APPLICATION,
        ]

    return command


def uwsgi(*options: str) -> Callable[[int], list[str]]:
    program = shutil.which("uwsgi", path=str(Path(sys.executable).parent)) or shutil.which("uwsgi")
    if program is None:
        pytest.skip("uWSGI is not installed: pip install pyuwsgi")

    def command(port: int) -> list[str]:
        return [
            *(program, "--http-socket", f"127.0.0.1:{port}", "--master", "--need-app"),
            *("--processes", str(WORKERS), "--enable-threads"),
            # Else a stop interrupts workers that close a request, and no exit handler runs.
            *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
            *("--home", sys.prefix, "--pythonpath", str(ROOT)),
            *(options if "--module" in options else ("--module", APPLICATION, *options)),
        ]

    return command


def check_worker_lives(server: Served) -> None:
    """Check that nothing is lost when workers serve, are killed and stop."""
    instances: dict[int, str] = {}

    def all_answered() -> bool:
        for answer in server.work(10):
            instances[answer["pid"]] = answer["instance"]
        return len(instances) == WORKERS

    until(all_answered, "all workers answer")
    assert len(set(instances.values())) == WORKERS, "every worker is its own instance"
    until(lambda: server.counted() == server.answered, "all counts are acknowledged")
    reported = {each["pid"]: each["id"] for each in server.environment.instances()}
    assert instances.items() <= reported.items(), "and reports under the instance id in its status"

    # The killed worker has reported everything; nothing is lost or counted twice.
    victim = next(iter(instances))
    os.kill(victim, signal.SIGKILL)
    replaced: set[int] = set()

    def replaced_by_new_worker() -> bool:
        try:
            replaced.update(answer["pid"] for answer in server.work(5))
        except (OSError, http.client.HTTPException):
            return False  # the worker is being replaced
        return len(replaced - {victim}) >= WORKERS

    until(replaced_by_new_worker, "a new worker takes its place")

    server.environment.kill("banner")
    aware: dict[int, str] = {}

    def all_see_kill() -> bool:
        aware.update(
            {answer["pid"]: answer["instance"] for answer in server.work(5) if answer["killed"]}
        )
        return len(aware) >= WORKERS

    def all_in_receipt() -> bool:
        receipt = server.environment.receipt("banner")
        return receipt["applied"] >= WORKERS and not set(aware.values()) & set(receipt["waiting"])

    until(all_see_kill, "every worker sees the kill")
    until(all_in_receipt, "the receipt has every worker")
    server.stop()
    assert server.counted() == server.answered, server.log.read_text()


def check_recycled_workers(server: Served) -> None:
    """Check that nothing is lost when workers are replaced because of their age."""
    answers: Counter[int] = Counter()

    def new_workers_serve() -> bool:
        answers.update(answer["pid"] for answer in server.work(1))
        # Workers that are past their start, when uWSGI's would miss a stop. One of them also
        # answered the request for /ready.
        settled = [pid for pid, count in answers.items() if count < LIFETIME - 1]
        return len(answers) > WORKERS and len(settled) >= WORKERS

    until(new_workers_serve, "workers are recycled")
    server.stop()
    assert server.counted() == server.answered, server.log.read_text()


@pytest.mark.parametrize("kind", all_of(GUNICORN))
def test_gunicorn_workers_count_exactly_until_they_end(
    kind: str, environment: Environment, tmp_path: Path
) -> None:
    with served(environment, tmp_path / "log", gunicorn(*GUNICORN[kind])) as server:
        check_worker_lives(server)


@pytest.mark.parametrize("kind", all_of(GUNICORN))
def test_nothing_is_lost_when_gunicorn_recycles_its_workers(
    kind: str, environment: Environment, tmp_path: Path
) -> None:
    options = [*GUNICORN[kind], "--max-requests", str(LIFETIME)]
    with served(environment, tmp_path / "log", gunicorn(*options)) as server:
        check_recycled_workers(server)


@pytest.mark.parametrize("kind", ["sync", "gevent"])
def test_a_request_that_gunicorn_aborts_is_an_error(
    kind: str, environment: Environment, tmp_path: Path
) -> None:
    command = gunicorn("--worker-class", kind, "--threads", "1", "--timeout", "2")
    with served(environment, tmp_path / "log", command) as server:
        server.work(1)
        until(lambda: server.counted() == 1, "the worker works")
        # Versions of gunicorn differ in what the visitor gets: a 500, or nothing.
        with pytest.raises((OSError, http.client.HTTPException, AssertionError)):
            server.get("/hang?ann")
        until(lambda: server.counted() == 2, "the aborted request is counted")
        readings = environment.evidence(server.release).readings
        assert sum(each.control.errors + each.treatment.errors for each in readings) == 1


@pytest.mark.parametrize("kind", all_of(UWSGI))
def test_uwsgi_workers_count_exactly_until_they_end(
    kind: str, environment: Environment, tmp_path: Path
) -> None:
    with served(environment, tmp_path / "log", uwsgi(*UWSGI[kind])) as server:
        check_worker_lives(server)


@pytest.mark.parametrize("kind", all_of(UWSGI))
def test_nothing_is_lost_when_uwsgi_recycles_its_workers(
    kind: str, environment: Environment, tmp_path: Path
) -> None:
    command = uwsgi(*UWSGI[kind], "--max-requests", str(LIFETIME), "--min-worker-lifetime", "0")
    with served(environment, tmp_path / "log", command) as server:
        check_recycled_workers(server)


@pytest.mark.long
def test_uwsgi_workers_connect_even_if_another_library_replaces_the_hook(
    environment: Environment, tmp_path: Path
) -> None:
    command = uwsgi("--module", "tests.sdk.decorated:application")
    with served(environment, tmp_path / "log", command) as server:
        check_worker_lives(server)


def slow_network(proxy: Proxy, client: socket.socket) -> None:
    """Pass everything on slowly, and drop it if the sender disconnects."""
    server = proxy.connect()

    def back() -> None:
        with contextlib.suppress(OSError):
            while part := server.recv(65_536):
                client.sendall(part)

    threading.Thread(target=back, daemon=True).start()
    with contextlib.suppress(OSError):
        while part := client.recv(65_536):
            time.sleep(0.3)
            with contextlib.suppress(BlockingIOError):
                if not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    return
            server.sendall(part)


@pytest.mark.long
def test_a_stop_does_not_cut_short_what_is_ending(environment: Environment, tmp_path: Path) -> None:
    """uWSGI's handler would end a worker before its last report."""
    proxy = Proxy(environment.url)
    proxy.switch_to(slow_network)
    command = uwsgi(
        "--module",
        "tests.sdk.decorated:application",
        "--max-requests",
        str(LIFETIME),
        "--min-worker-lifetime",
        "0",
    )
    with served(environment, tmp_path / "log", command, proxy.url) as server:
        until(lambda: bool(server.work(1)) and b"Seeya" in server.log.read_bytes(), "a worker ends")
        until(lambda: b"exit handlers" in server.log.read_bytes(), "it runs its exit handlers")
        server.stop()
        assert server.counted() == server.answered, server.log.read_text()
    proxy.close()
