from __future__ import annotations

from tidegate_server.domain.release import State
from tidegate_server.whatif.forecast import forecast
from tidegate_server.whatif.simulation import Run


def run(state: State = State.COMPLETED, stage: int | None = None, **changes: int) -> Run:
    said = {"elapsed_ms": 1_000, "full_ms": 500, "exposed": 100, "errors": 2, "hurt": 1, **changes}
    return Run(
        state=state,
        stopped_ms=said["elapsed_ms"] if stage else None,
        stopped_stage=stage,
        elapsed_ms=said["elapsed_ms"],
        full_ms=said["full_ms"] if state is State.COMPLETED else None,
        windows=10,
        retreats=0,
        exposed=said["exposed"],
        errors=said["errors"],
        extra=0.5,
        hurt=said["hurt"],
    )


def test_releases_are_told_by_how_they_ended() -> None:
    runs = [
        *(run() for _ in range(6)),
        run(State.ROLLED_BACK, 2),
        run(State.PAUSED, 2),
        run(State.COMPLETED, 1),
        run(State.HOLDING),
    ]
    found = forecast(runs, 3)

    assert found.runs == 10
    assert (found.completed and found.completed.value) == 0.7
    assert (found.stopped and found.stopped.value) == 0.3
    assert (found.undecided and found.undecided.value) == 0.1
    assert found.stages == (1, 2, 0)


def test_times_are_those_of_the_releases_that_got_there() -> None:
    runs = [run(elapsed_ms=1_000 * each) for each in range(1, 10)] + [run(State.ROLLED_BACK, 1)]
    found = forecast(runs, 1)

    assert found.completed_ms is not None
    assert found.completed_ms.median.value == 5_000
    assert found.completed_ms.most.value == 9_000
    assert found.completed_ms.median.low < 5_000 < found.completed_ms.median.high
    assert found.stopped_ms is not None
    assert found.stopped_ms.median.value == 1_000


def test_harm_is_that_of_every_release() -> None:
    found = forecast([run(hurt=each) for each in range(1, 102)], 1)

    assert found.hurt is not None
    assert (found.hurt.median.value, found.hurt.most.value) == (51, 91)


def test_of_what_never_happened_there_is_no_time() -> None:
    found = forecast([run(State.HOLDING)], 2)

    assert (found.full_ms, found.completed_ms, found.stopped_ms) == (None, None, None)
    assert found.stages == (0, 0)


def test_of_no_releases_nothing_is_known() -> None:
    assert forecast([], 1).stopped is None
