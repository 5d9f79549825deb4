from __future__ import annotations

import threading
import time

import pytest
from structlog.testing import capture_logs
from tidegate_server.outbound.bounded_threads import BoundedThreads

PATIENCE_SECONDS = 60.0


def started(threads: BoundedThreads, key: str, *, work: threading.Event) -> bool:
    return threads.start(key, lambda: (work.wait(PATIENCE_SECONDS), None)[1])


def test_one_key_at_its_limit_does_not_block_another() -> None:
    threads, over = BoundedThreads("test", max_per_key=2, max_total=10), threading.Event()
    try:
        assert [started(threads, "hanging", work=over) for _ in range(3)] == [True, True, False]
        assert started(threads, "other", work=over)
    finally:
        over.set()


def test_all_keys_together_have_a_limit() -> None:
    threads, over = BoundedThreads("test", max_per_key=2, max_total=3), threading.Event()
    try:
        assert [started(threads, key, work=over) for key in "abcd"] == [True, True, True, False]
    finally:
        over.set()


def until_free(threads: BoundedThreads, key: str) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not threads.start(key, lambda: None):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def test_a_thread_counts_until_its_work_ends_or_fails() -> None:
    threads = BoundedThreads("test", max_per_key=1, max_total=1)

    def fail() -> None:
        raise ValueError("on purpose")

    with capture_logs() as logs:
        assert threads.start("one", fail)
        assert until_free(threads, "one")
    assert [each["event"] for each in logs] == ["thread_work_failed"]


def test_a_thread_that_cannot_start_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = BoundedThreads("test", max_per_key=1, max_total=1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert not threads.start("one", lambda: None)
    assert until_free(threads, "one")
