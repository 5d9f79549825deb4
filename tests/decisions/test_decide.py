from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.counts import Counts, StratumCounts
from tidegate.harm_evidence import Mixture
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.probe import MOST_RETREATS, Probe
from tidegate_server.domain.checks import OnFailure
from tidegate_server.domain.policy import NoData, NoDataAction, Policy
from tidegate_server.domain.release import State

from tests.decisions.ramp import SEGMENT, Followed, policy

HEALTHY = (900, 2), (100, 0)
BROKEN = (900, 2), (100, 20)
FULL = (0, 0), (1_000, 2)


def ramp(**changes: object) -> Policy:
    return policy(10, 50, 100, **changes)  # type: ignore[arg-type]


def with_check(by: Policy, **changes: object) -> Policy:
    return replace(by, checks=(replace(by.checks[0], **changes),))  # type: ignore[arg-type]


def baking(**changes: object) -> Followed:
    """A release that reached 100 % after a healthy stage at 50 %."""
    followed = Followed(ramp(**changes), stage=2, step=2)
    followed.until(Action.ADVANCE, (500, 2), (500, 1))
    assert followed.release.state is State.BAKING
    return followed


class TestRollback:
    def test_says_the_evidence_and_who_failed(self) -> None:
        followed = Followed(ramp())
        decision = followed.window(*BROKEN)

        assert decision.action is Action.ROLLBACK
        assert decision.state is State.ROLLED_BACK
        assert "reached 200: 20 treated users failed in 100 operations" in decision.reason
        assert "against 2 control users failed in 900 operations" in decision.reason
        assert decision.failed_checks == (0,)

    def test_needs_three_failing_treated_users(self) -> None:
        followed = Followed(policy(1, 100))
        followed.window((99_000, 0), (1_000, 2))

        assert followed.last.evidence > followed.last.rollback_at
        assert followed.last.action is Action.HOLD
        assert followed.window((99_000, 0), (1_000, 1)).action is Action.ROLLBACK

    def test_fires_under_a_person_s_pause(self) -> None:
        followed = Followed(ramp(), state=State.PAUSED, reason="lunch")

        assert followed.window(*BROKEN).action is Action.ROLLBACK

    def test_does_not_fire_under_a_person_s_full_stop(self) -> None:
        followed = Followed(ramp(), state=State.PAUSED, stopped=True)
        decision = followed.window(*BROKEN)

        assert (decision.action, decision.state) == (Action.HOLD, State.PAUSED)
        assert decision.evidence > decision.rollback_at
        assert "full stop by a person" in decision.reason

    def test_does_not_fire_while_the_flag_is_killed(self) -> None:
        followed = Followed(ramp(), state=State.KILLED)

        assert followed.window(*BROKEN).state is State.KILLED

    def test_comes_before_no_data_and_a_hold(self) -> None:
        followed = Followed(ramp(), state=State.HOLDING, resumes_to=State.RUNNING)

        assert followed.window(*BROKEN, after_ms=10**9).action is Action.ROLLBACK

    def test_shares_the_budget_between_checks(self) -> None:
        by = ramp()
        both = replace(by, checks=(by.checks[0], replace(by.checks[0], false_alarm=0.02)))
        followed = Followed(both)
        decision = followed.window(*HEALTHY)

        assert decision.rollback_at == pytest.approx(200.0)


class TestOtherFailures:
    def test_a_check_may_ask_for_a_pause(self) -> None:
        followed = Followed(with_check(ramp(), on_failure=OnFailure.PAUSE))
        decision = followed.window(*BROKEN)

        assert (decision.action, decision.state) == (Action.PAUSE, State.PAUSED)
        assert followed.window(*BROKEN).action is Action.HOLD

    def test_a_check_that_only_warns_holds_and_says_so(self) -> None:
        followed = Followed(with_check(ramp(), on_failure=OnFailure.WARN))
        decision = followed.window(*BROKEN)

        assert (decision.action, decision.state) == (Action.HOLD, State.RUNNING)
        assert "warning: evidence" in decision.reason


