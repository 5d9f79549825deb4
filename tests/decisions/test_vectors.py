"""The published numbers of the decision statistics, to six significant digits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tidegate.counts import Counts, StratumCounts
from tidegate.epochs import EpochBlocks, next_epoch, update_epoch
from tidegate.harm_evidence import (
    HarmEvidence,
    epoch_false_alarm,
    harm_limit,
    restart_epoch,
    update_harm_evidence,
)
from tidegate_server.decisions.detectable_ratio import ControlFailures, detectable_ratio
from tidegate_server.decisions.probe import FIRES_AT, Probe, count_retreat, update_probe
from tidegate_server.decisions.safety_evidence import SafetyEvidence, update_safety_evidence
from tidegate_server.decisions.sample_ratio import SampleRatio, update_sample_ratio

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "decisions.json").read_text())


def six_digits(expected: float) -> Any:
    return pytest.approx(expected, rel=5.1e-6, abs=5e-7)


def stratum(row: dict[str, Any], number: int = 1, **values: float) -> StratumCounts:
    """The counts of a row of a vector; ``values`` are those that it leaves out."""
    row = {**values, **row}
    return StratumCounts(
        number,
        row["share"],
        Counts(outcomes=row["n_c"], errors=row.get("f_c", row["e_c"]), failing=row["e_c"]),
        Counts(outcomes=row["n_t"], failing=row["e_t"]),
    )


@pytest.mark.parametrize("row", VECTORS["harm_first_window"], ids=str)
def test_evidence_of_harm_after_the_first_window_of_a_release(row: dict[str, Any]) -> None:
    evidence = update_harm_evidence(
        HarmEvidence(), [stratum(row)], row["ratio"], row["absolute"], new_stage=True
    )

    assert evidence.log_value == six_digits(row["log_evidence"])
    assert math.exp(evidence.log_value) == six_digits(row["evidence"])


def test_evidence_of_harm_and_the_guard_over_three_stages() -> None:
    vector = VECTORS["harm_three_stages"]
    evidence = HarmEvidence()
    limit = harm_limit(vector["false_alarm"], epoch=1)

    for row in vector["windows"]:
        new = row["new_stage"]
        evidence = update_harm_evidence(evidence, [stratum(row)], vector["ratio"], new_stage=new)

        assert evidence.guard.excess == six_digits(row["excess"])
        assert evidence.guard.largest == six_digits(row["largest"])
        assert evidence.guard.information == six_digits(row["information"])
        assert evidence.guard.variance == six_digits(row["variance"])
        assert math.exp(evidence.log_value) == six_digits(row["evidence"])
        assert (evidence.log_value >= math.log(limit)) == row["rollback"]


@pytest.mark.parametrize("kind", ["few", "many"])
def test_the_onset_clock_waits_for_windows_and_for_failures(kind: str) -> None:
    vector = VECTORS["harm_onset_clock"]
    expected = {row["window"]: row for row in vector["windows"]}
    evidence = HarmEvidence()

    for number in range(max(expected) + 1):
        few = (1, number % 2)
        e_c, e_t = few if kind == "few" else (15, 5 if number < 20 else 10)
        row = {"share": vector["share"], "n_c": 1500, "n_t": 500, "e_c": e_c, "e_t": e_t}
        evidence = update_harm_evidence(
            evidence, [stratum(row)], vector["ratio"], new_stage=number == 0
        )
        if number in expected:
            assert math.exp(evidence.log_value) == six_digits(expected[number][kind])
            assert math.exp(evidence.unbet) == six_digits(expected[number][f"{kind}_unbet"])


def test_evidence_of_harm_over_two_strata() -> None:
    vector = VECTORS["harm_two_strata"]
    evidence = HarmEvidence()

    for row in vector["windows"]:
        strata = [stratum(each, number) for number, each in enumerate(row["strata"], start=1)]
        new = row["new_stage"]
        evidence = update_harm_evidence(evidence, strata, vector["ratio"], new_stage=new)

        assert evidence.guard.variance == six_digits(row["variance"])
        assert math.exp(evidence.log_value) == six_digits(row["evidence"])


def test_epochs_end_when_few_users_can_still_fail_for_the_first_time() -> None:
    vector = VECTORS["epochs"]
    evidence, blocks, epoch = HarmEvidence(), EpochBlocks(), 1

    for number, row in enumerate(vector["windows"]):
        fixed = {name: vector[name] for name in ("share", "n_c", "n_t")}
        strata = [stratum(row, **fixed)]
        new = number == 0
        evidence = update_harm_evidence(evidence, strata, vector["ratio"], new_stage=new)
        after = update_epoch(blocks, strata, evidence.log_value)
        if after is None:
            evidence, blocks, epoch = restart_epoch(evidence), next_epoch(blocks), epoch + 1
        else:
            blocks = after

        assert epoch == row["epoch"]
        assert blocks.usual == six_digits(row["usual"] or 0.0)
        assert math.exp(evidence.log_value) == six_digits(row["evidence"])
        assert harm_limit(vector["false_alarm"], epoch=epoch) == six_digits(row["limit"])


def test_evidence_of_safety_over_one_stage() -> None:
    vector = VECTORS["safety"]["one_stage"]
    evidence = SafetyEvidence()

    for row in vector["windows"]:
        strata = [stratum(row, share=vector["share"])]
        evidence = update_safety_evidence(evidence, strata, row["excess"])
        assert_safety(evidence, row)


def test_evidence_of_safety_through_an_outage_of_both_arms() -> None:
    vector = VECTORS["safety"]["outage"]
    expected = {row["window"]: row for row in vector["windows"]}
    evidence = SafetyEvidence()

    for number in range(max(expected) + 1):
        outage = vector["from_window"] <= number <= vector["to_window"]
        failing = {"e_c": 300, "e_t": 100} if outage else {"e_c": 15, "e_t": 5}
        strata = [stratum({"share": vector["share"], "n_c": 1500, "n_t": 500, **failing})]
        evidence = update_safety_evidence(evidence, strata, 0.004)
        if number in expected:
            assert_safety(evidence, expected[number])


def assert_safety(evidence: SafetyEvidence, row: dict[str, Any]) -> None:
    assert evidence.operations == six_digits(row["operations"])
    assert evidence.failures == six_digits(row["failures"])
    assert math.exp(evidence.log_value) == six_digits(row["evidence"])


def test_the_probe() -> None:
    probe = Probe()

    for row in VECTORS["probe"]:
        probe = update_probe(probe, [stratum(row, share=1.0 - row["share_of_control"])])
        fires = probe.excess >= FIRES_AT
        if fires:
            probe = count_retreat(probe)

        assert fires == row["retreat"]
        assert probe.operations == six_digits(row["operations"])
        assert probe.errors == six_digits(row["failures"])
        assert probe.excess == six_digits(row["excess"])


def test_the_sample_ratio() -> None:
    vector = VECTORS["sample_ratio"]
    ratio = SampleRatio()

    for number, row in enumerate(vector["windows"]):
        arms = Counts(sampled=row["control"]), Counts(sampled=row["treatment"])
        strata = [StratumCounts(1, vector["share"], *arms)]
        ratio = update_sample_ratio(ratio, strata, new_visit=number == 0)

        assert ratio.visit == vector["visit"]
        assert ratio.log_evidence == six_digits(row["log_evidence"])
        assert math.log(ratio.limit) == six_digits(row["log_limit"])
        assert ratio.is_broken == row["hold"]


@pytest.mark.parametrize("row", VECTORS["detectable_ratio"], ids=str)
def test_the_detectable_ratio(row: dict[str, Any]) -> None:
    control = [ControlFailures(each["share"], each["failures"]) for each in row["control"]]
    found = detectable_ratio(control, epoch_false_alarm(0.01, epoch=row["epoch"]), row["ratio"])

    if row["detectable_ratio"] is None:
        assert found is None
    else:
        assert found == six_digits(row["detectable_ratio"])
