"""Another policy on a recorded release, compared with what really would have happened."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
from tidegate.counts import NOTHING
from tidegate_server.decisions.decision import Action
from tidegate_server.domain.checks import Check, ClientEvidence, Compare, Metric
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import State
from tidegate_server.domain.release_gates import ApprovalGate, Confirmation
from tidegate_server.errors import Invalid
from tidegate_server.whatif.backtest import Backtest, BacktestRun, recorded_cost
from tidegate_server.whatif.backtest_report import BacktestReport, fit_policy, summarize_runs
from tidegate_server.whatif.recording import Recording, read_recording
from tidegate_server.whatif.simulation import simulate
from tidegate_server.whatif.traffic_model import Constant, TrafficModel

from tests.decisions.random_releases import PLAIN, random_ledger
from tests.decisions.simulated_release import SEGMENT, policy
from tests.ledger.recorded_release import simulate_recording, simulate_with_ledger

RAMP = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, min_samples=100, bake_ms=600_000)
HEALTHY = TrafficModel(Constant(4_000), Constant(0.01), segments={SEGMENT: 0.3})
BAD = replace(HEALTHY, error_ratio=Constant(4.0))


def run_backtests(by: Policy, record: Recording, runs: int = 20) -> list[BacktestRun]:
    fit = fit_policy(by, record)
    results = []
    for seed in range(runs):
        backtest = Backtest(fit, record, random.Random(seed))
        for _ in backtest.windows():
            pass
        results.append(backtest.result())
        if not results[-1].drawn.random:
            break
    return results


def report_on(by: Policy, record: Recording, runs: int = 20) -> BacktestReport:
    return summarize_runs(by, fit_policy(by, record), record, run_backtests(by, record, runs))


class TestTheSamePolicy:
    @pytest.mark.parametrize("model", [HEALTHY, BAD])
    @pytest.mark.parametrize("seed", [1, 2, 3])
    @pytest.mark.parametrize("version", [1, 2])
    def test_decides_exactly_as_recorded(
        self, model: TrafficModel, seed: int, version: int
    ) -> None:
        release = simulate_with_ledger(RAMP, model, seed, statistics=version)
        record = read_recording(release.release, release.ledger)
        [run] = run_backtests(RAMP, record)
        moves = [each.decision for each in release.ledger if each.decision.action != "hold"]

        assert [(move.at_ms, move.action, move.reason) for move in run.moves] == [
            (each.at_ms, each.action, each.reason) for each in moves
        ]
        assert (run.state, run.ended_ms) == (release.release.state, release.release.ended_ms)
        assert run.reached_ms == record.reached_ms
        assert run.cost == recorded_cost(record)
        assert run.drawn.drawn == 0

    @pytest.mark.parametrize(("recorded", "used"), [(1, 2), (2, 1)])
    def test_is_run_under_the_other_version_of_the_statistics(
        self, recorded: int, used: int
    ) -> None:
        release = simulate_with_ledger(RAMP, BAD, statistics=recorded)
        record = read_recording(release.release, release.ledger)
        fit = fit_policy(RAMP, record)
        backtest = Backtest(fit, record, random.Random(1), used)
        for _ in backtest.windows():
            pass
        report = summarize_runs(RAMP, fit, record, [backtest.result()], used)
        same = summarize_runs(RAMP, fit, record, run_backtests(RAMP, record))

        assert (report.statistics, same.statistics) == (used, recorded)
        assert report.example != same.example
        assert f"ran under version {recorded} of the statistics" in report.limits[0]
        assert not any("of the statistics" in each for each in same.limits)

    def test_needs_one_run_and_saves_nothing(self) -> None:
        report = report_on(RAMP, simulate_recording(RAMP, BAD))

        assert (report.runs, report.known) == (1, 1.0)
        assert (report.saved.low, report.saved.high) == (0.0, 0.0)
        assert report.exposed.median == report.was.exposed

    def test_is_run_with_every_check(self) -> None:
        checks = (
            Check(),
            Check(metric=Metric.LATENCY, quantile=0.9),
            Check(metric=Metric.CUSTOM, measure="basket", compare=Compare.ABSOLUTE, threshold=9.0),
            Check(metric=Metric.PROMETHEUS, query="up", compare=Compare.ABSOLUTE, threshold=1.0),
        )
        by = replace(RAMP, checks=checks)
        release = simulate_with_ledger(by, HEALTHY)
        [run] = run_backtests(by, read_recording(release.release, release.ledger))

        assert release.release.state is State.COMPLETED
        assert [move.reason for move in run.moves] == [
            each.decision.reason for each in release.ledger if each.decision.action != "hold"
        ]


class TestOtherPolicies:
    def test_are_predicted_correctly_on_average(self) -> None:
        """Over many records a backtest agrees with simulations of the other policy."""
        other = policy(20, 60, 100, min_samples=100, bake_ms=600_000)
        model = TrafficModel(Constant(4_000), Constant(0.01), Constant(3.0))
        by = policy(40, 100, min_samples=100, bake_ms=10**9)
        slow = replace(by, checks=(Check(false_alarm=1e-12),))
        predicted, simulated = [], []
        for seed in range(15):
            record = simulate_recording(slow, model, seed, max_windows=60)
            results = run_backtests(other, record, 4)
            predicted.append(statistics.fmean(each.cost.exposed for each in results))
            run = simulate(other, model, random.Random(1_000 + seed), max_windows=60)
            simulated.append(float(run.exposed))

        error = math.sqrt(
            statistics.variance(predicted) / len(predicted)
            + statistics.variance(simulated) / len(simulated)
        )
        assert abs(statistics.fmean(predicted) - statistics.fmean(simulated)) < 4 * error

    def test_that_are_bolder_expose_more_users_to_a_bad_release(self) -> None:
        report = report_on(policy(50, 100, min_samples=50), simulate_recording(RAMP, BAD))

        assert report.stopped > 0.5
        assert report.exposed.median > report.was.exposed
        assert report.saved.median < 0
        assert report.known < 1.0

    def test_that_are_more_careful_save_failures(self) -> None:
        by = policy(50, 100, min_samples=50)
        report = report_on(policy(5, 50, 100, min_samples=50), simulate_recording(by, BAD, seed=4))

        assert report.exposed.median < report.was.exposed
        assert report.saved.median > 0

    def test_open_a_healthy_release_at_their_own_speed(self) -> None:
        slow = replace(
            RAMP, stages=tuple(replace(each, min_duration_ms=240_000) for each in RAMP.stages)
        )
        record = simulate_recording(replace(RAMP, bake_ms=1_200_000), HEALTHY)
        report = report_on(slow, record)

        assert [each.runs for each in report.was_stages] == [1.0] * 5
        for was, would in zip(report.was_stages[1:3], report.stages[1:3], strict=True):
            assert was.after_ms is not None
            assert would.after_ms is not None
            assert would.after_ms.median > was.after_ms.median
        assert any("The record ends" in limit for limit in report.limits)

    def test_are_evaluated_at_their_own_interval(self) -> None:
        record = simulate_recording(RAMP, HEALTHY)
        [run, *_] = run_backtests(replace(RAMP, interval_ms=90_000), record, 1)

        assert {(move.at_ms - record.begins_ms) % 90_000 for move in run.moves} == {0}

    def test_count_until_the_end_of_the_record(self) -> None:
        """After the release has ended, everyone gets the treatment or the control."""
        record = simulate_recording(RAMP, HEALTHY)
        quick = policy(50, 100, min_samples=10, bake_ms=30_000)
        [run, *_] = run_backtests(quick, record, 1)

        assert run.state is State.COMPLETED
        assert run.ended_ms is not None
        assert run.ended_ms < record.ends_ms
        assert run.cost.exposed > recorded_cost(record).exposed


class TestLimits:
    def test_checks_without_data_in_the_record_are_left_out(self) -> None:
        by = replace(
            RAMP,
            checks=(
                Check(),
                Check(metric=Metric.LATENCY),
                Check(compare=Compare.BEFORE),
                Check(metric=Metric.PROMETHEUS, query="up", compare=Compare.ABSOLUTE),
            ),
        )
        record = simulate_recording(RAMP, BAD)
        limits = report_on(by, record).limits

        assert fit_policy(by, record).policy.checks == (Check(),)
        assert [limit.split(",")[0] for limit in limits if "left out" in limit] == [
            "Check 2", "Check 3", "Check 4",
        ]  # fmt: skip

    def test_a_policy_whose_checks_have_no_data_is_refused(self) -> None:
        by = replace(RAMP, checks=(Check(metric=Metric.LATENCY),))
        with pytest.raises(Invalid, match="no data for any"):
            fit_policy(by, simulate_recording(RAMP, BAD))

    def test_a_release_without_a_record_is_refused(self) -> None:
        release = simulate_with_ledger(RAMP, BAD, max_windows=0)
        with pytest.raises(Invalid, match="Nothing was recorded"):
            fit_policy(RAMP, read_recording(release.release, []))

    def test_values_from_prometheus_are_used_for_the_same_check(self) -> None:
        query = Check(metric=Metric.PROMETHEUS, query="up", compare=Compare.ABSOLUTE, threshold=1.0)
        by = replace(RAMP, checks=(Check(), query))
        record = simulate_recording(by, HEALTHY)
        other = replace(policy(50, 100, min_samples=50), checks=(query, Check()))
        fit = fit_policy(other, record)
        [run, *_] = run_backtests(other, record, 1)

        assert fit.sources == (1, None)
        assert any(move.action is Action.ADVANCE for move in run.moves)

    def test_recorded_latencies_are_used(self) -> None:
        checks = (Check(metric=Metric.LATENCY, quantile=0.9),)
        record = simulate_recording(
            replace(RAMP, checks=(Check(), *checks)), replace(HEALTHY, latency_ratio=3.0)
        )
        report = report_on(replace(policy(50, 100, min_samples=50), checks=checks), record, 5)

        assert report.stopped == 1.0

    def test_the_share_of_a_segment_that_was_not_counted_is_assumed(self) -> None:
        record = simulate_recording(policy(10, 100, min_samples=100, bake_ms=10**9), HEALTHY)
        by = policy(50, 10, 100, segments={1: ("beta",)}, min_samples=20)
        report = report_on(by, record, 5)

        assert any("did not count beta separately; 5 %" in limit for limit in report.limits)
        assert report.stages[1].runs > 0

    def test_users_who_were_never_opened_are_unknown(self) -> None:
        record = simulate_recording(RAMP, replace(BAD, error_ratio=Constant(20.0)))
        report = report_on(policy(10, 100), record, 5)

        assert any("never opened everyone" in limit for limit in report.limits)

    def test_gates_that_need_people_are_assumed_to_pass(self) -> None:
        first, *rest = RAMP.stages
        by = replace(
            RAMP,
            stages=(replace(first, approval=ApprovalGate()), *rest),
            confirm=(Confirmation("gatekeeper"),),
        )
        report = report_on(by, simulate_recording(RAMP, HEALTHY), 5)

        assert any("assumed to be given at once" in limit for limit in report.limits)
        assert report.stages[1].runs == 1.0

    def test_the_moves_of_people_are_reported_as_ignored(self) -> None:
        ledger = random_ledger(1)
        assert ledger[0].checkpoint is not None
        record = read_recording(ledger[0].checkpoint.release, ledger)
        limits = report_on(PLAIN, record, 2).limits

        assert any("People moved the release" in limit for limit in limits)

    def test_a_ledger_that_begins_late_says_so(self) -> None:
        release = simulate_with_ledger(RAMP, HEALTHY)
        record = read_recording(release.release, release.ledger[5:])
        limits = report_on(RAMP, record, 2).limits

        assert any("The ledger begins" in limit for limit in limits)


class TestClients:
    def record(self, by: Policy) -> Recording:
        """Return the record of a bad release of which only clients report, tried under ``by``."""
        release = simulate_with_ledger(RAMP, BAD)
        ledger = [
            replace(
                each,
                window=replace(
                    each.window,
                    strata=tuple(
                        replace(part, control=NOTHING, treatment=NOTHING)
                        for part in each.window.strata
                    ),
                    client=each.window,
                ),
            )
            for each in release.ledger
        ]
        return read_recording(release.release, ledger, by)

    def test_are_left_out_where_they_decide_nothing(self) -> None:
        report = report_on(RAMP, self.record(RAMP), 2)

        assert any("Clients reported" in limit for limit in report.limits)
        assert report.was.exposed == 0

    def test_count_where_the_policy_lets_them_decide(self) -> None:
        check = replace(RAMP.checks[0], client_evidence=ClientEvidence.DECIDE)
        by = replace(RAMP, checks=(check,))
        [run] = run_backtests(by, self.record(by))
        servers = simulate_with_ledger(RAMP, BAD)

        assert run.ended_ms == servers.release.ended_ms
        assert run.state is State.ROLLED_BACK
