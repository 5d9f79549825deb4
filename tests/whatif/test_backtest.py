"""Another policy on a recorded release, held against what really would have happened."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
from tidegate_server.decisions.decision import Action
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import State
from tidegate_server.domain.release_gates import ApprovalGate, Confirmation
from tidegate_server.errors import Invalid
from tidegate_server.whatif.backtest import Backtest, Trial, happened
from tidegate_server.whatif.backtest_report import Hindsight, fit, hindsight
from tidegate_server.whatif.recording import Recording, recording
from tidegate_server.whatif.simulation import simulate
from tidegate_server.whatif.traffic_model import Always, World

from tests.decisions.ramp import SEGMENT, policy
from tests.decisions.random_releases import PLAIN, a_life
from tests.ledger.recorded_release import noted, recorded

RAMP = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, min_samples=100, bake_ms=600_000)
HEALTHY = World(Always(4_000), Always(0.01), segments={SEGMENT: 0.3})
BAD = replace(HEALTHY, times=Always(4.0))


def trials(by: Policy, record: Recording, runs: int = 20) -> list[Trial]:
    fitted = fit(by, record)
    found = []
    for seed in range(runs):
        backtest = Backtest(fitted, record, random.Random(seed))
        for _ in backtest.windows():
            pass
        found.append(backtest.outcome())
        if not found[-1].drawn.thinned:
            break
    return found


def looked_back(by: Policy, record: Recording, runs: int = 20) -> Hindsight:
    return hindsight(by, fit(by, record), record, trials(by, record, runs))


class TestTheSamePolicy:
    @pytest.mark.parametrize("world", [HEALTHY, BAD])
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_would_have_done_exactly_what_it_did(self, world: World, seed: int) -> None:
        release = noted(RAMP, world, seed)
        record = recording(release.release, release.ledger)
        [trial] = trials(RAMP, record)
        moved = [each.decision for each in release.ledger if each.decision.action != "hold"]

        assert [(step.at_ms, step.action, step.reason) for step in trial.steps] == [
            (each.at_ms, each.action, each.reason) for each in moved
        ]
        assert (trial.state, trial.ended_ms) == (release.release.state, release.release.ended_ms)
        assert trial.reached == record.reached
        assert trial.tally == happened(record)
        assert trial.drawn.drawn == 0

    def test_needs_one_run_and_saves_nothing(self) -> None:
        found = looked_back(RAMP, recorded(RAMP, BAD))

        assert (found.runs, found.known) == (1, 1.0)
        assert (found.saved.low, found.saved.high) == (0.0, 0.0)
        assert found.exposed.median == found.was.exposed

    def test_is_followed_through_every_check(self) -> None:
        checks = (
            Check(),
            Check(metric=Metric.LATENCY, quantile=0.9),
            Check(metric=Metric.CUSTOM, measure="basket", compare=Compare.ABSOLUTE, threshold=9.0),
            Check(metric=Metric.PROMETHEUS, query="up", compare=Compare.ABSOLUTE, threshold=1.0),
        )
        by = replace(RAMP, checks=checks)
        release = noted(by, HEALTHY)
        [trial] = trials(by, recording(release.release, release.ledger))

        assert release.release.state is State.COMPLETED
        assert [step.reason for step in trial.steps] == [
            each.decision.reason for each in release.ledger if each.decision.action != "hold"
        ]


class TestOtherPolicies:
    def test_tell_what_they_would_have_done_in_the_same_world(self) -> None:
        """Over many records a backtest is right on average about the other policy."""
        other = policy(20, 60, 100, min_samples=100, bake_ms=600_000)
        world = World(Always(4_000), Always(0.01), Always(3.0))
        by = policy(40, 100, min_samples=100, bake_ms=10**9)
        slow = replace(by, checks=(Check(false_alarm=1e-12),))
        guessed, true = [], []
        for seed in range(15):
            record = recorded(slow, world, seed, most_windows=60)
            found = trials(other, record, 4)
            guessed.append(statistics.fmean(each.tally.exposed for each in found))
            run = simulate(other, world, random.Random(1_000 + seed), most_windows=60)
            true.append(float(run.exposed))

        error = math.sqrt(
            statistics.variance(guessed) / len(guessed) + statistics.variance(true) / len(true)
        )
        assert abs(statistics.fmean(guessed) - statistics.fmean(true)) < 4 * error

    def test_that_are_bolder_cost_more_of_a_bad_release(self) -> None:
        found = looked_back(policy(50, 100, min_samples=50), recorded(RAMP, BAD))

        assert found.stopped > 0.5
        assert found.exposed.median > found.was.exposed
        assert found.saved.median < 0
        assert found.known < 1.0

    def test_that_are_shyer_save_failures(self) -> None:
        by = policy(50, 100, min_samples=50)
        found = looked_back(policy(5, 50, 100, min_samples=50), recorded(by, BAD, seed=4))

        assert found.exposed.median < found.was.exposed
        assert found.saved.median > 0

    def test_open_a_healthy_release_at_their_own_pace(self) -> None:
        slow = replace(
            RAMP, stages=tuple(replace(each, min_duration_ms=240_000) for each in RAMP.stages)
        )
        found = looked_back(slow, recorded(RAMP, HEALTHY))

        assert [each.runs for each in found.was_stages] == [1.0] * 5
        for was, would in zip(found.was_stages[1:4], found.stages[1:4], strict=True):
            assert was.after_ms is not None
            assert would.after_ms is not None
            assert would.after_ms.median > was.after_ms.median
        assert any("The record ends" in limit for limit in found.limits)

    def test_are_evaluated_at_their_own_interval(self) -> None:
        record = recorded(RAMP, HEALTHY)
        [trial, *_] = trials(replace(RAMP, interval_ms=90_000), record, 1)

        assert {(step.at_ms - record.begins_ms) % 90_000 for step in trial.steps} == {0}

    def test_go_on_counting_after_the_release_has_ended(self) -> None:
        """Everyone gets the treatment or the control then, until the record ends."""
        record = recorded(RAMP, HEALTHY)
        quick = policy(50, 100, min_samples=10, bake_ms=30_000)
        [trial, *_] = trials(quick, record, 1)

        assert trial.state is State.COMPLETED
        assert trial.ended_ms is not None
        assert trial.ended_ms < record.ends_ms
        assert trial.tally.exposed > happened(record).exposed


class TestLimits:
    def test_checks_that_the_record_does_not_answer_are_left_out(self) -> None:
        by = replace(
            RAMP,
            checks=(
                Check(),
                Check(metric=Metric.LATENCY),
                Check(compare=Compare.BEFORE),
                Check(metric=Metric.PROMETHEUS, query="up", compare=Compare.ABSOLUTE),
            ),
        )
        record = recorded(RAMP, BAD)
        limits = looked_back(by, record).limits

        assert fit(by, record).policy.checks == (Check(),)
        assert [limit.split(",")[0] for limit in limits if "left out" in limit] == [
            "Check 2", "Check 3", "Check 4",
        ]  # fmt: skip

    def test_a_policy_of_which_nothing_is_answered_is_refused(self) -> None:
        by = replace(RAMP, checks=(Check(metric=Metric.LATENCY),))
        with pytest.raises(Invalid, match="answers none"):
            fit(by, recorded(RAMP, BAD))

    def test_a_release_of_which_nothing_is_recorded_is_refused(self) -> None:
        release = noted(RAMP, BAD, most_windows=0)
        with pytest.raises(Invalid, match="Nothing was recorded"):
            fit(RAMP, recording(release.release, []))

    def test_what_prometheus_said_is_used_for_the_same_question(self) -> None:
        asks = Check(metric=Metric.PROMETHEUS, query="up", compare=Compare.ABSOLUTE, threshold=1.0)
        by = replace(RAMP, checks=(Check(), asks))
        record = recorded(by, HEALTHY)
        other = replace(policy(50, 100, min_samples=50), checks=(asks, Check()))
        fitted = fit(other, record)
        [trial, *_] = trials(other, record, 1)

        assert fitted.sources == (1, None)
        assert any(step.action is Action.ADVANCE for step in trial.steps)

    def test_latencies_are_used_where_there_are_some(self) -> None:
        checks = (Check(metric=Metric.LATENCY, quantile=0.9),)
        record = recorded(replace(RAMP, checks=(Check(), *checks)), replace(HEALTHY, slower=3.0))
        found = looked_back(replace(policy(50, 100, min_samples=50), checks=checks), record, 5)

        assert found.stopped == 1.0

    def test_segments_that_were_not_counted_apart_are_assumed(self) -> None:
        record = recorded(policy(10, 100, min_samples=100, bake_ms=10**9), HEALTHY)
        by = policy(50, 10, 100, segments={1: ("beta",)}, min_samples=20)
        found = looked_back(by, record, 5)

        assert any("Nobody counted beta apart: 5 %" in limit for limit in found.limits)
        assert found.stages[1].runs > 0

    def test_people_who_were_never_opened_are_not_known(self) -> None:
        record = recorded(RAMP, replace(BAD, times=Always(20.0)))
        found = looked_back(policy(10, 100), record, 5)

        assert any("never opened everyone" in limit for limit in found.limits)

    def test_gates_that_need_people_are_taken_to_be_passed(self) -> None:
        first, *rest = RAMP.stages
        by = replace(
            RAMP,
            stages=(replace(first, approval=ApprovalGate()), *rest),
            confirm=(Confirmation("gatekeeper"),),
        )
        found = looked_back(by, recorded(RAMP, HEALTHY), 5)

        assert any("taken to be given at once" in limit for limit in found.limits)
        assert found.stages[1].runs == 1.0

    def test_what_people_did_is_said_not_to_be_repeated(self) -> None:
        ledger = a_life(1)
        assert ledger[0].checkpoint is not None
        record = recording(ledger[0].checkpoint.release, ledger)
        limits = looked_back(PLAIN, record, 2).limits

        assert any("What people did to the release" in limit for limit in limits)

    def test_a_ledger_that_begins_late_says_so(self) -> None:
        release = noted(RAMP, HEALTHY)
        record = recording(release.release, release.ledger[5:])
        limits = looked_back(RAMP, record, 2).limits

        assert any("The ledger begins" in limit for limit in limits)
