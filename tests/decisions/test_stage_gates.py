"""The gates of a stage say in numbers what its exit decides."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.stage_gates import Gate, GateKind, stage_gates
from tidegate_server.domain.checks import Check, Compare, Metric, Operator
from tidegate_server.domain.policy import Policy, Undecided
from tidegate_server.domain.release import Approval, Release, State
from tidegate_server.domain.release_gates import (
    AdvanceWindow,
    ApprovalGate,
    Confirmation,
    Day,
    Freeze,
    Windows,
)

from tests.decisions.simulated_release import EvaluatedRelease, policy, release

MINUTE = 60_000


class GatedRelease(EvaluatedRelease):
    """A release whose gates are those at its last evaluation, before the decision."""

    before: Release

    def evaluate(self, control: tuple[int, int], treatment: tuple[int, int]) -> Decision:
        self.before = self.release
        return self.window(control, treatment)

    def gates(self) -> tuple[Gate, ...]:
        return stage_gates(self.before, self.progress, self.last.checks, (), self.last.at_ms)


def find(gates: tuple[Gate, ...], kind: GateKind, arm: str | None = None) -> Gate:
    (found,) = (each for each in gates if each.kind is kind and each.arm == arm)
    return found


def with_stage(by: Policy, **changes: object) -> Policy:
    """Return the policy with a changed first stage."""
    first = replace(by.stages[0], **changes)  # type: ignore[arg-type]
    return replace(by, stages=(first, *by.stages[1:]))


POLICIES = {
    "plain": policy(10, 50, 100, min_samples=300, min_duration_ms=5 * MINUTE, bake_ms=MINUTE),
    "holdback": replace(policy(20, 100, min_duration_ms=MINUTE, bake_ms=MINUTE), holdback=10.0),
    "on time": with_stage(
        policy(10, 100, min_samples=100_000),
        max_duration_ms=20 * MINUTE,
        undecided=Undecided.ADVANCE,
    ),
    "threshold": replace(
        policy(10, 50, 100),
        checks=(
            Check(),
            Check(
                metric=Metric.ERROR_RATE,
                compare=Compare.ABSOLUTE,
                operator=Operator.AT_MOST,
                threshold=0.02,
                window_ms=MINUTE,
                failure_limit=1_000,
            ),
        ),
    ),
    "no values": replace(
        with_stage(policy(10, 100), max_duration_ms=20 * MINUTE, undecided=Undecided.ADVANCE),
        checks=(
            Check(),
            Check(
                metric=Metric.LATENCY,
                compare=Compare.ABSOLUTE,
                operator=Operator.AT_MOST,
                threshold=0.5,
                window_ms=MINUTE,
                quantile=0.95,
            ),
        ),
    ),
    "hours": replace(
        policy(10, 100), windows=Windows(advance=(AdvanceWindow(opens=60, closes=200),))
    ),
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("statistics", [1, 2])
def test_a_release_leaves_its_stage_when_no_gate_is_missing(
    name: str, seed: int, statistics: int
) -> None:
    dice = random.Random(seed)
    subject = GatedRelease(POLICIES[name], statistics=statistics)
    left = stayed = 0
    for _ in range(400):
        share = subject.release.policy.opened(subject.release.stage) / 100
        treated = round(400 * share)
        rate = 0.01
        arms = [
            (ended, sum(dice.random() < rate for _ in range(ended)))
            for ended in (400 - treated, treated)
        ]
        decision = subject.evaluate(arms[0], arms[1])
        missing = [each for each in subject.gates() if each.missing]
        if subject.before.state in (State.RUNNING, State.BAKING) and decision.action in (
            Action.HOLD,
            Action.ADVANCE,
            Action.COMPLETE,
        ):
            leaves = decision.action is not Action.HOLD
            held = decision.state is State.HOLDING
            assert leaves == (not missing) or held, (decision, missing)
            left, stayed = left + leaves, stayed + (not leaves)
        if subject.release.state is State.COMPLETED:
            break
    assert left >= 1
    assert stayed >= 1


def test_gates_have_the_present_and_the_needed_values() -> None:
    subject = GatedRelease(
        policy(10, 100, min_samples=300, min_duration_ms=5 * MINUTE, interval_ms=MINUTE)
    )
    subject.evaluate((900, 9), (100, 1))
    gates = subject.gates()
    time = find(gates, GateKind.TIME)
    assert (time.have, time.need, time.met) == (60.0, 300.0, False)
    assert (time.since_ms, time.until_ms) == (0, 5 * MINUTE)
    treated = find(gates, GateKind.SAMPLES, "treatment")
    assert (treated.have, treated.need, treated.met) == (100, 300, False)
    control = find(gates, GateKind.SAMPLES, "control")
    assert (control.have, control.need, control.met) == (900, 300, True)
    assert find(gates, GateKind.WINDOWS).have == 1
    safety, harm = find(gates, GateKind.SAFETY), find(gates, GateKind.HARM)
    assert (safety.have, safety.need, safety.check) == (subject.last.checks[0].advance, 10.0, 0)
    assert (harm.have, harm.need, harm.met) == (subject.last.checks[0].evidence, 5.0, True)


def test_evidence_is_waived_when_the_time_of_a_stage_is_over() -> None:
    subject = GatedRelease(POLICIES["on time"])
    subject.evaluate((360, 4), (40, 0))
    samples = find(subject.gates(), GateKind.SAMPLES, "treatment")
    assert samples.missing
    assert samples.until_ms == 20 * MINUTE
    while subject.last.action is not Action.ADVANCE:
        subject.evaluate((360, 4), (40, 0))
    samples = find(subject.gates(), GateKind.SAMPLES, "treatment")
    assert (samples.met, samples.waived, samples.missing) == (False, True, False)


def test_approvals_and_confirmations_are_gates() -> None:
    by = with_stage(policy(10, 100), approval=ApprovalGate(count=2))
    by = replace(by, confirm=(Confirmation("chat"),))
    subject = GatedRelease(by, asked_ms=7, approvals=(Approval("ann", "ann", 8),))
    subject.evaluate((360, 4), (40, 0))
    approvals = find(subject.gates(), GateKind.APPROVALS)
    assert (approvals.have, approvals.need, approvals.met) == (1, 2, False)
    assert approvals.since_ms == 7
    confirmation = find(subject.gates(), GateKind.CONFIRMATION)
    assert (confirmation.webhook, confirmation.met) == ("chat", False)


def test_a_freeze_and_closed_hours_are_gates_with_their_end() -> None:
    freeze = Windows(freeze=(Freeze("1970-01-01", "1970-01-02", "holidays"),))
    subject = GatedRelease(replace(policy(10, 100), windows=freeze))
    subject.evaluate((360, 4), (40, 0))
    gate = find(subject.gates(), GateKind.CALENDAR)
    assert (gate.met, gate.since_ms, gate.until_ms) == (False, 0, 2 * 24 * 60 * MINUTE)
    hours = Windows(advance=(AdvanceWindow((Day.THU,), 60, 120),))  # 1970-01-01 was a Thursday
    subject = GatedRelease(replace(policy(10, 100), windows=hours))
    subject.evaluate((360, 4), (40, 0))
    gate = find(subject.gates(), GateKind.CALENDAR)
    assert (gate.met, gate.until_ms) == (False, 60 * MINUTE)


def test_a_release_in_a_cooldown_waits_for_its_end() -> None:
    subject = GatedRelease(policy(10, 100))
    closed = replace(
        subject.release,
        state=State.COOLDOWN,
        closed=True,
        cooldown_until_ms=5 * MINUTE,
        state_since_ms=MINUTE,
    )
    (gate,) = stage_gates(closed, subject.progress, (), (), 2 * MINUTE)
    assert (gate.kind, gate.met) == (GateKind.COOLDOWN, False)
    assert (gate.since_ms, gate.until_ms) == (MINUTE, 5 * MINUTE)


@pytest.mark.parametrize("state", [State.DRAFT, State.COMPLETED, State.ROLLED_BACK])
def test_a_draft_and_an_ended_release_have_no_gates(state: State) -> None:
    subject = GatedRelease(policy(10, 100))
    ended = release(policy(10, 100), state=state)
    assert stage_gates(ended, subject.progress, (), (), 0) == ()
