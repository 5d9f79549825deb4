"""Checks of one value against a limit, by their effect on a release."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.counts import Counts, StratumCounts
from tidegate.model import Tolerance
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Distribution, Measured
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure, Operator
from tidegate_server.domain.policy import MINUTE
from tidegate_server.domain.release import State

from tests.decisions.ramp import Followed, policy

LIMIT = Check(
    compare=Compare.ABSOLUTE, threshold=0.02, window_ms=MINUTE, failure_limit=2, error_limit=1
)
GOOD = (900, 9), (100, 1)
BAD = (900, 9), (100, 5)


def under(*checks: Check, **changes: object) -> Followed:
    by = replace(policy(10, 50, 100, min_samples=0), checks=checks)
    return Followed(by, **changes)


class TestAbsolute:
    def test_fails_after_more_breaches_in_a_row_than_are_tolerated(self) -> None:
        followed = under(LIMIT)
        assert [followed.window(*BAD).action for _ in range(3)] == [
            Action.HOLD,
            Action.HOLD,
            Action.ROLLBACK,
        ]
        assert followed.last.reason == (
            "error rate <= 0.02: 0.05, must be <= 0.02; failed 3 times in a row (2 allowed)"
        )

    def test_a_healthy_value_in_between_begins_the_count_anew(self) -> None:
        by = policy(10, 100, min_samples=10**9)
        followed = Followed(replace(by, checks=(replace(LIMIT, window_ms=30_000),)))
        for _ in range(5):
            followed.window(*BAD)
            followed.window(*BAD)
            followed.window(*GOOD)
        assert followed.release.state is State.RUNNING

    def test_looks_back_over_its_window(self) -> None:
        followed = under(replace(LIMIT, window_ms=10 * MINUTE))
        for _ in range(10):
            followed.window((900, 9), (300, 0))
        followed.window(*BAD)
        assert followed.last.checks[0].value == pytest.approx(5 / 3_100)

    def test_does_not_advance_without_a_fresh_healthy_value(self) -> None:
        followed = under(LIMIT)
        followed.window((10, 0), (0, 0))
        followed.window((10, 0), (0, 0))
        followed.window((10, 0), (0, 0))
        assert followed.release.stage == 1
        assert "error rate <= 0.02: no value yet" in followed.last.reason

    def test_advances_by_itself_when_it_is_all_there_is(self) -> None:
        followed = under(LIMIT)
        assert followed.until(Action.ADVANCE, *GOOD) == 2
        assert "every check passes" in followed.last.reason

    def test_may_warn_or_pause_instead(self) -> None:
        pausing = under(replace(LIMIT, on_failure=OnFailure.PAUSE))
        assert pausing.until(Action.PAUSE, *BAD) == 3
        warning = under(replace(LIMIT, on_failure=OnFailure.WARN))
        for _ in range(4):
            warning.window(*BAD)
        assert warning.release.state is State.RUNNING
        assert "warning: error rate <= 0.02" in warning.last.reason

    def test_a_quantile_of_a_latency_is_held_against_its_limit(self) -> None:
        check = Check(
            metric=Metric.LATENCY,
            compare=Compare.ABSOLUTE,
            quantile=0.5,
            threshold=0.25,
            failure_limit=0,
        )
        followed = under(check)
        fast, slow = ((142, 100),), ((150, 100),)  # up to 0.20 s, up to 0.41 s
        followed.window(*GOOD, distributions=(Distribution(1, "latency", fast, fast),))
        assert followed.last.checks[0].value == pytest.approx(0.2022, rel=0.02)
        followed.window(
            *GOOD, after_ms=5 * MINUTE, distributions=(Distribution(1, "latency", fast, slow),)
        )
        assert followed.last.action is Action.ROLLBACK

    def test_watches_a_first_stage_that_leaves_no_control_group(self) -> None:
        """E grows by ln g per failing user and falls by n p (g - 1): section 5 by hand."""
        by = replace(policy(100, bake_ms=60_000), checks=(replace(LIMIT, failure_limit=1_000),))
        followed = Followed(by)
        decision = followed.window((0, 0), (1_000, 120))
        # The bet on ten times the limit loses most; the one on three times wins:
        # 120 ln 3 - 1000 * 0.02 * 2 = 91.8, so E is beyond any threshold.
        assert decision.action is Action.ROLLBACK
        assert decision.checks[0].log_evidence > 80


class TestBefore:
    CHECK = Check(
        compare=Compare.BEFORE, tolerance=Tolerance(relative=0.5), failure_limit=0, window_ms=MINUTE
    )

    def drafted(self, check: Check) -> Followed:
        followed = under(check, state=State.DRAFT, closed=True)
        followed.window({0: (1_000, 10)})
        followed.window({0: (1_000, 10)})
        followed.release = machine.begin(followed.release, 120_000, "go")
        return followed

    def test_holds_the_treatment_against_what_the_draft_measured(self) -> None:
        followed = self.drafted(self.CHECK)
        followed.window((900, 9), (1_000, 14))
        assert followed.last.checks[0].limit == pytest.approx(0.015)
        assert followed.last.action is Action.HOLD
        assert followed.window((900, 9), (1_000, 40)).action is Action.ROLLBACK

    def test_cannot_pass_when_nothing_was_measured(self) -> None:
        followed = under(replace(self.CHECK, error_limit=1))
        followed.window(*GOOD)
        followed.window(*GOOD)
        assert followed.release.state is State.HOLDING
        assert "nothing was measured before the release began" in followed.last.reason

    def test_knows_distributions_too(self) -> None:
        check = replace(self.CHECK, metric=Metric.LATENCY, quantile=0.5)
        followed = under(check, state=State.DRAFT, closed=True)
        measured = Distribution(0, "latency", ((100, 100),), ())
        followed.window({0: (100, 0)}, distributions=(measured,))
        followed.release = machine.begin(followed.release, 120_000, "go")
        same = Distribution(1, "latency", ((100, 90),), ((100, 10),))
        followed.window((90, 0), (10, 0), distributions=(same,))
        assert followed.last.checks[0].value is not None
        assert followed.last.checks[0].limit == pytest.approx(1.5 * followed.last.checks[0].value)
        slower = Distribution(1, "latency", ((100, 90),), ((110, 100),))
        followed.window((90, 0), (100, 0), distributions=(slower,))
        assert followed.last.action is Action.ROLLBACK


class TestOutside:
    CHECK = Check(
        metric=Metric.PROMETHEUS,
        compare=Compare.ABSOLUTE,
        query="q",
        threshold=10.0,
        operator=Operator.BELOW,
        failure_limit=1,
        error_limit=1,
    )

    def said(self, followed: Followed, *measured: Measured) -> Action:
        return followed.window(*GOOD, measured=measured).action

    def test_a_value_beyond_the_limit_fails_after_what_is_tolerated(self) -> None:
        followed = under(self.CHECK)
        assert self.said(followed, Measured(0, "treatment", 10.0)) is Action.HOLD
        assert self.said(followed, Measured(0, "treatment", 10.0)) is Action.ROLLBACK

    def test_an_unreadable_source_never_passes_and_holds_in_the_end(self) -> None:
        followed = under(self.CHECK)
        for _ in range(2):
            self.said(followed, Measured(0, "treatment", None, "the query gives nothing"))
        assert followed.last.state is State.HOLDING
        assert followed.last.reason == (
            "prometheus < 10 cannot be read: the query gives nothing, 2 times in a row (1 allowed)"
        )
        self.said(followed, Measured(0, "treatment", 1.0))
        assert followed.release.state is State.RUNNING

    def test_an_unreadable_source_forgives_no_breach(self) -> None:
        followed = under(self.CHECK)
        self.said(followed, Measured(0, "treatment", 11.0))
        self.said(followed, Measured(0, "treatment", None, "away"))
        assert self.said(followed, Measured(0, "treatment", 11.0)) is Action.ROLLBACK

    @pytest.mark.parametrize("compare", [Compare.CONTROL, Compare.BEFORE])
    def test_another_value_of_the_same_query_makes_the_limit(self, compare: Compare) -> None:
        check = replace(
            self.CHECK, compare=compare, tolerance=Tolerance(0.1, 5.0), operator=Operator.AT_MOST
        )
        followed = under(check)
        base = Measured(0, str(compare), 100.0)
        self.said(followed, Measured(0, "treatment", 115.0), base)
        assert followed.last.checks[0].limit == pytest.approx(115.0)
        assert followed.last.checks[0].breaches == 0
        self.said(followed, Measured(0, "treatment", 115.1), base)
        assert followed.last.checks[0].breaches == 1

    def test_small_values_are_bad_where_the_operator_says_so(self) -> None:
        check = replace(
            self.CHECK,
            compare=Compare.CONTROL,
            tolerance=Tolerance(0.1, 0.0),
            operator=Operator.AT_LEAST,
        )
        followed = under(check)
        self.said(followed, Measured(0, "treatment", 89.0), Measured(0, "control", 100.0))
        assert followed.last.checks[0].limit == pytest.approx(90.0)
        assert followed.last.checks[0].breaches == 1


class TestLostInstances:
    def test_hold_a_release_that_may_be_crashing_them(self) -> None:
        followed = Followed(policy(10, 50, 100))
        for _ in range(2):
            followed.window(*GOOD, live_instances=7, lost_instances=3)
        assert followed.last.state is State.HOLDING
        assert "3 of 10 SDK instances stopped reporting" in followed.last.reason
        followed.window(*GOOD, live_instances=10)
        assert followed.release.state is State.RUNNING

    def test_a_few_or_a_moment_are_no_reason(self) -> None:
        followed = Followed(policy(10, 50, 100, min_samples=10**9))
        for _ in range(5):
            followed.window(*GOOD, live_instances=95, lost_instances=5)
            followed.window(*GOOD, live_instances=0, lost_instances=10)
        assert followed.release.state is State.RUNNING

    def test_do_not_keep_a_rollback_from_happening(self) -> None:
        followed = Followed(policy(10, 50, 100))
        decision = followed.window((900, 2), (100, 30), live_instances=0, lost_instances=10)
        assert decision.action is Action.ROLLBACK


def test_a_stratum_without_a_treated_operation_is_no_value() -> None:
    followed = under(LIMIT)
    stratum = StratumCounts(1, 0.1, Counts(10, 10, 0, 0), Counts())
    assert stratum.compared
    followed.window((10, 0), (0, 0))
    assert followed.last.checks[0].value is None
