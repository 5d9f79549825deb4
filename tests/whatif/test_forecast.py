from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.decision import Action, CheckResult, Decision
from tidegate_server.decisions.detectable_ratio import LARGEST_RATIO
from tidegate_server.domain.release import Basis, State
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


class TestByStage:
    def decided(self, basis: Basis | None, noticed: float | None = None) -> Decision:
        check = CheckResult(0, "errors", detectable_ratio=noticed)
        return Decision(
            Action.ADVANCE, f"because of {basis}", State.RUNNING, 0, 1, checks=(check,), basis=basis
        )

    def leaving(self, *bases: tuple[Basis, float | None]) -> list[SimulationRun]:
        """Return runs that leave the first stage on these bases, and are left at the second."""
        return [
            replace(
                run(State.RUNNING),
                stages=(
                    StageRun(0, 400, self.decided(basis, noticed)),
                    StageRun(400, None, self.decided(None)),
                    StageRun(),
                ),
            )
            for basis, noticed in bases
        ]

    def test_stages_are_left_on_evidence_or_on_time(self) -> None:
        runs = self.leaving((Basis.EVIDENCE, 3.0), (Basis.EVIDENCE, 4.0), (Basis.TIME, None))
        first, second, third = forecast(runs, THREE).by_stage

        assert first.on_evidence is not None
        assert first.on_time is not None
        assert (first.on_evidence.value, first.on_time.value) == (2 / 3, 1 / 3)
        assert first.on_evidence.low < 2 / 3 < first.on_evidence.high
        assert first.detectable_ratio is not None
        assert first.detectable_ratio.median.value == 4.0
        assert first.detectable_ratio.most.value == LARGEST_RATIO
        assert (second.on_evidence, second.detectable_ratio) == (None, None)
        assert third.on_evidence is None

    def test_releases_that_do_not_leave_say_what_they_lack(self) -> None:
        first, second, third = forecast(self.leaving((Basis.TIME, None)), THREE).by_stage

        assert (first.missing, second.missing, third.missing) == (None, "because of None", None)
        assert second.undecided is not None
        assert (second.undecided.value, second.cut_short) == (1.0, 0)

    def test_releases_that_were_cut_short_count_only_as_still_there(self) -> None:
        [short] = self.leaving((Basis.TIME, None))
        summary = forecast([replace(short, cut_short=True)], THREE)
        first, second, _ = summary.by_stage

        assert (summary.runs, summary.cut_short, summary.undecided) == (0, 1, None)
        assert (first.reached, first.left) == (None, None)
        assert (second.cut_short, second.missing) == (1, "because of None")
