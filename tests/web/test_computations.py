"""Computations run in other processes: in turn, bounded for each caller, under a deadline."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.errors import Abandoned, FieldProblem, Invalid, Overloaded, RateLimited
from tidegate_server.web.computations import Computations, Limits

from tests.child_processes import runs
from tests.waiting import until

LIMITS = Limits(
    processes=1, most_waiting=2, most_per_caller=2, queue_seconds=30.0, deadline_seconds=30.0
)
Open = Callable[..., Computations]


def process_id() -> int:
    return os.getpid()


def wait_for(path: str) -> str:
    """Compute until a file exists."""
    while not Path(path).exists():
        time.sleep(0.01)
    return "done"


def refuse() -> None:
    raise Invalid("No.", FieldProblem("/name", "Give another."))


def fail() -> None:
    raise ZeroDivisionError("a fault")


def end_process() -> None:
    os._exit(1)


@pytest.fixture
def opened() -> Iterator[Open]:
    made: list[Computations] = []

    def open_computations(**changes: Any) -> Computations:
        made.append(Computations("test", replace(LIMITS, **changes)))
        return made[-1]

    yield open_computations
    for each in made:
        each.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def begin(
    pool: ThreadPoolExecutor, computations: Computations, caller: str, path: Path
) -> Future[str]:
    """Ask for a computation that lasts until a file exists; returns when it has its place."""
    before = dict(computations._of_caller)
    future = pool.submit(computations.run, caller, wait_for, str(path))
    until(lambda: dict(computations._of_caller) != before, "it has its place")
    return future


def test_a_computation_runs_in_another_process_that_is_used_again(opened: Open) -> None:
    computations = opened()
    first = computations.run("a", process_id)
    assert first != os.getpid()
    assert computations.run("b", process_id) == first


def test_an_error_keeps_its_fields(opened: Open) -> None:
    with pytest.raises(Invalid, match="No") as refused:
        opened().run("a", refuse)
    assert refused.value.fields == (FieldProblem("/name", "Give another."),)


def test_a_fault_is_reported_and_does_not_end_the_process(opened: Open) -> None:
    computations = opened()
    first = computations.run("a", process_id)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a fault"):
        computations.run("a", fail)
    assert computations.run("a", process_id) == first


def test_a_process_that_ends_is_replaced(opened: Open) -> None:
    computations = opened()
    computations.run("a", process_id)
    with pytest.raises(RuntimeError, match="ended without an answer"):
        computations.run("a", end_process)
    assert computations.run("a", process_id)


def test_a_computation_over_its_deadline_is_ended(opened: Open, tmp_path: Path) -> None:
    computations = opened(deadline_seconds=3.0)
    process = computations.run("a", process_id)
    with pytest.raises(Overloaded, match="took longer than 3 s"):
        computations.run("a", wait_for, str(tmp_path / "never"))
    assert not runs(process)
    assert computations.run("a", process_id) != process


def test_a_computation_that_nobody_waits_for_is_ended_with_the_processes_it_started(
    opened: Open, tmp_path: Path
) -> None:
    computations, started = opened(), tmp_path / "started"
    process = computations.run("a", process_id)
    with pytest.raises(Abandoned):
        computations.run_while(lambda: not started.exists(), "a", start_another, str(started))
    assert not runs(process)
    until(lambda: not runs(int(started.read_text())), "the process that it started has ended")
    assert computations.run("a", process_id) != process


def start_another(path: str) -> None:
    another = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(f"{path}.new").write_text(str(another.pid))
    Path(f"{path}.new").rename(path)
    another.wait()


def test_nobody_keeps_a_place_in_the_queue_without_waiting_for_it(
    opened: Open, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    computations, end = opened(), tmp_path / "end"
    running = begin(pool, computations, "a", end)
    with pytest.raises(Abandoned):
        computations.run_while(lambda: False, "b", process_id)
    assert computations._of_caller == {"a": 1}
    end.touch()
    assert running.result() == "done"


def test_one_caller_cannot_take_every_place(
    opened: Open, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    computations, end = opened(), tmp_path / "end"
    mine = [begin(pool, computations, "a", end) for _ in range(2)]
    with pytest.raises(RateLimited, match="already has 2 requests") as refused:
        computations.run("a", process_id)
    assert refused.value.retry_after > 0
    other = begin(pool, computations, "b", end)
    end.touch()
    assert [each.result() for each in (*mine, other)] == ["done"] * 3


def test_a_full_queue_refuses(opened: Open, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    computations, end = opened(), tmp_path / "end"
    taken = [begin(pool, computations, caller, end) for caller in "abc"]
    with pytest.raises(Overloaded, match="Too many others wait"):
        computations.run("d", process_id)
    end.touch()
    assert [each.result() for each in taken] == ["done"] * 3
    assert computations.run("d", process_id)


def test_a_turn_that_does_not_come_is_given_up(
    opened: Open, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    computations, end = opened(queue_seconds=0.1), tmp_path / "end"
    running = begin(pool, computations, "a", end)
    with pytest.raises(Overloaded, match=r"No process was free within 0\.1 s"):
        computations.run("b", process_id)
    end.touch()
    assert running.result() == "done"


def test_closing_ends_the_processes_and_those_who_wait(
    opened: Open, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    computations, end = opened(), tmp_path / "end"
    process = computations.run("a", process_id)
    running = begin(pool, computations, "a", end)
    waiting = begin(pool, computations, "b", end)
    computations.close()
    with pytest.raises(Overloaded, match="stopping"):
        waiting.result()
    end.touch()
    assert running.result() == "done"
    until(lambda: not runs(process), "the process has ended")


def test_a_process_gets_no_settings_of_the_server(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_SECRET_KEY", "a secret")
    assert opened().run("a", secret_in_environment) is None


def secret_in_environment() -> str | None:
    return os.environ.get("TIDEGATE_SECRET_KEY")
