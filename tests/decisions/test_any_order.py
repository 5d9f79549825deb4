"""Releases with random sequences of actions, evidence, clock changes, restarts and leaders.

Whatever happens, the precedence holds, the ledger is complete, and every decision is a
transition that the state machine has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Answer, Measured, Window
from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.policy import HOUR, MINUTE, NoData, NoDataAction, Policy
from tidegate_server.domain.release import LIVE_STATES, Approval, Release, State
from tidegate_server.domain.release_gates import (
    AdvanceWindow,
    ApprovalGate,
    Confirmation,
    OnTimeout,
    Rollback,
    RollbackTo,
    Windows,
)
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.errors import NotPossible
from tidegate_server.ledger.entry import Entry, ledger_entry, release_status, with_status
from tidegate_server.store import documents

from tests.decisions.simulated_release import policy, release, window_of

PLAIN = policy(10, 50, 100, bake_ms=60_000)
GATE = ApprovalGate(timeout_ms=HOUR, on_timeout=OnTimeout.ROLLBACK)
LIMIT = Check(compare=Compare.ABSOLUTE, threshold=0.05, failure_limit=1)
OUTSIDE = Check(
    metric=Metric.PROMETHEUS, compare=Compare.ABSOLUTE, query="q", threshold=1.0, error_limit=1
)
POLICIES = st.sampled_from(
    [
        PLAIN,
        replace(PLAIN, stages=tuple(replace(stage, approval=GATE) for stage in PLAIN.stages)),
        replace(PLAIN, rollback=Rollback(RollbackTo.PREVIOUS_STAGE, 2 * MINUTE, 2)),
        replace(
            policy(100, 100, 10, 100, segments={1: ("team",), 2: ("beta",)}, bake_ms=60_000),
            checks=(Check(), LIMIT),
            rollback=Rollback(RollbackTo.PREVIOUS_STAGE, 2 * MINUTE, 3),
        ),
        replace(PLAIN, rollback=Rollback(RollbackTo.ZERO, 0, 1), holdback=5.0),
        replace(PLAIN, no_data=NoData(2 * MINUTE, NoDataAction.ROLLBACK)),
        replace(PLAIN, no_data=NoData(2 * MINUTE, NoDataAction.PAUSE), checks=(Check(), LIMIT)),
        replace(PLAIN, checks=(replace(PLAIN.checks[0], on_failure=OnFailure.PAUSE), OUTSIDE)),
        replace(PLAIN, windows=Windows("UTC", (AdvanceWindow(opens=0, closes=30),))),
        replace(PLAIN, confirm=(Confirmation("bot"),)),
        replace(
            PLAIN,
            stages=(
                replace(PLAIN.stages[0], max_duration_ms=5 * MINUTE),
                *PLAIN.stages[1:],
            ),
        ),
    ]
)


class ReleaseRun:
    """A release, its progress and its ledger."""

    def __init__(self, by: Policy, *, draft: bool) -> None:
        changes = {"state": State.DRAFT, "closed": True} if draft else {}
        self.release = release(by, **changes)
        self.progress = initial_progress(self.release)
        self.now_ms = 0
        self.entries: list[Entry] = []

    def evaluate(self, control: tuple[int, int], treatment: tuple[int, int], value: float) -> None:
        """Evaluate the release once."""
        if self.release.state not in LIVE_STATES or self.release.state is State.KILLED:
            return
        stratum = max(opening.stage for opening in present_openings(self.release))
        window = window_of(
            self.release,
            {stratum: control},
            {stratum: treatment if not self.release.closed else (0, 0)},
            opened_ms=self.progress.evaluated_ms,
            closed_ms=self.now_ms,
            generation=self.progress.generation,
            measured=(Measured(1, "treatment", value if value >= 0 else None, "away"),),
        )
        before = self.release
        progress, decision = decide(before, self.progress, window, self.now_ms)
        if decision.asks:
            answers = tuple(Answer(each, value >= 0, "no") for each in decision.asks)
            window = replace(window, answers=answers)
            progress, decision = decide(before, self.progress, window, self.now_ms)
        after = apply_decision(before, decision)
        self.entries.append(ledger_entry(before, after, self.progress, window, decision))
        check_decision(before, after, window, decision.action)
        assert decision.reason
        assert (after.state, decision.state) == (decision.state, after.state)
        self.release, self.progress = after, progress

    def restart(self) -> None:
        """Read the stored documents in another process."""
        self.release = reread(Kind.RELEASE, self.release)
        self.progress = reread(Kind.PROGRESS, self.progress)

    def move(self, step: Callable[[Release, int], Release]) -> None:
        """Carry out an action of a person; an impossible one changes nothing."""
        try:
            self.release = step(self.release, self.now_ms)
        except NotPossible:
            return


def reread(kind: Kind, document: Any) -> Any:
    return documents.decode(kind, b"1 0 " + documents.encode(document)).document


def opened(subject: Release) -> float:
    """Return the percentage that is open to people in no segment."""
    if subject.state is State.COMPLETED:
        return 100.0
    if subject.state is State.ROLLED_BACK:
        return 0.0
    return max(each.percentage for each in present_openings(subject))


CLOSING = {Action.ROLLBACK, Action.COOL_DOWN, Action.RETREAT}
RAISING = {Action.ADVANCE, Action.COMPLETE, Action.RETRY}


def check_decision(before: Release, after: Release, window: Window, action: Action) -> None:
    """Check what must be true of every decision."""
    assert before.state is not State.KILLED
    if before.stopped or before.state is State.DRAFT:
        assert after == before
    if before.state is State.PAUSED:
        assert opened(after) <= opened(before)
        assert after.state in {State.PAUSED, State.ROLLED_BACK}
    if opened(after) < opened(before):
        assert action in CLOSING
    if opened(after) > opened(before):
        assert action in RAISING
    if action not in CLOSING:
        assert abs(after.stage - before.stage) <= 1
    if action is Action.ADVANCE:
        assert window.control.outcomes + window.treatment.outcomes > 0
        gate = before.policy.stages[before.stage - 1].approval
        assert gate is None or len(before.approvals) >= gate.count
        assert all(answer.confirmed for answer in window.answers)
    assert after.retries <= after.policy.rollback.max_retries
    assert after.attempt >= before.attempt


COUNTS = st.sampled_from([(900, 2), (500, 2), (0, 0), (1_000, 9)])
TREATED = st.sampled_from([(100, 0), (500, 1), (100, 30), (0, 0), (1_000, 9)])
Step = Callable[[ReleaseRun], None]


def tick(control: tuple[int, int], treatment: tuple[int, int], value: float) -> Step:
    def step(run: ReleaseRun) -> None:
        run.now_ms = max(run.now_ms, run.progress.next_due_ms)
        run.evaluate(control, treatment, value)

    return step


def advance_clock(milliseconds: int) -> Step:
    def step(run: ReleaseRun) -> None:
        run.now_ms = max(0, run.now_ms + milliseconds)

    return step


def person(move: Callable[..., Release], **options: object) -> Step:
    return lambda run: run.move(
        lambda subject, now_ms: move(subject, now_ms, "because", by=Initiator.PERSON, **options)
    )


def approval(who: str) -> Step:
    return lambda run: run.move(
        lambda subject, now_ms: machine.approve(subject, Approval(f"{who} (1)", who, now_ms))
    )


def changed_treatment(run: ReleaseRun) -> None:
    if run.release.state in LIVE_STATES:
        run.release = machine.restart_evidence(run.release, run.now_ms, "another value")


STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(tick, COUNTS, TREATED, st.sampled_from([0.5, 2.0, -1.0])),
    st.builds(tick, st.just((900, 2)), st.just((100, 0)), st.just(0.5)),
    st.builds(tick, st.just((900, 2)), st.just((100, 0)), st.just(0.5)),
    st.sampled_from([advance_clock(HOUR), advance_clock(24 * HOUR), advance_clock(-10 * MINUTE)]),
    st.sampled_from(
        [
            person(machine.begin),
            person(machine.advance),
            person(machine.pause),
            person(machine.pause, stop=True),
            person(machine.resume),
            person(machine.resume),
            person(machine.retry),
            person(machine.complete),
            person(machine.roll_back),
            person(machine.kill),
            person(machine.restore),
            approval("ana"),
            ReleaseRun.restart,
            changed_treatment,
        ]
    ),
)


@settings(max_examples=250, deadline=None)
@given(POLICIES, st.booleans(), st.lists(STEPS, max_size=40))
def test_kill_full_stop_and_policy_keep_their_precedence_and_the_ledger_agrees(
    by: Policy, draft: bool, steps: list[Step]
) -> None:
    run = ReleaseRun(by, draft=draft)
    for step in steps:
        killed = run.release.state is State.KILLED
        step(run)
        if killed:
            assert run.release.state in {State.KILLED, State.PAUSED, State.ROLLED_BACK}
    for entry in run.entries:
        assert entry.decision.reason
        assert release_status(with_status(run.release, entry.before)) == entry.before
        if entry.before != entry.after:
            assert entry.decision.action is not Action.HOLD or (
                entry.before.state is not entry.after.state
            )


@settings(max_examples=100, deadline=None)
@given(POLICIES, st.lists(STEPS, max_size=30))
def test_a_restart_at_any_moment_changes_nothing(by: Policy, steps: list[Step]) -> None:
    steady, restarted = ReleaseRun(by, draft=False), ReleaseRun(by, draft=False)
    for step in steps:
        step(steady)
        step(restarted)
        restarted.restart()
    assert restarted.release == steady.release
    assert restarted.progress == steady.progress
    assert restarted.entries == steady.entries


def last_action(progress: Progress) -> Action:
    assert progress.decision is not None
    return progress.decision.action


@settings(max_examples=100, deadline=None)
@given(POLICIES, st.lists(STEPS, max_size=30))
def test_another_leader_makes_the_same_decision_from_the_same_evidence(
    by: Policy, steps: list[Step]
) -> None:
    run = ReleaseRun(by, draft=False)
    for step in steps:
        step(run)
    for entry in run.entries:
        if entry.checkpoint is None:
            continue
        again, decision = decide(
            entry.checkpoint.release, entry.checkpoint.progress, entry.window, entry.at_ms
        )
        assert decision == entry.decision
        assert last_action(again) is entry.decision.action