class TestAdvance:
    def test_happens_on_evidence_one_stage_at_a_time(self) -> None:
        followed = Followed(ramp())
        followed.until(Action.ADVANCE, *HEALTHY)

        assert followed.release.stage == 2
        assert "evidence of safety" in followed.last.reason
        assert followed.window((500, 1), (500, 1)).action is Action.HOLD

    def test_waits_for_the_stage_s_time(self) -> None:
        followed = Followed(ramp(min_duration_ms=600_000))

        assert followed.until(Action.ADVANCE, *HEALTHY) == 20

    def test_waits_for_samples_in_each_arm(self) -> None:
        followed = Followed(ramp(min_samples=2_000))
        followed.window(*HEALTHY)
        assert "too few samples, 100 of 2000 outcomes in the treatment arm" in followed.last.reason

        assert followed.until(Action.ADVANCE, *HEALTHY) == 19

    def test_waits_for_a_second_window(self) -> None:
        followed = Followed(ramp())
        decision = followed.window((90_000, 100), (10_000, 5))

        assert decision.advance > decision.advance_at
        assert decision.action is Action.HOLD
        assert "1 of 2 windows" in decision.reason

    def test_waits_while_the_evidence_against_it_is_high(self) -> None:
        followed = Followed(ramp())
        followed.window(*HEALTHY)
        followed.window(*HEALTHY)
        check = followed.progress.checks[0]
        suspicious = replace(check, evidence=Mixture(check.evidence.remaining, (3.0,) * 4))
        followed.progress = replace(followed.progress, checks=(suspicious,))
        followed.window(*HEALTHY)

        assert followed.last.action is Action.HOLD
        assert "evidence of harm" in followed.last.reason

    def test_never_happens_in_a_window_without_new_outcomes(self) -> None:
        followed = Followed(ramp(min_duration_ms=600_000))
        for _ in range(19):
            followed.window(*HEALTHY)
        assert followed.last.advance > followed.last.advance_at
        decision = followed.window()

        assert decision.action is Action.HOLD
        assert "no new outcomes" in decision.reason
        assert followed.window(*HEALTHY).action is Action.ADVANCE

    def test_never_happens_under_a_person_s_pause(self) -> None:
        followed = Followed(ramp(), state=State.PAUSED, reason="lunch")
        for _ in range(50):
            followed.window(*HEALTHY)

        assert followed.release.stage == 1
        assert "paused: lunch" in followed.last.reason
        followed.release = replace(followed.release, state=State.RUNNING)
        assert followed.window(*HEALTHY).action is Action.ADVANCE

    def test_moves_one_stage_after_a_long_gap_which_is_one_window(self) -> None:
        followed = Followed(ramp())
        followed.window(*HEALTHY)
        decision = followed.window((900_000, 900), (100_000, 100), after_ms=10**8)

        assert decision.action is Action.ADVANCE
        assert followed.release.stage == 2
        assert followed.progress.windows == 2

    def test_counts_samples_only_where_there_is_a_control_group(self) -> None:
        by = policy(100, 5, 100, segments={1: (SEGMENT,)}, min_samples=500)
        followed = Followed(by, stage=2, step=2)
        for _ in range(4):
            followed.window({2: (1_900, 2)}, {1: (5_000, 5), 2: (100, 0)})

        assert "400 of 500 outcomes in the treatment arm" in followed.last.reason


