"""The published numbers of the decision statistics, to six significant digits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tidegate.counts import Counts, StratumCounts
from tidegate_server.decisions.version_1.harm_evidence import (
    Mixture,
    VarianceGuard,
    add_increments,
    begin_bets,
    increments,
    log_value,
    onset_mass,
    update_guard,
)
from tidegate_server.decisions.version_1.safety_evidence import (
    SafetyEvidence,
    update_safety_evidence,
)

FOLDER = Path(__file__).parents[2] / "vectors"
VECTORS = json.loads((FOLDER / "decisions_version_1.json").read_text())


def six_digits(expected: float) -> Any:
    return pytest.approx(expected, rel=5.1e-6, abs=5e-7)


def counts(row: dict[str, Any], share: float, **changes: int) -> list[StratumCounts]:
    n_c, e_c, n_t, e_t = ({**row, **changes}[name] for name in ("n_c", "e_c", "n_t", "e_t"))
    return [
        StratumCounts(
            1, share, Counts(outcomes=n_c, failing=e_c), Counts(outcomes=n_t, failing=e_t)
        )
    ]


class Run:
    """E over successive windows, wired as an evaluation wires it."""

    def __init__(self) -> None:
        self.mixture = Mixture()
        self.guard = VarianceGuard()
        self.age = -1

    def window(self, strata: list[StratumCounts], *, new_stage: bool = False) -> float:
        first = not self.mixture.bets
        self.age = 0 if first or new_stage else self.age + 1
        mass = onset_mass(self.age, first=first, new_stage=new_stage)
        guard = update_guard(self.guard, strata, new_stage=new_stage)
        self.mixture = add_increments(
            begin_bets(self.mixture, mass),
            increments(strata, 1.0, 0.0),
            self.guard.factor,
            guard.factor,
        )
        self.guard = guard
        return math.exp(log_value(self.mixture))


@pytest.mark.parametrize("row", VECTORS["first_window"], ids=str)
def test_evidence_after_the_first_window_of_a_release(row: dict[str, Any]) -> None:
    strata = counts(row, row["share"])
    mixture = add_increments(
        begin_bets(Mixture(), onset_mass(0, first=True, new_stage=True)),
        increments(strata, row["ratio"], row["absolute"]),
        1.0,
        1.0,
    )

    assert log_value(mixture) == six_digits(row["log_evidence"])
    assert math.exp(log_value(mixture)) == six_digits(row["evidence"])


def test_evidence_and_overdispersion_over_three_stages() -> None:
    run = Run()
    limit = 1.0 / VECTORS["three_stages"]["false_alarm"]

    for row in VECTORS["three_stages"]["windows"]:
        evidence = run.window(counts(row, row["share"]), new_stage=row["new_stage"])

        assert evidence == six_digits(row["evidence"])
        assert run.guard.factor == six_digits(row["overdispersion"])
        assert (evidence >= limit) == row["rollback"]


@pytest.mark.parametrize("kind", ["harmless", "bad"])
def test_evidence_of_a_regression_that_begins_within_a_stage(kind: str) -> None:
    vector = VECTORS["onsets_within_a_stage"]
    expected = {row["window"]: row[kind] for row in vector["windows"]}
    run = Run()

    for number in range(max(expected) + 1):
        bad = kind == "bad" and number >= vector["bad_from_window"]
        failed = vector["e_t_bad"] if bad else vector["e_t_harmless"]
        evidence = run.window(counts(vector, vector["share"], e_t=failed))
        if number in expected:
            assert evidence == six_digits(expected[number]), f"window {number}"


def test_evidence_of_safety_over_one_stage() -> None:
    advance = SafetyEvidence()

    for row in VECTORS["advance"]["windows"]:
        advance = update_safety_evidence(advance, counts(row, 0.5), row["allowed_excess"])
        assert math.exp(advance.log_value) == six_digits(row["advance"])
