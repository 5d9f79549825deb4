"""How benchmarks are measured and compared with their limits. The benchmarks run by hand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench import measure
from scripts.bench.__main__ import load, main
from scripts.bench.measure import (
    Quantiles,
    Ratio,
    Result,
    beyond_idle,
    compare,
    format_table,
    format_time,
    repeat,
)


@pytest.mark.parametrize(
    ("share", "seconds"), [(1, 1.0), (50, 5.0), (90, 9.0), (95, 10.0), (100, 10.0)]
)
def test_a_quantile_is_the_smallest_time_that_covers_the_share(share: int, seconds: float) -> None:
    times = tuple(float(number) for number in range(10, 0, -1))
    assert Quantiles("ten", times).at(share) == seconds


def test_a_quantile_of_one_time_is_that_time() -> None:
    assert {Quantiles("one", (3.0,)).at(share) for share in measure.SHARES} == {3.0}


def test_a_ratio_is_the_median_of_the_ratios_of_pairs() -> None:
    """A machine that becomes ten times slower half-way does not change the ratio."""
    times = iter([9.9, *([2.0] * 4), *([20.0] * 5)])
    baselines = iter([9.9, *([1.0] * 4), *([10.0] * 5)])
    ratio = compare("x", lambda: next(times), "y", lambda: next(baselines), rounds=9, limit=2)
    assert ratio.ratio == 2.0
    assert ratio.within_limit


def test_a_warm_up_round_comes_first_and_the_order_in_pairs_alternates() -> None:
    runs: list[str] = []

    def batch(name: str) -> measure.Batch:
        def run() -> float:
            runs.append(name)
            return 1.0

        return run

    compare("x", batch("x"), "baseline", batch("b"), rounds=3)
    assert "".join(runs) == "xb" + "xb" + "bx" + "xb"


def test_what_is_spent_beyond_idle_is_no_number_within_the_noise() -> None:
    assert beyond_idle(5.0, [1.0, 2.0], 0.5) == (3.5, True)
    assert beyond_idle(2.0, [1.0, 2.0], 0.5) == (2.0, False)
    assert beyond_idle(0.5, [1.0, 2.0], 0.5) == (1.5, False)


def test_a_batch_repeats_a_call() -> None:
    calls: list[None] = []
    assert repeat(7, lambda: calls.append(None))() >= 0
    assert len(calls) == 7


@pytest.mark.parametrize(
    ("ratio", "limit", "within_limit"), [(2.0, None, True), (2.0, 2.0, True), (2.01, 2.0, False)]
)
def test_a_ratio_may_be_equal_to_its_limit(
    ratio: float, limit: float | None, within_limit: bool
) -> None:
    assert Ratio("x", "baseline", 1.0, 1.0, ratio, limit).within_limit is within_limit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.0421, "42.1 ms"), (3.4e-6, "3.4 µs"), (98.7e-9, "98.7 ns"), (0.0, "0 ns")],
)
def test_a_time_is_formatted_in_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


def test_a_table_has_aligned_columns() -> None:
    assert format_table([("a", "long"), ("longer", "b")]) == "a       long\n------  ----\nlonger  b"


class TestRunning:
    @pytest.fixture
    def sample_groups(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two groups of benchmarks with fixed results."""

        def fast() -> Iterator[Result]:
            """Within the limit."""
            yield Ratio("quick", "baseline", 2e-6, 1e-6, 2.0, 3.0)
            yield Quantiles("times", (0.001, 0.002))

        def slow() -> Iterator[Result]:
            """Above the limit."""
            yield Ratio("slow", "baseline", 4e-6, 1e-6, 4.0, 3.0)

        load()
        groups = {"good": [fast], "bad": [fast, slow]}
        monkeypatch.setattr("scripts.bench.__main__.BENCHMARKS", groups)

    @pytest.mark.usefixtures("sample_groups")
    def test_exits_with_0_if_every_ratio_is_within_its_limit(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["good"]) == 0
        printed = capsys.readouterr().out
        assert "quick     2 µs   baseline  1 µs   2.00   3      ok" in printed
        assert "times     2  1 ms  2 ms" in printed
        assert "slow" not in printed

    @pytest.mark.usefixtures("sample_groups")
    def test_exits_with_1_if_a_ratio_is_above_its_limit(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([]) == 1
        assert "TOO HIGH" in capsys.readouterr().out

    def test_refuses_a_group_that_does_not_exist(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as exit:
            main(["evaluation", "nothing"])
        assert exit.value.code == 2
        assert "there is no group 'nothing'" in capsys.readouterr().err

    def test_every_group_has_a_command(self) -> None:
        load()
        commands = Path(measure.__file__).parent
        for group in measure.BENCHMARKS:
            checked = subprocess.run(["bash", "-n", commands / group], check=False)
            assert checked.returncode == 0
            assert os.access(commands / group, os.X_OK)

    def test_lists_the_groups(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--list"]) == 0
        assert {"commits", "evaluation", "kill"} <= set(capsys.readouterr().out.split())
