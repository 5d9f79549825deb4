"""A real Celery worker that forks, a real broker, a real flag server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from tidegate import Client, Context
from tidegate.current_operation import current
from tidegate.integrations.celery import install
from tidegate_server.store.embedded import EmbeddedValkey

from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts
from tests.sdk.server import Environment
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
TASKS = 30
PATIENCE = 60.0


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    valkey = EmbeddedValkey(Path(tmp_path_factory.mktemp("broker")))
    valkey.start()
    yield f"redis+socket://{valkey.socket}"
    valkey.stop()


def test_a_client_installed_twice_counts_once() -> None:
    """Another client has its own operations."""
    first, second = Client.offline(SNAPSHOT), Client.offline(SNAPSHOT)
    app = Celery()

    def ask() -> bool:
        return first.boolean("checkout", False, Context("ann"))

    work = app.task(ask)
    for client in (first, first, second):
        install(client)
    for _ in range(3):
        assert work.apply().get() is True
    assert counted(first) == counts(3, 0, 0)
    assert counted(second) == counts(0, 0, 0)
    assert current.get() is None


def a_worker(
    environment: Environment, broker: str, tmp_path: Path, *options: str
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a worker with two processes; return it and its log."""
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "tests.sdk.integrations.tasks", "worker"),
                *("--pool", "prefork", "--concurrency", "2", *options),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "TASKS_BROKER": broker,
                "TIDEGATE_URL": environment.url,
                "TIDEGATE_TOKEN": environment.token,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return worker, log


def counted_by(environment: Environment, release: str) -> tuple[int, int, int]:
    """Return a release's exposures, outcomes and errors."""
    arms = [
        arm
        for reading in environment.evidence(release).readings
        for arm in (reading.control, reading.treatment)
    ]
    return (
        sum(arm.exposures for arm in arms),
        sum(arm.outcomes for arm in arms),
        sum(arm.errors for arm in arms),
    )


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ((), {"time_limit": 2}),
        (("--time-limit", "2"), {}),
        ((), {"soft_time_limit": 1}),
    ],
)
def test_a_task_that_a_time_limit_ends_is_an_error(
    environment: Environment,
    broker: str,
    tmp_path: Path,
    options: tuple[str, ...],
    limits: dict[str, Any],
) -> None:
    environment.flag("checkout")
    release = environment.release("checkout")
    worker, log = a_worker(environment, broker, tmp_path, *options)
    try:
        sender = Celery(broker=broker)
        sender.send_task("tests.sdk.integrations.tasks.work", ("ann", "fine"))
        until(lambda: counted_by(environment, release) == (1, 1, 0), "the worker works")
        sender.send_task("tests.sdk.integrations.tasks.work", ("bob", "hang"), **limits)
        until(lambda: counted_by(environment, release) == (2, 2, 1), "the task is an error")
        sender.send_task("tests.sdk.integrations.tasks.work", ("carla", "exit"))
        until(lambda: counted_by(environment, release) == (3, 3, 2), "an exit is an error")
    except AssertionError:
        print(log.read_text())
        raise
    finally:
        worker.kill()
        worker.wait()


def test_every_task_is_counted_once_even_if_workers_are_recycled(
    environment: Environment, broker: str, tmp_path: Path
) -> None:
    """Every worker process also gets a kill, and is its own instance."""
    environment.flag("checkout")
    environment.flag("banner")
    release = environment.release("checkout")
    worker, log = a_worker(environment, broker, tmp_path, "--max-tasks-per-child", "7")
    try:
        sender = Celery(broker=broker)
        for number in range(TASKS):
            how = ("fine", "fail", "retry")[number % 3]
            sender.send_task("tests.sdk.integrations.tasks.work", (f"user-{number}", how))

        def totals() -> tuple[int, int, int]:
            return counted_by(environment, release)

        third = TASKS // 3
        expected = (4 * third + 1, 3 * third + 1, third)
        until(lambda: totals()[1] >= 3 * third, "all tasks are counted")
        environment.kill("banner")

        def all_in_receipt() -> bool:
            receipt = environment.receipt("banner")
            return receipt["applied"] >= 3 and not receipt["waiting"]  # a parent, two children

        until(all_in_receipt, "the receipt has every process that is alive")
        # The killed worker has reported everything; its successor starts with no counts.
        children = {each["pid"] for each in environment.instances() if each["live"]} - {worker.pid}
        os.kill(min(children), signal.SIGKILL)
        sender.send_task("tests.sdk.integrations.tasks.work", ("one more", "fine"))
        until(lambda: totals()[1] > 3 * third, "one more is counted")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, log.read_text()
        assert totals() == expected
    finally:
        worker.kill()
        worker.wait()
