"""The table of the shipped policies is simulated, not written by hand."""

from __future__ import annotations

import re

import pytest

from scripts.policy_table import main


def test_a_row_has_the_hours_of_a_healthy_release_and_the_harm_of_bad_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["hotfix", "--runs", "3", "--traffic", "7", "20000"])
    head, _, row = capsys.readouterr().out.splitlines()
    assert head == "| policy | 7/min | 20,000/min |"
    name, rare, often = (each.strip() for each in row.strip("|").split("|"))
    assert name == "hotfix"
    hours = [
        [float(each) for each in re.findall(r"[\d.]+", cell.split(";")[0])]
        for cell in (rare, often)
    ]
    # max_duration is 30m and 2h, and the bake 15m.
    assert hours[0] == [2.5, pytest.approx(2.8, abs=0.06)]
    assert " T;" in rare
    assert " T;" not in often
    assert hours[1][0] < hours[1][1] < 1.0


def test_an_unknown_policy_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["hotfixx"])
    assert "no shipped policy 'hotfixx'" in capsys.readouterr().err
