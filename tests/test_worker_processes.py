"""Jobs run in worker processes, within a time limit, and the workers end with whoever began."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tidegate_server import worker_processes
from tidegate_server.worker_processes import Finished, GoesOn, News, run_jobs

from tests.child_processes import runs
from tests.waiting import until


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers at once."""
    monkeypatch.setattr(worker_processes, "ALONE_SECONDS", 0.0)


def square(job: int, goes_on: GoesOn) -> int:
    return job * job


def process_id(job: int, goes_on: GoesOn) -> int:
    time.sleep(0.05)
    return os.getpid()


def endless(job: int, goes_on: GoesOn) -> str:
    """A job that lasts as long as it may; job 0 ends soon."""
    steps = 0
    while job and goes_on(f"step {steps}"):
        steps += 1
        time.sleep(0.01)
    return "cut short" if job else "ended"


def fails(job: int, goes_on: GoesOn) -> int:
    raise ZeroDivisionError(f"job {job}")


def is_killed(job: int, goes_on: GoesOn) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return job


def finished(
    jobs: list[int],
    function: Callable[[int, GoesOn], object],
    limit: float = 60.0,
    processes: int | None = None,
) -> dict[int, object]:
    results = run_jobs(function, jobs, limit, processes)
    return {each.job: each.value for each in results if isinstance(each, Finished)}


def test_short_work_needs_no_workers() -> None:
    assert finished([1, 2, 3], process_id) == dict.fromkeys(range(3), os.getpid())


@pytest.mark.usefixtures("at_once")
def test_long_work_is_shared_by_workers() -> None:
    assert finished(list(range(40)), square, processes=2) == {n: n * n for n in range(40)}
    processes = set(finished(list(range(40)), process_id, processes=2).values())

    assert len(processes) == 2
    assert os.getpid() not in processes


def test_a_job_that_this_process_began_is_done_again_by_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_processes, "ALONE_SECONDS", 0.1)
    results = list(run_jobs(endless, [0, 1], 4.0, 2))

    assert [each.job for each in results if isinstance(each, Finished)] == [0, 1]
    assert any(isinstance(each, News) and each.text.startswith("step ") for each in results)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("processes", [1, 2])
def test_jobs_end_at_the_time_limit_and_the_others_never_begin(processes: int) -> None:
    results = finished([0, *[1] * 50], endless, 2.0, processes=processes)

    assert results[0] == "ended"
    assert 1 < len(results) < 51
    assert {value for job, value in results.items() if job} == {"cut short"}


@pytest.mark.usefixtures("at_once")
def test_an_error_of_a_job_is_raised() -> None:
    with pytest.raises(ZeroDivisionError, match="job 3"):
        finished([3, 3, 3], fails, processes=2)


@pytest.mark.usefixtures("at_once")
def test_a_worker_that_is_killed_is_reported() -> None:
    with pytest.raises(RuntimeError, match="A worker process ended before its job"):
        finished([3, 3, 3], is_killed, processes=2)


@pytest.mark.usefixtures("at_once")
def test_closing_ends_the_workers() -> None:
    results = run_jobs(process_id, list(range(10_000)), 60.0, 2)
    first = next(results)
    assert isinstance(first, Finished)
    results.close()  # type: ignore[attr-defined]

    assert not runs(first.value)


BEGINS = """
import sys
from tests.test_worker_processes import process_id
from tidegate_server import worker_processes

if __name__ == "__main__":
    worker_processes.ALONE_SECONDS = 0.0
    for each in worker_processes.run_jobs(process_id, list(range(100_000)), 600.0, 2):
        print(each.value, flush=True)
"""


def test_workers_end_when_the_process_that_began_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "begins.py"
    script.write_text(BEGINS)
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    ) as process:
        assert process.stdout is not None
        workers = {int(process.stdout.readline()) for _ in range(20)}
        process.kill()

    until(lambda: not any(runs(worker) for worker in workers), "the workers have ended")
