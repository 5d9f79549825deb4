from __future__ import annotations

import threading
import time

import pytest
from structlog.testing import capture_logs
from tidegate_server.outbound.bounded_threads import Lanes

PATIENCE_SECONDS = 60.0


def started(lanes: Lanes, key: str, *, work: threading.Event) -> bool:
    return lanes.start(key, lambda: (work.wait(PATIENCE_SECONDS), None)[1])


def test_one_key_has_so_many_lanes_and_another_one_its_own() -> None:
    lanes, over = Lanes("test", each=2, most=10), threading.Event()
    try:
        assert [started(lanes, "hanging", work=over) for _ in range(3)] == [True, True, False]
        assert started(lanes, "other", work=over)
    finally:
        over.set()


def test_all_keys_together_have_so_many() -> None:
    lanes, over = Lanes("test", each=2, most=3), threading.Event()
    try:
        assert [started(lanes, key, work=over) for key in "abcd"] == [True, True, True, False]
    finally:
        over.set()


def until_free(lanes: Lanes, key: str) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not lanes.start(key, lambda: None):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def test_a_lane_is_free_again_when_its_work_has_ended_or_failed() -> None:
    lanes = Lanes("test", each=1, most=1)

    def fail() -> None:
        raise ValueError("on purpose")

    with capture_logs() as logs:
        assert lanes.start("one", fail)
        assert until_free(lanes, "one")
    assert [each["event"] for each in logs] == ["work in a lane failed"]


def test_a_machine_without_a_thread_left_takes_no_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = Lanes("test", each=1, most=1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert not lanes.start("one", lambda: None)
    assert until_free(lanes, "one")
