from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.counts import Counts, StratumCounts
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Distribution
from tidegate_server.decisions.probe import MAX_RETREATS, Probe
from tidegate_server.domain.checks import Check, Metric, OnFailure
from tidegate_server.domain.policy import NoData, NoDataAction, Policy
from tidegate_server.domain.release import State

from tests.decisions.simulated_release import SEGMENT, EvaluatedRelease, policy

HEALTHY = (900, 2), (100, 0)
BROKEN = (900, 2), (100, 20)
FULL = (0, 0), (1_000, 2)


def ramp(**changes: object) -> Policy:
    return policy(10, 50, 100, **changes)  # type: ignore[arg-type]


def with_check(by: Policy, **changes: object) -> Policy:
    return replace(by, checks=(replace(by.checks[0], **changes),))  # type: ignore[arg-type]


def baking(**changes: object) -> EvaluatedRelease:
    """A release that reached 100 % after a healthy stage at 50 %."""
    evaluated = EvaluatedRelease(ramp(**changes), stage=2, step=2)
    evaluated.until(Action.ADVANCE, (500, 2), (500, 1))
    assert evaluated.release.state is State.BAKING
    return evaluated


class TestRollback:
    def test_gives_the_evidence_and_the_failing_users_as_its_reason(self) -> None:
        evaluated = EvaluatedRelease(ramp())
        decision = evaluated.window(*BROKEN)

        assert decision.action is Action.ROLLBACK
        assert decision.state is State.ROLLED_BACK
        assert "reached 111: treatment: 20 users failed in 100 operations" in decision.reason
        assert "; control: 2 users failed in 900 operations" in decision.reason
        assert decision.failed_checks == (0,)

    def test_needs_three_failing_treated_users(self) -> None:
        evaluated = EvaluatedRelease(policy(1, 100))
        evaluated.window((99_000, 0), (1_000, 2))

        assert evaluated.last.evidence > evaluated.last.rollback_at
        assert evaluated.last.action is Action.HOLD
        assert evaluated.window((99_000, 0), (1_000, 1)).action is Action.ROLLBACK

    def test_happens_under_a_person_s_pause(self) -> None:
        evaluated = EvaluatedRelease(ramp(), state=State.PAUSED, reason="lunch")

        assert evaluated.window(*BROKEN).action is Action.ROLLBACK

    def test_does_not_happen_under_a_full_stop(self) -> None:
        evaluated = EvaluatedRelease(ramp(), state=State.PAUSED, stopped=True)
        decision = evaluated.window(*BROKEN)

        assert (decision.action, decision.state) == (Action.HOLD, State.PAUSED)
        assert decision.evidence > decision.rollback_at
        assert "full stop by a person" in decision.reason

    def test_does_not_happen_while_the_flag_is_killed(self) -> None:
        evaluated = EvaluatedRelease(ramp(), state=State.KILLED)

        assert evaluated.window(*BROKEN).state is State.KILLED

    def test_comes_before_no_data_and_a_hold(self) -> None:
        evaluated = EvaluatedRelease(ramp(), state=State.HOLDING, resumes_to=State.RUNNING)

        assert evaluated.window(*BROKEN, after_ms=10**9).action is Action.ROLLBACK

    def test_shares_the_budget_between_checks(self) -> None:
        by = ramp()
        both = replace(by, checks=(by.checks[0], replace(by.checks[0], false_alarm=0.02)))
        evaluated = EvaluatedRelease(both)
        decision = evaluated.window(*HEALTHY)

        assert decision.rollback_at == pytest.approx(1_000 / 9)


class TestOtherFailures:
    def test_a_check_may_pause_the_release(self) -> None:
        evaluated = EvaluatedRelease(with_check(ramp(), on_failure=OnFailure.PAUSE))
        decision = evaluated.window(*BROKEN)

        assert (decision.action, decision.state) == (Action.PAUSE, State.PAUSED)
        assert evaluated.window(*BROKEN).action is Action.HOLD

    def test_a_check_that_only_warns_prevents_the_advance_with_a_warning(self) -> None:
        evaluated = EvaluatedRelease(with_check(ramp(), on_failure=OnFailure.WARN))
        decision = evaluated.window(*BROKEN)

        assert (decision.action, decision.state) == (Action.HOLD, State.RUNNING)
        assert "warning: evidence" in decision.reason