class TestWithoutControl:
    def test_a_whole_segment_advances_on_time_and_samples(self) -> None:
        by = policy(10, 100, 5, 100, segments={1: (SEGMENT,), 2: (SEGMENT,)}, min_samples=100)
        followed = Followed(by, stage=2, step=2, stage_entered_ms=0)

        assert followed.until(Action.ADVANCE, (0, 0), (60, 0)) == 2
        assert followed.release.stage == 3

    def test_the_probe_goes_back_a_stage_and_reopens_the_control_group(self) -> None:
        followed = baking(bake_ms=10**9)
        followed.until(Action.RETREAT, (0, 0), (1_000, 30))

        assert (followed.release.stage, followed.release.state) == (2, State.RUNNING)
        assert followed.progress.probe.retreats == 1
        assert followed.progress.probe.excess == 0.0
        assert "errors rose at 100 %: 30 treated users failed in 1000" in followed.last.reason
        assert "reopens the control group" in followed.last.reason
        assert "retreat 1 of 3" in followed.last.reason

    def test_a_retreat_lets_the_comparison_decide(self) -> None:
        followed = baking(bake_ms=10**9)
        followed.until(Action.RETREAT, (0, 0), (1_000, 30))

        assert followed.until(Action.ROLLBACK, (500, 2), (500, 15)) < 20

    def test_a_retreat_of_a_paused_release_leaves_it_paused(self) -> None:
        followed = baking(bake_ms=10**9)
        followed.release = replace(followed.release, state=State.PAUSED)
        followed.until(Action.RETREAT, (0, 0), (1_000, 30))

        assert (followed.release.stage, followed.release.state) == (2, State.PAUSED)

    def test_after_three_retreats_it_stays_and_asks_a_person(self) -> None:
        followed = baking(bake_ms=10**9)
        for _ in range(MOST_RETREATS):
            followed.until(Action.RETREAT, (0, 0), (1_000, 30))
            if followed.progress.probe.retreats < MOST_RETREATS:
                followed.until(Action.ADVANCE, (500, 2), (500, 1))
        for _ in range(30):
            followed.window((500, 2), (500, 1))

        assert (followed.release.stage, followed.release.state) == (2, State.HOLDING)
        assert followed.last.reason.startswith(
            "errors rise at 100 %, but the comparison with a control group finds them tolerable"
        )
        assert followed.until(Action.ROLLBACK, (500, 2), (500, 40)) < 5

    def test_a_person_who_advances_past_three_retreats_is_followed(self) -> None:
        followed = Followed(
            ramp(bake_ms=60_000), stage=3, step=9, state=State.BAKING, stage_entered_ms=0
        )
        followed.progress = replace(
            followed.progress,
            probe=Probe(operations=1_000, errors=2, retreats=MOST_RETREATS, seen=True),
        )
        followed.window((0, 0), (1_000, 50))
        followed.window((0, 0), (1_000, 50))
        assert (followed.last.action, followed.last.state) == (Action.HOLD, State.HOLDING)

        assert followed.until(Action.COMPLETE, (0, 0), (1_000, 0)) < 100


class TestCompletion:
    def test_comes_when_the_bake_is_over_and_healthy(self) -> None:
        followed = baking(bake_ms=300_000)

        assert followed.until(Action.COMPLETE, *FULL) == 10
        assert followed.last.state is State.COMPLETED
        assert "healthy for 5 min at 100 %" in followed.last.reason

    def test_needs_samples_and_two_windows_with_data(self) -> None:
        followed = baking(bake_ms=30_000, min_samples=1_500)
        decision = followed.window(*FULL)
        assert decision.action is Action.HOLD
        assert decision.reason.startswith("baking: too few samples, 1000 of 1500")

        assert followed.window().action is Action.HOLD
        assert followed.window(*FULL).action is Action.COMPLETE

    def test_never_comes_in_silence(self) -> None:
        followed = baking(bake_ms=60_000)
        for _ in range(60):
            followed.window()

        assert followed.release.state is State.HOLDING
        assert "no data" in followed.last.reason


