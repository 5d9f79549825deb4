"""Real policy job processes, killed, frozen and cut off from their store."""

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

from tests.decisions.ramp import policy
from tests.policy_job.deployment import HEALTHY, Deployment

PATIENCE_SECONDS = 60.0
FAST = policy(10, 50, 100, interval_ms=100, bake_ms=300, min_samples=10)
PROGRAM = """
import sys, threading
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
PolicyJob(Store.connect(sys.argv[1]), sys.argv[2], lease_ms=500).run(threading.Event())
"""


class Job:
    """A policy job in a process of its own."""

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


def until(condition: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        meanwhile()
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


def assert_one_unbroken_story(deployment: Deployment) -> None:
    """Every window once, no stage skipped, no step twice, every count in exactly one window."""
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


def test_a_second_job_goes_on_where_a_killed_one_stopped(
    deployment: Deployment, valkey: EmbeddedValkey
) -> None:
    deployment.start(FAST)
    with job(valkey.url, "first") as first, job(valkey.url, "second"):
        until(lambda: deployment.release().stage == 2, report(deployment))
        first.signal(signal.SIGKILL)
        until(lambda: deployment.release().state is State.COMPLETED, report(deployment))

    assert_one_unbroken_story(deployment)


def test_a_job_killed_again_and_again_still_gets_there(
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

    assert_one_unbroken_story(deployment)


def test_a_frozen_leader_is_deposed_and_writes_nothing_when_it_wakes(
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
            assert deployment.store.acquire_lease("shop", "frozen", 1) is None

    assert_one_unbroken_story(deployment)


class TestWithoutStore:
    @pytest.fixture
    def own(self, tmp_path: Path) -> Iterator[EmbeddedValkey]:
        server = EmbeddedValkey(tmp_path)
        server.start()
        yield server
        server.stop()

    def test_it_waits_for_a_store_that_was_killed_and_goes_on(self, own: EmbeddedValkey) -> None:
        store = Store.connect(own.url)
        deployment = Deployment(store)
        deployment.start(FAST)
        stop = threading.Event()
        with capture_logs() as logs:
            thread = threading.Thread(
                target=PolicyJob(Store.connect(own.url), "job-1", lease_ms=500).run, args=(stop,)
            )
            thread.start()
            until(lambda: windows(deployment) >= 2, report(deployment))
            assert own.pid is not None
            os.kill(own.pid, signal.SIGKILL)
            until(lambda: any(each["event"] == "store unavailable" for each in logs))
            assert thread.is_alive()
            own.restart_if_dead()

            def done() -> bool:
                try:
                    return deployment.release().state is State.COMPLETED
                except StoreUnavailable:
                    return False

            until(done, report(deployment))
            stop.set()
            thread.join(PATIENCE_SECONDS)

        assert not thread.is_alive()
        assert_one_unbroken_story(deployment)
        said = [each["event"] for each in logs]
        assert said.count("store unavailable") == said.count("working again") == 1

    def test_it_stops_at_once_when_asked_even_without_a_store(self, own: EmbeddedValkey) -> None:
        stop = threading.Event()
        with capture_logs() as logs:
            thread = threading.Thread(
                target=PolicyJob(Store.connect(own.url), "job-1").run, args=(stop,)
            )
            own.stop()
            thread.start()
            until(lambda: any(each["event"] == "store unavailable" for each in logs))
            stop.set()
            thread.join(PATIENCE_SECONDS)

        assert not thread.is_alive()