class TestAdvance:
    def test_happens_on_evidence_one_stage_at_a_time(self) -> None:
        evaluated = EvaluatedRelease(ramp())
        evaluated.until(Action.ADVANCE, *HEALTHY)

        assert evaluated.release.stage == 2
        assert "evidence of safety" in evaluated.last.reason
        assert evaluated.window((500, 1), (500, 1)).action is Action.HOLD

    def test_waits_for_the_minimum_duration_of_the_stage(self) -> None:
        evaluated = EvaluatedRelease(ramp(min_duration_ms=600_000))

        assert evaluated.until(Action.ADVANCE, *HEALTHY) == 20

    def test_waits_for_samples_in_each_arm(self) -> None:
        evaluated = EvaluatedRelease(ramp(min_samples=2_000))
        evaluated.window(*HEALTHY)
        assert "too few samples, 100 of 2000 outcomes in the treatment arm" in evaluated.last.reason

        assert evaluated.until(Action.ADVANCE, *HEALTHY) == 19

    def test_waits_for_a_second_window(self) -> None:
        evaluated = EvaluatedRelease(ramp())
        decision = evaluated.window((90_000, 100), (10_000, 5))

        assert decision.advance > decision.advance_at
        assert decision.action is Action.HOLD
        assert "1 of 2 windows" in decision.reason

    def test_waits_while_the_evidence_of_harm_is_high(self) -> None:
        evaluated = EvaluatedRelease(ramp())
        evaluated.window(*HEALTHY)
        evaluated.window(*HEALTHY)
        check = evaluated.progress.checks[0]
        suspicious = replace(check, harm=replace(check.harm, bets=(3.0,) * 6))
        evaluated.progress = replace(evaluated.progress, checks=(suspicious,))
        evaluated.window(*HEALTHY)

        assert evaluated.last.action is Action.HOLD
        assert "evidence of harm" in evaluated.last.reason

    def test_never_happens_in_a_window_without_new_outcomes(self) -> None:
        evaluated = EvaluatedRelease(ramp(min_duration_ms=600_000))
        for _ in range(19):
            evaluated.window(*HEALTHY)
        assert evaluated.last.advance > evaluated.last.advance_at
        decision = evaluated.window()

        assert decision.action is Action.HOLD
        assert "no new outcomes" in decision.reason
        assert evaluated.window(*HEALTHY).action is Action.ADVANCE

    def test_never_happens_under_a_person_s_pause(self) -> None:
        evaluated = EvaluatedRelease(ramp(), state=State.PAUSED, reason="lunch")
        for _ in range(50):
            evaluated.window(*HEALTHY)

        assert evaluated.release.stage == 1
        assert "paused: lunch" in evaluated.last.reason
        evaluated.release = replace(evaluated.release, state=State.RUNNING)
        assert evaluated.window(*HEALTHY).action is Action.ADVANCE

    def test_advances_one_stage_after_a_long_gap_which_is_one_window(self) -> None:
        evaluated = EvaluatedRelease(ramp())
        evaluated.window(*HEALTHY)
        decision = evaluated.window((900_000, 900), (100_000, 100), after_ms=10**8)

        assert decision.action is Action.ADVANCE
        assert evaluated.release.stage == 2
        assert evaluated.progress.windows == 2

    def test_counts_samples_only_where_there_is_a_control_group(self) -> None:
        by = policy(100, 5, 100, segments={1: (SEGMENT,)}, min_samples=500)
        evaluated = EvaluatedRelease(by, stage=2, step=2)
        for _ in range(4):
            evaluated.window({2: (1_900, 2)}, {1: (5_000, 5), 2: (100, 0)})

        assert "400 of 500 outcomes in the treatment arm" in evaluated.last.reason


