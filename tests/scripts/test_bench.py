"""The benchmarks themselves run by hand; here is what they are measured and judged with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench import measure
from scripts.bench.__main__ import load, main
from scripts.bench.measure import Found, Quantiles, Ratio, compare, each, shown, table


@pytest.mark.parametrize(
    ("share", "within"), [(1, 1.0), (50, 5.0), (90, 9.0), (95, 10.0), (100, 10.0)]
)
def test_a_quantile_is_the_time_within_which_that_share_was_done(share: int, within: float) -> None:
    assert Quantiles("ten", tuple(float(number) for number in range(10, 0, -1))).at(share) == within


def test_a_quantile_of_one_time_is_that_time() -> None:
    assert {Quantiles("one", (3.0,)).at(share) for share in measure.SHARES} == {3.0}


def test_a_ratio_is_the_median_of_the_pairs_and_not_of_the_times() -> None:
    """A machine that slows down to a tenth half-way makes both slower, and the ratio stays."""
    times = iter([9.9, *([2.0] * 4), *([20.0] * 5)])
    floors = iter([9.9, *([1.0] * 4), *([10.0] * 5)])
    found = compare("x", lambda: next(times), "floor", lambda: next(floors), rounds=9, limit=2)
    assert found.ratio == 2.0
    assert found.kept


def test_the_round_before_the_first_does_not_count_and_the_order_alternates() -> None:
    said: list[str] = []

    def batch(name: str) -> measure.Batch:
        def run() -> float:
            said.append(name)
            return 1.0

        return run

    compare("x", batch("x"), "floor", batch("f"), rounds=3)
    assert "".join(said) == "xf" + "xf" + "fx" + "xf"


def test_a_batch_calls_as_often_as_it_says() -> None:
    calls: list[None] = []
    assert each(7, lambda: calls.append(None))() >= 0
    assert len(calls) == 7


@pytest.mark.parametrize(
    ("ratio", "limit", "kept"), [(2.0, None, True), (2.0, 2.0, True), (2.01, 2.0, False)]
)
def test_a_limit_is_kept_up_to_itself(ratio: float, limit: float | None, kept: bool) -> None:
    assert Ratio("x", "floor", 1.0, 1.0, ratio, limit).kept is kept


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.0421, "42.1 ms"), (3.4e-6, "3.4 µs"), (98.7e-9, "98.7 ns"), (0.0, "0 ns")],
)
def test_times_are_shown_in_a_unit_that_suits_them(seconds: float, text: str) -> None:
    assert shown(seconds) == text


def test_a_table_has_columns() -> None:
    assert table([("a", "long"), ("longer", "b")]) == "a       long\n------  ----\nlonger  b"


class TestRunning:
    @pytest.fixture
    def made_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A group of benchmarks that measure nothing."""

        def within() -> Iterator[Found]:
            """Fast enough."""
            yield Ratio("quick", "floor", 2e-6, 1e-6, 2.0, 3.0)
            yield Quantiles("times", (0.001, 0.002))

        def beyond() -> Iterator[Found]:
            """Too slow."""
            yield Ratio("slow", "floor", 4e-6, 1e-6, 4.0, 3.0)

        load()
        made_up = {"good": [within], "bad": [within, beyond]}
        monkeypatch.setattr("scripts.bench.__main__.BENCHMARKS", made_up)

    @pytest.mark.usefixtures("made_up")
    def test_ends_with_0_when_every_limit_is_kept(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["good"]) == 0
        printed = capsys.readouterr().out
        assert "quick     2 µs  floor  1 µs  2.00   3      ok" in printed
        assert "times     2  1 ms  2 ms" in printed
        assert "slow" not in printed

    @pytest.mark.usefixtures("made_up")
    def test_ends_with_1_when_one_is_not(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 1
        assert "TOO SLOW" in capsys.readouterr().out

    def test_refuses_a_group_that_does_not_exist(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["evaluation", "nothing"])
        assert ended.value.code == 2
        assert "there is no group 'nothing'" in capsys.readouterr().err

    def test_every_group_has_a_command_of_its_own(self) -> None:
        load()
        commands = Path(measure.__file__).parent
        for group in measure.BENCHMARKS:
            listed = subprocess.run(["bash", "-n", commands / group], check=False)
            assert listed.returncode == 0
            assert os.access(commands / group, os.X_OK)

    def test_lists_what_the_modules_offer(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--list"]) == 0
        assert {"commits", "evaluation", "kill"} <= set(capsys.readouterr().out.split())