class TestSilence:
    BY = replace(ramp(min_samples=10**6), no_data=NoData(after_ms=120_000))

    def silent(self, followed: Followed, **changes: object) -> str:
        for _ in range(4):
            followed.window(**changes)  # type: ignore[arg-type]
        return followed.last.reason

    def test_holds_and_goes_on_when_data_flow_again(self) -> None:
        followed = Followed(self.BY)
        followed.window(*HEALTHY)
        self.silent(followed)
        assert (followed.last.action, followed.last.state) == (Action.HOLD, State.HOLDING)

        followed.window(*HEALTHY)
        assert (followed.last.action, followed.last.state) == (Action.HOLD, State.RUNNING)

    def test_before_it_is_too_long_is_only_waited_for(self) -> None:
        followed = Followed(self.BY)
        followed.window(*HEALTHY)

        assert followed.window(after_ms=119_000).state is State.RUNNING

    @pytest.mark.parametrize(
        ("action", "expected", "state"),
        [
            (NoDataAction.PAUSE, Action.PAUSE, State.PAUSED),
            (NoDataAction.ROLLBACK, Action.ROLLBACK, State.ROLLED_BACK),
        ],
    )
    def test_may_ask_for_more(self, action: NoDataAction, expected: Action, state: State) -> None:
        followed = Followed(replace(self.BY, no_data=NoData(120_000, action)))
        followed.window(*HEALTHY)
        decision = followed.window(after_ms=120_000)

        assert (decision.action, decision.state) == (expected, state)

    def test_of_exposures_without_outcomes_is_told_apart(self) -> None:
        followed = Followed(self.BY)
        followed.window(*HEALTHY)
        exposed = (StratumCounts(1, 0.1, Counts(exposures=90), Counts(exposures=10)),)

        assert "400 exposures but no outcome for 2 min" in self.silent(followed, strata=exposed)

    def test_of_nobody_exposed_names_who_reports(self) -> None:
        followed = Followed(self.BY)
        assert "no exposures for 2 min; 4 instances report" in self.silent(
            followed, live_instances=4
        )

    def test_of_every_instance_is_told_apart(self) -> None:
        followed = Followed(self.BY)
        assert "no SDK instance has reported for 2 min" in self.silent(followed, live_instances=0)

    def test_of_one_arm_holds(self) -> None:
        followed = Followed(self.BY)
        for _ in range(5):
            followed.window((9, 0), (0, 0))

        assert followed.release.state is State.HOLDING
        assert "no treated operation has ended" in followed.last.reason

    def test_begins_anew_when_a_person_resumes(self) -> None:
        followed = Followed(replace(self.BY, no_data=NoData(120_000, NoDataAction.PAUSE)))
        self.silent(followed)
        assert followed.release.state is State.PAUSED
        followed.release = replace(
            followed.release, state=State.RUNNING, updated_ms=followed.progress.evaluated_ms
        )

        assert followed.window().state is State.RUNNING

    def test_of_control_before_a_retreat_does_not_hold_the_reopened_stage(self) -> None:
        followed = baking(bake_ms=10**9)
        followed.release = replace(
            followed.release,
            policy=replace(followed.release.policy, no_data=NoData(120_000)),
        )
        for _ in range(10):
            followed.window(*FULL)
        followed.until(Action.RETREAT, (0, 0), (1_000, 40))
        decision = followed.window((0, 0), (10, 0))

        assert decision.state is State.RUNNING


def test_a_broken_split_holds_until_it_is_mended() -> None:
    followed = Followed(ramp(min_samples=10**6))
    for _ in range(5):
        followed.window((500, 1), (500, 1))
    assert followed.last.state is State.HOLDING
    assert "2500 of 5000 operations (50 %) were treated, by design 10 %" in (followed.last.reason)

    for _ in range(3):
        followed.window((9_000, 9), (1_000, 1))
    assert followed.release.state is State.RUNNING


def test_the_same_inputs_always_give_the_same_decision() -> None:
    assert Followed(ramp()).window(*HEALTHY) == Followed(ramp()).window(*HEALTHY)


def test_the_next_evaluation_is_due_an_interval_later() -> None:
    followed = Followed(ramp())
    followed.window(*HEALTHY)

    assert followed.progress.next_due_ms == 60_000
    assert followed.progress.decision == followed.last