class TestWithoutControl:
    def test_a_segment_at_100_percent_advances_on_time_and_samples(self) -> None:
        by = policy(10, 100, 5, 100, segments={1: (SEGMENT,), 2: (SEGMENT,)}, min_samples=100)
        evaluated = EvaluatedRelease(by, stage=2, step=2, stage_entered_ms=0)

        assert evaluated.until(Action.ADVANCE, (0, 0), (60, 0)) == 2
        assert evaluated.release.stage == 3

    def test_the_probe_retreats_one_stage_and_reopens_the_control_group(self) -> None:
        evaluated = baking(bake_ms=10**9)
        evaluated.until(Action.RETREAT, (0, 0), (1_000, 30))

        assert (evaluated.release.stage, evaluated.release.state) == (2, State.RUNNING)
        assert evaluated.progress.probe.retreats == 1
        assert evaluated.progress.probe.excess == 0.0
        assert "errors rose where no control group is left (treatment: 30 " in evaluated.last.reason
        assert "reopens the control group" in evaluated.last.reason
        assert "retreat 1 of 3" in evaluated.last.reason

    def test_after_a_retreat_the_comparison_decides(self) -> None:
        evaluated = baking(bake_ms=10**9)
        evaluated.until(Action.RETREAT, (0, 0), (1_000, 30))

        assert evaluated.until(Action.ROLLBACK, (500, 2), (500, 15)) < 20

    def test_a_retreat_of_a_paused_release_leaves_it_paused(self) -> None:
        evaluated = baking(bake_ms=10**9)
        evaluated.release = replace(evaluated.release, state=State.PAUSED)
        evaluated.until(Action.RETREAT, (0, 0), (1_000, 30))

        assert (evaluated.release.stage, evaluated.release.state) == (2, State.PAUSED)

    def test_after_three_retreats_the_release_holds_for_a_person(self) -> None:
        evaluated = baking(bake_ms=10**9)
        for _ in range(MAX_RETREATS):
            evaluated.until(Action.RETREAT, (0, 0), (1_000, 30))
            if evaluated.progress.probe.retreats < MAX_RETREATS:
                evaluated.until(Action.ADVANCE, (500, 2), (500, 1))
        for _ in range(30):
            evaluated.window((500, 2), (500, 1))

        assert (evaluated.release.stage, evaluated.release.state) == (2, State.HOLDING)
        assert evaluated.last.reason.startswith(
            "errors rose 3 times where little or no control group was left"
        )
        assert evaluated.until(Action.ROLLBACK, (500, 2), (500, 40)) < 5

    def test_a_person_may_advance_the_release_after_three_retreats(self) -> None:
        evaluated = EvaluatedRelease(
            ramp(bake_ms=60_000), stage=3, step=9, state=State.BAKING, stage_entered_ms=0
        )
        evaluated.progress = replace(
            evaluated.progress,
            probe=Probe(operations=1_000, errors=2, retreats=MAX_RETREATS, seen=True),
        )
        evaluated.window((0, 0), (1_000, 50))
        evaluated.window((0, 0), (1_000, 50))
        assert (evaluated.last.action, evaluated.last.state) == (Action.HOLD, State.HOLDING)

        assert evaluated.until(Action.COMPLETE, (0, 0), (1_000, 0)) < 100

    def test_values_that_rise_without_a_control_group_reopen_it(self) -> None:
        evaluated = self.slow_at_full_traffic()
        fast, slow = ((40, 940), (45, 60)), ((40, 800), (45, 200))
        for _ in range(20):
            full = (Distribution(3, "latency", (), fast),)
            assert evaluated.window(*FULL, distributions=full).action is Action.HOLD
        for _ in range(5):
            full = (Distribution(3, "latency", (), slow),)
            evaluated.window(*FULL, distributions=full)

        assert evaluated.last.action is Action.RETREAT
        assert evaluated.last.reason.startswith("latency p95 against control: far more operations")
        assert evaluated.last.checks[1].bad_windows == 5
        assert (evaluated.release.stage, evaluated.progress.probe.retreats) == (2, 1)
        assert evaluated.progress.checks[1].value_probe.bad_windows == 0

    def test_values_of_a_check_that_only_warns_never_reopen_it(self) -> None:
        evaluated = self.slow_at_full_traffic(on_failure=OnFailure.WARN)
        for _ in range(20):
            full = (Distribution(3, "latency", (), ((45, 1_000),)),)
            assert evaluated.window(*FULL, distributions=full).action is Action.HOLD

        assert evaluated.last.checks[1].bad_windows == 20

    def slow_at_full_traffic(self, **latency: object) -> EvaluatedRelease:
        """A release at 100 % with a check of latency, whose control had 5 % beyond bucket 40."""
        by = ramp(bake_ms=10**9)
        check = Check(metric=Metric.LATENCY, **latency)  # type: ignore[arg-type]
        by = replace(by, checks=(*by.checks, check))
        evaluated = EvaluatedRelease(by, stage=2, step=2)
        values = ((40, 475), (45, 25))
        for _ in range(100):
            both = (Distribution(2, "latency", values, values),)
            if evaluated.window((500, 2), (500, 1), distributions=both).action is Action.ADVANCE:
                break
        assert evaluated.release.stage == 3
        assert evaluated.progress.checks[1].value_probe.cut == 40
        return evaluated

    def test_a_small_holdback_is_watched_by_the_probe_as_well(self) -> None:
        evaluated = EvaluatedRelease(replace(ramp(bake_ms=10**9), holdback=2.0), stage=2, step=2)
        evaluated.until(Action.ADVANCE, (500, 2), (500, 1))
        evaluated.until(Action.RETREAT, (20, 0), (980, 30))

        assert evaluated.release.stage == 2


