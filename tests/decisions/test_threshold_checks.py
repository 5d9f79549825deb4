"""Threshold checks, by their effect on a release."""

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

from tests.decisions.simulated_release import EvaluatedRelease, policy

LIMIT = Check(
    compare=Compare.ABSOLUTE, threshold=0.02, window_ms=MINUTE, failure_limit=2, error_limit=1
)
GOOD = (900, 9), (100, 1)
BAD = (900, 9), (100, 5)


def release_with(*checks: Check, **changes: object) -> EvaluatedRelease:
    by = replace(policy(10, 50, 100, min_samples=0), checks=checks)
    return EvaluatedRelease(by, **changes)


class TestAbsolute:
    def test_fails_after_more_breaches_in_a_row_than_the_policy_allows(self) -> None:
        evaluated = release_with(LIMIT)
        assert [evaluated.window(*BAD).action for _ in range(3)] == [
            Action.HOLD,
            Action.HOLD,
            Action.ROLLBACK,
        ]
        assert evaluated.last.reason == (
            "error rate <= 0.02: 0.05, must be <= 0.02; failed 3 times in a row (2 allowed)"
        )

    def test_a_healthy_value_restarts_the_count(self) -> None:
        by = policy(10, 100, min_samples=10**9)
        evaluated = EvaluatedRelease(replace(by, checks=(replace(LIMIT, window_ms=30_000),)))
        for _ in range(5):
            evaluated.window(*BAD)
            evaluated.window(*BAD)
            evaluated.window(*GOOD)
        assert evaluated.release.state is State.RUNNING

    def test_looks_back_over_its_window(self) -> None:
        by = policy(10, 50, 100, min_samples=10**9)
        long = replace(LIMIT, window_ms=10 * MINUTE)
        evaluated = EvaluatedRelease(replace(by, checks=(long,)))
        for _ in range(10):
            evaluated.window((900, 9), (300, 0))
        evaluated.window(*BAD)
        assert evaluated.last.checks[0].value == pytest.approx(5 / 3_100)

    def test_does_not_advance_without_a_fresh_healthy_value(self) -> None:
        evaluated = release_with(LIMIT)
        evaluated.window((10, 0), (0, 0))
        evaluated.window((10, 0), (0, 0))
        evaluated.window((10, 0), (0, 0))
        assert evaluated.release.stage == 1
        assert "error rate <= 0.02: no value yet" in evaluated.last.reason

    def test_is_enough_for_an_advance_without_other_checks(self) -> None:
        evaluated = release_with(LIMIT)
        assert evaluated.until(Action.ADVANCE, *GOOD) == 2
        assert "every check passes" in evaluated.last.reason

    def test_may_warn_or_pause_instead(self) -> None:
        pausing = release_with(replace(LIMIT, on_failure=OnFailure.PAUSE))
        assert pausing.until(Action.PAUSE, *BAD) == 3
        warning = release_with(replace(LIMIT, on_failure=OnFailure.WARN))
        for _ in range(4):
            warning.window(*BAD)
        assert warning.release.state is State.RUNNING
        assert "warning: error rate <= 0.02" in warning.last.reason

    def test_compares_a_quantile_of_latency_with_its_limit(self) -> None:
        check = Check(
            metric=Metric.LATENCY,
            compare=Compare.ABSOLUTE,
            quantile=0.5,
            threshold=0.25,
            failure_limit=0,
        )
        evaluated = release_with(check)
        fast, slow = ((142, 100),), ((150, 100),)  # up to 0.20 s, up to 0.41 s
        evaluated.window(*GOOD, distributions=(Distribution(1, "latency", fast, fast),))
        assert evaluated.last.checks[0].value == pytest.approx(0.2022, rel=0.02)
        evaluated.window(
            *GOOD, after_ms=5 * MINUTE, distributions=(Distribution(1, "latency", fast, slow),)
        )
        assert evaluated.last.action is Action.ROLLBACK

    def test_checks_a_first_stage_without_a_control_group(self) -> None:
        """E grows by ln g per failing user and falls by n p (g - 1): section 5 by hand."""
        by = replace(policy(100, bake_ms=60_000), checks=(replace(LIMIT, failure_limit=1_000),))
        evaluated = EvaluatedRelease(by)
        decision = evaluated.window((0, 0), (1_000, 120))
        # The bet on ten times the limit loses most; the one on three times wins:
        # 120 ln 3 - 1000 * 0.02 * 2 = 91.8, so E is beyond any threshold.
        assert decision.action is Action.ROLLBACK
        assert decision.checks[0].log_evidence > 80


