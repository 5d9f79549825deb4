"""Policy job processes that are killed, frozen or cut off from their store."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tidegate_server.domain.release import LIVE_STATES, State
from tidegate_server.errors import StoreUnavailable
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.decisions.simulated_release import policy
from tests.policy_job.deployment import HEALTHY, Deployment

PATIENCE_SECONDS = 60.0
FAST = policy(10, 50, 100, interval_ms=100, bake_ms=300, min_samples=10)
PROGRAM = """
import sys, threading, time
from tidegate_server.errors import StoreUnavailable
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
while True:
    try:
        store = Store.connect(sys.argv[1])
    except StoreUnavailable:
        time.sleep(0.1)
    else:
        break
PolicyJob(store, sys.argv[2], lease_ms=500).run(threading.Event())
"""


class Job:
    """A policy job in its server process."""

    def __init__(self, url: str, holder: str) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM, url, holder])

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def job(url: str, holder: str) -> Iterator[Job]:
    running = Job(url, holder)
    try:
        yield running
    finally:
        running.end()


def until(condition: Callable[[], bool], each_time: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        each_time()
        time.sleep(0.02)


def windows(deployment: Deployment) -> int:
    progress = deployment.progress()
    return progress.windows if progress else 0


def report(deployment: Deployment) -> Callable[[], None]:
    def once() -> None:
        subject = deployment.release()
        if subject.state in LIVE_STATES:
            deployment.sdk.report(subject, *HEALTHY[subject.stage])

    return once


def assert_ledger_is_complete(deployment: Deployment) -> None:
    """Check that each window is there once and that no stage or count is missing or doubled."""
    ledger = deployment.ledger()
    assert [entry.decision.window for entry in ledger] == list(range(1, len(ledger) + 1))
    for earlier, later in itertools.pairwise(ledger):
        assert later.before == earlier.after
        assert later.window.opened_ms == earlier.window.closed_ms
    moves = [entry.after.stage - entry.before.stage for entry in ledger]
    assert set(moves) <= {0, 1}
    progress = deployment.progress()
    assert progress is not None
    for arm in ("control", "treatment"):
        counted = sum(
            getattr(entry.window, arm).outcomes + getattr(entry.window, f"late_{arm}").outcomes
            for entry in ledger
        )
        totals = getattr(progress, arm).outcomes
        reported = sum(arms[arm == "treatment"][0] for arms in deployment.sdk.totals.values())
        assert counted == totals <= reported


def test_a_second_job_continues_after_the_first_is_killed(
    deployment: Deployment, valkey: EmbeddedValkey
) -> None:
    deployment.start(FAST)
    with job(valkey.url, "first") as first, job(valkey.url, "second"):
        until(lambda: deployment.release().stage == 2, report(deployment))
        first.signal(signal.SIGKILL)
        until(lambda: deployment.release().state is State.COMPLETED, report(deployment))

    assert_ledger_is_complete(deployment)


def test_a_release_completes_although_its_job_is_killed_repeatedly(
    deployment: Deployment, valkey: EmbeddedValkey
) -> None:
    deployment.start(FAST)
    for life in range(4):
        with job(valkey.url, f"life-{life}") as running:
            seen = windows(deployment)
            until(lambda seen=seen: windows(deployment) > seen, report(deployment))  # type: ignore[misc]
            running.signal(signal.SIGKILL)
    with job(valkey.url, "last"):
        until(lambda: deployment.release().state is State.COMPLETED, report(deployment))

    assert_ledger_is_complete(deployment)


def test_a_frozen_leader_is_deposed_and_writes_nothing_when_it_resumes(
    deployment: Deployment, valkey: EmbeddedValkey
) -> None:
    deployment.start(policy(10, 100, interval_ms=100, min_samples=10**9))
    with job(valkey.url, "frozen") as frozen:
        until(lambda: windows(deployment) >= 2, report(deployment))
        frozen.signal(signal.SIGSTOP)
        with job(valkey.url, "successor"):
            seen = windows(deployment)
            until(lambda: windows(deployment) > seen + 2, report(deployment))
            frozen.signal(signal.SIGCONT)
            seen = windows(deployment)
            until(lambda: windows(deployment) > seen + 5, report(deployment))
            assert deployment.store.leases.acquire("shop", "frozen", 1) is None

    assert_ledger_is_complete(deployment)


class TestWithoutStore:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[EmbeddedValkey]:
        server = EmbeddedValkey(tmp_path)
        server.start()
        yield server
        server.stop()

    def test_a_job_waits_until_a_killed_store_is_back(self, server: EmbeddedValkey) -> None:
        store = Store.connect(server.url)
        deployment = Deployment(store)
        deployment.start(FAST)
        stop = threading.Event()
        with capture_logs() as logs:
            thread = threading.Thread(
                target=PolicyJob(Store.connect(server.url), "job-1", lease_ms=500).run, args=(stop,)
            )
            thread.start()
            until(lambda: windows(deployment) >= 2, report(deployment))
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            until(lambda: any(each["event"] == "store_unavailable" for each in logs))
            assert thread.is_alive()
            server.restart_if_dead()

            def done() -> bool:
                try:
                    return deployment.release().state is State.COMPLETED
                except StoreUnavailable:
                    return False

            until(done, report(deployment))
            stop.set()
            thread.join(PATIENCE_SECONDS)

        assert not thread.is_alive()
        assert_ledger_is_complete(deployment)
        events = [each["event"] for each in logs]
        assert events.count("store_unavailable") == events.count("policy_job_recovered") == 1

    def test_a_job_without_a_store_stops_at_once(self, server: EmbeddedValkey) -> None:
        stop = threading.Event()
        with capture_logs() as logs:
            thread = threading.Thread(
                target=PolicyJob(Store.connect(server.url), "job-1").run, args=(stop,)
            )
            server.stop()
            thread.start()
            until(lambda: any(each["event"] == "store_unavailable" for each in logs))
            stop.set()
            thread.join(PATIENCE_SECONDS)

        assert not thread.is_alive()