class TestSplit:
    def test_is_not_checked_when_no_sdk_names_users(self) -> None:
        evaluated = EvaluatedRelease(ramp(min_samples=10**6))
        arms = Counts(900, 900, 2, 2), Counts(100, 100)
        evaluated.window(strata=(StratumCounts(1, 0.1, *arms),))

        assert not evaluated.last.split_checked
        assert evaluated.last.log_imbalance == 0.0
        evaluated.window()
        assert not evaluated.last.split_checked
        evaluated.window(*HEALTHY)
        assert evaluated.last.split_checked

    def test_of_busy_users_is_as_designed_when_the_users_are(self) -> None:
        """Two hundred users of unequal activity made version 1 hold most releases."""
        evaluated = EvaluatedRelease(ramp(min_samples=10**6))
        arms = Counts(900, 900, sampled=180), Counts(9_000, 9_000, sampled=20)
        evaluated.window(strata=(StratumCounts(1, 0.1, *arms),))

        assert evaluated.last.state is State.RUNNING
        assert evaluated.last.log_imbalance < 0.0


class TestCompletion:
    def test_happens_after_a_healthy_bake(self) -> None:
        evaluated = baking(bake_ms=300_000)

        assert evaluated.until(Action.COMPLETE, *FULL) == 10
        assert evaluated.last.state is State.COMPLETED
        assert "after 5 min at 100 %" in evaluated.last.reason

    def test_needs_samples_and_two_windows_with_data(self) -> None:
        evaluated = baking(bake_ms=30_000, min_samples=1_500)
        decision = evaluated.window(*FULL)
        assert decision.action is Action.HOLD
        assert "too few samples, 1000 of 1500" in decision.reason

        assert evaluated.window().action is Action.HOLD
        assert evaluated.window(*FULL).action is Action.COMPLETE

    def test_never_happens_without_data(self) -> None:
        evaluated = baking(bake_ms=60_000)
        for _ in range(60):
            evaluated.window()

        assert evaluated.release.state is State.HOLDING
        assert "no data" in evaluated.last.reason


