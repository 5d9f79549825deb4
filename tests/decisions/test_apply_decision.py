from __future__ import annotations

import pytest
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.domain.release import Release, State
from tidegate_server.errors import NotPossible

from tests.decisions.simulated_release import policy, release


def at(stage: int, state: State, resumes_to: State | None = None) -> Release:
    return release(policy(5, 50, 100), stage=stage, step=stage, state=state, resumes_to=resumes_to)


@pytest.mark.parametrize(
    ("before", "action", "aim", "stage"),
    [
        (at(1, State.RUNNING), Action.ADVANCE, State.RUNNING, 2),
        (at(2, State.RUNNING), Action.ADVANCE, State.BAKING, 3),
        (at(3, State.BAKING), Action.RETREAT, State.RUNNING, 2),
        (at(3, State.BAKING), Action.COMPLETE, State.COMPLETED, 3),
        (at(1, State.RUNNING), Action.ROLLBACK, State.ROLLED_BACK, 1),
        (at(1, State.PAUSED, State.RUNNING), Action.ROLLBACK, State.ROLLED_BACK, 1),
        (at(1, State.RUNNING), Action.PAUSE, State.PAUSED, 1),
        (at(1, State.RUNNING), Action.HOLD, State.HOLDING, 1),
        (at(3, State.HOLDING, State.BAKING), Action.HOLD, State.BAKING, 3),
    ],
)
def test_each_action_is_a_transition_of_the_release(
    before: Release, action: Action, aim: State, stage: int
) -> None:
    after = apply_decision(before, Decision(action, "because", aim, 9, 1))

    assert (after.state, after.stage) == (aim, stage)
    assert after.step == before.step + (after.stage != before.stage)
    assert (after.reason, after.updated_ms) == ("because", 9)


def test_a_hold_in_the_same_state_changes_nothing() -> None:
    before = at(1, State.HOLDING, State.RUNNING)

    assert apply_decision(before, Decision(Action.HOLD, "still", State.HOLDING, 9, 1)) is before


def test_a_killed_release_is_never_changed() -> None:
    with pytest.raises(NotPossible):
        apply_decision(at(1, State.KILLED), Decision(Action.ADVANCE, "", State.RUNNING, 9, 1))
