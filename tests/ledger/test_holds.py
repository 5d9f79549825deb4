"""Decisions that change nothing are condensed to one line for each reason."""

from __future__ import annotations

from tidegate_server.decisions.decision import Action
from tidegate_server.domain.release import State
from tidegate_server.ledger.holds import HoldDecision, Span, condense_holds


def decision(
    at_ms: int,
    reason: str,
    *,
    action: Action = Action.HOLD,
    step: int = 1,
    state: State = State.RUNNING,
    evidence: float | None = 1.0,
) -> HoldDecision:
    return HoldDecision(at_ms, step, step, action, state, reason, evidence, None)


def test_holds_that_differ_in_numbers_only_are_one() -> None:
    (hold,) = condense_holds(
        decision(number, f"too few samples, {number * 500:,} of 5,000", evidence=float(number))
        for number in range(1, 9)
    )
    assert (hold.from_ms, hold.to_ms, hold.decisions) == (1, 8, 8)
    assert hold.first_reason == "too few samples, 500 of 5,000"
    assert hold.last_reason == "too few samples, 4,000 of 5,000"
    assert hold.evidence == Span(1.0, 8.0)
    assert hold.advance == Span()


def test_another_reason_step_or_state_begins_another_hold() -> None:
    holds = condense_holds(
        [
            decision(1, "too few samples, 3"),
            decision(2, "too few windows, 3"),
            decision(3, "too few windows, 4", step=2),
            decision(4, "too few windows, 5", step=2, state=State.HOLDING),
        ]
    )
    assert [each.from_ms for each in holds] == [1, 2, 3, 4]


def test_a_decision_that_changes_something_is_no_hold_and_ends_one() -> None:
    holds = condense_holds(
        [
            decision(1, "waiting"),
            decision(2, "safe", action=Action.ADVANCE),
            decision(3, "waiting"),
        ]
    )
    assert [(each.from_ms, each.decisions) for each in holds] == [(1, 1), (3, 1)]


def test_a_hold_without_a_comparison_has_no_evidence() -> None:
    (hold,) = condense_holds(
        [decision(1, "draft", evidence=None), decision(2, "draft", evidence=None)]
    )
    assert hold.evidence == Span(None, None)