class TestSilence:
    BY = replace(ramp(min_samples=10**6), no_data=NoData(after_ms=120_000))

    def silent(self, evaluated: EvaluatedRelease, **changes: object) -> str:
        for _ in range(4):
            evaluated.window(**changes)  # type: ignore[arg-type]
        return evaluated.last.reason

    def test_holds_the_release_until_data_arrive_again(self) -> None:
        evaluated = EvaluatedRelease(self.BY)
        evaluated.window(*HEALTHY)
        self.silent(evaluated)
        assert (evaluated.last.action, evaluated.last.state) == (Action.HOLD, State.HOLDING)

        evaluated.window(*HEALTHY)
        assert (evaluated.last.action, evaluated.last.state) == (Action.HOLD, State.RUNNING)

    def test_within_the_allowed_time_changes_nothing(self) -> None:
        evaluated = EvaluatedRelease(self.BY)
        evaluated.window(*HEALTHY)

        assert evaluated.window(after_ms=119_000).state is State.RUNNING

    @pytest.mark.parametrize(
        ("action", "expected", "state"),
        [
            (NoDataAction.PAUSE, Action.PAUSE, State.PAUSED),
            (NoDataAction.ROLLBACK, Action.ROLLBACK, State.ROLLED_BACK),
        ],
    )
    def test_may_pause_or_roll_back_the_release(
        self, action: NoDataAction, expected: Action, state: State
    ) -> None:
        evaluated = EvaluatedRelease(replace(self.BY, no_data=NoData(120_000, action)))
        evaluated.window(*HEALTHY)
        decision = evaluated.window(after_ms=120_000)

        assert (decision.action, decision.state) == (expected, state)

    def test_with_exposures_but_no_outcomes_has_its_own_reason(self) -> None:
        evaluated = EvaluatedRelease(self.BY)
        evaluated.window(*HEALTHY)
        exposed = (StratumCounts(1, 0.1, Counts(exposures=90), Counts(exposures=10)),)

        assert "400 exposures but no outcome for 2 min" in self.silent(evaluated, strata=exposed)

    def test_without_exposures_gives_the_number_of_instances(self) -> None:
        evaluated = EvaluatedRelease(self.BY)
        assert "no exposures for 2 min; 4 instances report" in self.silent(
            evaluated, live_instances=4
        )

    def test_of_all_instances_has_its_own_reason(self) -> None:
        evaluated = EvaluatedRelease(self.BY)
        assert "no SDK instance has reported for 2 min" in self.silent(evaluated, live_instances=0)

    def test_of_one_arm_holds_the_release(self) -> None:
        evaluated = EvaluatedRelease(self.BY)
        for _ in range(5):
            evaluated.window((9, 0), (0, 0))

        assert evaluated.release.state is State.HOLDING
        assert "no treatment operation has ended" in evaluated.last.reason

    def test_is_counted_from_the_moment_when_a_person_resumes(self) -> None:
        evaluated = EvaluatedRelease(replace(self.BY, no_data=NoData(120_000, NoDataAction.PAUSE)))
        self.silent(evaluated)
        assert evaluated.release.state is State.PAUSED
        evaluated.release = replace(
            evaluated.release, state=State.RUNNING, updated_ms=evaluated.progress.evaluated_ms
        )

        assert evaluated.window().state is State.RUNNING

    def test_of_control_before_a_retreat_does_not_hold_the_reopened_stage(self) -> None:
        evaluated = baking(bake_ms=10**9)
        evaluated.release = replace(
            evaluated.release,
            policy=replace(evaluated.release.policy, no_data=NoData(120_000)),
        )
        for _ in range(10):
            evaluated.window(*FULL)
        evaluated.until(Action.RETREAT, (0, 0), (1_000, 40))
        decision = evaluated.window((0, 0), (10, 0))

        assert decision.state is State.RUNNING


def test_a_broken_sample_ratio_holds_the_release_until_it_is_fixed() -> None:
    evaluated = EvaluatedRelease(ramp(min_samples=10**6))
    for _ in range(5):
        evaluated.window((500, 1), (500, 1))
    assert evaluated.last.state is State.HOLDING
    assert (
        "2,500 of 5,000 users of this stage (50 %) had the treatment; the stage opens 10 %"
        in evaluated.last.reason
    )

    for _ in range(3):
        evaluated.window((9_000, 9), (1_000, 1))
    assert evaluated.release.state is State.RUNNING


def test_the_same_inputs_always_give_the_same_decision() -> None:
    assert EvaluatedRelease(ramp()).window(*HEALTHY) == EvaluatedRelease(ramp()).window(*HEALTHY)


def test_the_next_evaluation_is_due_an_interval_later() -> None:
    evaluated = EvaluatedRelease(ramp())
    evaluated.window(*HEALTHY)

    assert evaluated.progress.next_due_ms == 60_000
    assert evaluated.progress.decision == evaluated.last