class TestBefore:
    CHECK = Check(
        compare=Compare.BEFORE, tolerance=Tolerance(relative=0.5), failure_limit=0, window_ms=MINUTE
    )

    def draft(self, check: Check) -> EvaluatedRelease:
        evaluated = release_with(check, state=State.DRAFT, closed=True)
        evaluated.window({0: (1_000, 10)})
        evaluated.window({0: (1_000, 10)})
        evaluated.release = machine.begin(evaluated.release, 120_000, "go")
        return evaluated

    def test_compares_the_treatment_with_what_the_draft_measured(self) -> None:
        evaluated = self.draft(self.CHECK)
        evaluated.window((900, 9), (1_000, 14))
        assert evaluated.last.checks[0].limit == pytest.approx(0.015)
        assert evaluated.last.action is Action.HOLD
        assert evaluated.window((900, 9), (1_000, 40)).action is Action.ROLLBACK

    def test_cannot_pass_when_nothing_was_measured(self) -> None:
        evaluated = release_with(replace(self.CHECK, error_limit=1))
        evaluated.window(*GOOD)
        evaluated.window(*GOOD)
        assert evaluated.release.state is State.HOLDING
        assert "nothing was measured before the release began" in evaluated.last.reason

    def test_compares_distributions_too(self) -> None:
        check = replace(self.CHECK, metric=Metric.LATENCY, quantile=0.5)
        evaluated = release_with(check, state=State.DRAFT, closed=True)
        measured = Distribution(0, "latency", ((100, 100),), ())
        evaluated.window({0: (100, 0)}, distributions=(measured,))
        evaluated.release = machine.begin(evaluated.release, 120_000, "go")
        same = Distribution(1, "latency", ((100, 90),), ((100, 10),))
        evaluated.window((90, 0), (10, 0), distributions=(same,))
        assert evaluated.last.checks[0].value is not None
        assert evaluated.last.checks[0].limit == pytest.approx(1.5 * evaluated.last.checks[0].value)
        slower = Distribution(1, "latency", ((100, 90),), ((110, 100),))
        evaluated.window((90, 0), (100, 0), distributions=(slower,))
        assert evaluated.last.action is Action.ROLLBACK


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

    def evaluate(self, evaluated: EvaluatedRelease, *measured: Measured) -> Action:
        return evaluated.window(*GOOD, measured=measured).action

    def test_a_value_beyond_the_limit_fails_after_the_allowed_breaches(self) -> None:
        evaluated = release_with(self.CHECK)
        assert self.evaluate(evaluated, Measured(0, "treatment", 10.0)) is Action.HOLD
        assert self.evaluate(evaluated, Measured(0, "treatment", 10.0)) is Action.ROLLBACK

    def test_an_unreadable_source_never_passes_and_finally_holds_the_release(self) -> None:
        evaluated = release_with(self.CHECK)
        for _ in range(2):
            self.evaluate(evaluated, Measured(0, "treatment", None, "the query returned no series"))
        assert evaluated.last.state is State.HOLDING
        assert evaluated.last.reason == (
            "prometheus < 10 cannot be read: the query returned no series, 2 times in a row "
            "(1 allowed)"
        )
        self.evaluate(evaluated, Measured(0, "treatment", 1.0))
        assert evaluated.release.state is State.RUNNING

    def test_an_unreadable_source_does_not_reset_the_breaches(self) -> None:
        evaluated = release_with(self.CHECK)
        self.evaluate(evaluated, Measured(0, "treatment", 11.0))
        self.evaluate(evaluated, Measured(0, "treatment", None, "away"))
        assert self.evaluate(evaluated, Measured(0, "treatment", 11.0)) is Action.ROLLBACK

    @pytest.mark.parametrize("compare", [Compare.CONTROL, Compare.BEFORE])
    def test_the_limit_may_be_another_value_of_the_same_query(self, compare: Compare) -> None:
        check = replace(
            self.CHECK, compare=compare, tolerance=Tolerance(0.1, 5.0), operator=Operator.AT_MOST
        )
        evaluated = release_with(check)
        base = Measured(0, str(compare), 100.0)
        self.evaluate(evaluated, Measured(0, "treatment", 115.0), base)
        assert evaluated.last.checks[0].limit == pytest.approx(115.0)
        assert evaluated.last.checks[0].breaches == 0
        self.evaluate(evaluated, Measured(0, "treatment", 115.1), base)
        assert evaluated.last.checks[0].breaches == 1

    def test_small_values_are_bad_where_the_operator_says_so(self) -> None:
        check = replace(
            self.CHECK,
            compare=Compare.CONTROL,
            tolerance=Tolerance(0.1, 0.0),
            operator=Operator.AT_LEAST,
        )
        evaluated = release_with(check)
        self.evaluate(evaluated, Measured(0, "treatment", 89.0), Measured(0, "control", 100.0))
        assert evaluated.last.checks[0].limit == pytest.approx(90.0)
        assert evaluated.last.checks[0].breaches == 1


class TestLostInstances:
    def test_hold_a_release_that_may_be_crashing_them(self) -> None:
        evaluated = EvaluatedRelease(policy(10, 50, 100))
        for _ in range(2):
            evaluated.window(*GOOD, live_instances=7, lost_instances=3)
        assert evaluated.last.state is State.HOLDING
        assert "3 of 10 SDK instances stopped reporting" in evaluated.last.reason
        evaluated.window(*GOOD, live_instances=10)
        assert evaluated.release.state is State.RUNNING

    def test_few_or_only_once_do_not_hold_a_release(self) -> None:
        evaluated = EvaluatedRelease(policy(10, 50, 100, min_samples=10**9))
        for _ in range(5):
            evaluated.window(*GOOD, live_instances=95, lost_instances=5)
            evaluated.window(*GOOD, live_instances=0, lost_instances=10)
        assert evaluated.release.state is State.RUNNING

    def test_do_not_prevent_a_rollback(self) -> None:
        evaluated = EvaluatedRelease(policy(10, 50, 100))
        decision = evaluated.window((900, 2), (100, 30), live_instances=0, lost_instances=10)
        assert decision.action is Action.ROLLBACK


def test_a_stratum_without_treated_operations_has_no_value() -> None:
    evaluated = release_with(LIMIT)
    stratum = StratumCounts(1, 0.1, Counts(10, 10, 0, 0), Counts())
    assert stratum.compared
    evaluated.window((10, 0), (0, 0))
    assert evaluated.last.checks[0].value is None
