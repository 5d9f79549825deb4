from __future__ import annotations

from tidegate_server.domain.release import State
from tidegate_server.whatif.forecast import forecast
from tidegate_server.whatif.simulation import SimulationRun, StageRun

from tests.decisions.simulated_release import policy


def run(state: State = State.COMPLETED, stage: int | None = None, **changes: int) -> SimulationRun:
    values = {
        "elapsed_ms": 1_000,
        "full_ms": 500,
        "exposed": 100,
        "errors": 2,
        "hurt": 1,
        **changes,
    }
    return SimulationRun(
        state=state,
        stopped_ms=values["elapsed_ms"] if stage else None,
        stopped_stage=stage,
        elapsed_ms=values["elapsed_ms"],
        full_ms=values["full_ms"] if state is State.COMPLETED else None,
        windows=10,
        retreats=0,
        exposed=values["exposed"],
        errors=values["errors"],
        extra=0.5,
        hurt=values["hurt"],
        stages=(StageRun(0, 400), StageRun(400, None), StageRun()),
        stage=2,
    )


THREE = policy(5, 50, 100)


def test_releases_are_counted_by_how_they_ended() -> None:
    runs = [
        *(run() for _ in range(6)),
        run(State.ROLLED_BACK, 2),
        run(State.PAUSED, 2),
        run(State.COMPLETED, 1),
        run(State.HOLDING),
    ]
    summary = forecast(runs, THREE)

    assert summary.runs == 10
    assert (summary.completed and summary.completed.value) == 0.7
    assert (summary.stopped and summary.stopped.value) == 0.3
    assert (summary.undecided and summary.undecided.value) == 0.1
    assert summary.stages == (1, 2, 0)


def test_a_time_counts_only_the_releases_that_got_there() -> None:
    runs = [run(elapsed_ms=1_000 * each) for each in range(1, 10)] + [run(State.ROLLED_BACK, 1)]
    summary = forecast(runs, THREE)

    assert summary.completed_ms is not None
    assert summary.completed_ms.median.value == 5_000
    assert summary.completed_ms.most.value == 9_000
    assert summary.completed_ms.median.low < 5_000 < summary.completed_ms.median.high
    assert summary.stopped_ms is not None
    assert summary.stopped_ms.median.value == 1_000


def test_harm_counts_every_release() -> None:
    summary = forecast([run(hurt=each) for each in range(1, 102)], THREE)

    assert summary.hurt is not None
    assert (summary.hurt.median.value, summary.hurt.most.value) == (51, 91)


def test_there_is_no_time_for_what_never_happened() -> None:
    summary = forecast([run(State.HOLDING)], THREE)

    assert (summary.full_ms, summary.completed_ms, summary.stopped_ms) == (None, None, None)
    assert summary.stages == (0, 0, 0)


def test_there_is_no_forecast_without_releases() -> None:
    assert forecast([], THREE).stopped is None
