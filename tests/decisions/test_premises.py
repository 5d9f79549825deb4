"""Every sentence about a release rests on something that happened.

Releases under many policies, with and without checks, control groups and rates, are evaluated
with random counts. Whatever a decision, an explanation or a view of it says, its premise must
hold: no comparison is claimed where there was none, no limit of 0, no stage that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate_server.admin.releases.schemas import ProgressSchema
from tidegate_server.cli import release_view
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.exposure_groups import keeps_control
from tidegate_server.decisions.observations import Distribution, Window
from tidegate_server.decisions.present_progress import present_progress
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure
from tidegate_server.domain.error_rate import with_error_rate_check
from tidegate_server.domain.policy import ErrorRate, Policy, Stage
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_gates import ApprovalGate, Rollback
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.errors import NotPossible
from tidegate_server.ledger.cleanup import FlagUse
from tidegate_server.ledger.entry import Entry, ledger_entry
from tidegate_server.ledger.explain import explain

from tests.decisions.simulated_release import EvaluatedRelease, window_of

STAFF = ("staff",)


def stage(percentage: float, segments: tuple[str, ...] = (), **changes: Any) -> Stage:
    usual = Stage("", percentage, segments, min_duration_ms=0, min_samples=0)
    return replace(usual, **changes)


LADDERS = {
    "a ramp": (stage(10), stage(50), stage(100)),
    "a ramp with an approval": (stage(10, approval=ApprovalGate()), stage(100)),
    "one jump": (stage(50), stage(100)),
    "all of the staff first": (stage(100, STAFF), stage(50), stage(100)),
    "all of the staff, then everyone": (stage(100, STAFF), stage(100)),
    "everyone at once": (stage(100),),
    "short stages": (stage(10, max_duration_ms=120_000), stage(100, max_duration_ms=120_000)),
}

LATENCY = Check(metric=Metric.LATENCY, quantile=0.9)
LIMIT = Check(compare=Compare.ABSOLUTE, threshold=0.02, failure_limit=1)
CHECKS = {
    "errors": (Check(),),
    "errors that warn": (Check(on_failure=OnFailure.WARN),),
    "errors that pause, and latency": (Check(on_failure=OnFailure.PAUSE), LATENCY),
    "latency": (LATENCY,),
    "a limit": (LIMIT,),
    "a limit that warns": (replace(LIMIT, on_failure=OnFailure.WARN),),
    "a limit and latency": (LIMIT, LATENCY),
}


def policies() -> list[Policy]:
    return [
        with_error_rate_check(
            Policy(
                "any",
                tuple(
                    replace(each, name=f"stage-{number}")
                    for number, each in enumerate(stages, start=1)
                ),
                checks=checks,
                error_rate=error_rate,
                holdback=holdback,
                bake_ms=60_000,
                rollback=Rollback(max_retries=retries),
            )
        )
        for stages in LADDERS.values()
        for checks in CHECKS.values()
        for error_rate in ErrorRate
        for holdback in (0.0, 5.0)
        for retries in (0, 1)
    ]


@dataclass(frozen=True)
class Moment:
    """What was true when a sentence was made."""

    release: Release
    progress: Progress
    window: Window

    @property
    def compared(self) -> bool:
        """Whether operations of both arms of this stage were there to compare."""
        stage_counts = self.progress.compared_control.outcomes
        return (
            keeps_control(self.release.policy, self.release.stage)
            and stage_counts + self.progress.compared_treatment.outcomes > 0
        )

    @property
    def has_control(self) -> bool:
        return keeps_control(self.release.policy, self.release.stage)

    def checks(self, predicate: Callable[[Check], bool]) -> bool:
        return any(predicate(check) for check in self.release.policy.checks)


PREMISES: dict[str, Callable[[Moment], bool]] = {
    r"control: [\d,]+ users? failed": lambda m: m.compared,
    r"(?<!no )evidence of safety": lambda m: m.has_control and m.checks(lambda c: c.sequential),
    r"evidence of harm": lambda m: m.checks(lambda c: c.sequential or c.rate_limit),
    r"for the comparison": lambda m: m.release.policy.compares_errors,
    r"reopens the control group": lambda m: keeps_control(m.release.policy, m.release.stage - 1),
    r"last known rate": lambda m: m.progress.probe.seen,
    r"no control group to compare": lambda m: not m.progress.probe.seen,
    r"no control group in this stage": lambda m: not m.has_control,
    r"nothing is compared now": lambda m: m.release.closed or not m.has_control,
    r"without a control group": lambda m: not m.has_control,
    r"slower than control's": lambda m: (
        m.has_control and m.checks(lambda c: c.metric is Metric.LATENCY and c.sequential)
    ),
    r"errors rose where no control group is left": lambda m: not m.has_control,
    r"errors are not compared": lambda m: not m.release.policy.compares_errors,
    r"error_rate: off": lambda m: m.release.policy.error_rate is ErrorRate.OFF,
    r"in a row": lambda m: m.checks(lambda c: not c.sequential),
    r"must\s+advance the release": lambda m: m.release.stage < len(m.release.policy.stages),
    r"sample ratio: [\d,]+ of": lambda m: m.compared,
    r"of earlier stages": lambda m: m.release.step > 1,
    r"retry \d": lambda m: m.release.policy.rollback.max_retries > 0,
    r"asks? for approval|needs \d+ approval": lambda m: (
        m.release.current_stage.approval is not None
    ),
}

NEVER = (
    r"(reached|limit|needs) 0(\.0+)?(?![.\d])",
    r"no value, must",
    r"<= no value",
    r"failed in 0 operations; control: 0 users failed in 0 operations",
    r"\bNone\b|\bnan\b|\binf\b",
    r"healthy|tolerable|harmless",
)


def check(text: str, moment: Moment) -> None:
    for pattern, premise in PREMISES.items():
        if re.search(pattern, text):
            assert premise(moment), (pattern, text)
    for pattern in NEVER:
        assert not re.search(pattern, text), (pattern, text)


ARMS = st.sampled_from([(1_000, 2), (400, 1), (0, 0), (1_000, 9)])
BAD = st.sampled_from([(1_000, 2), (100, 0), (500, 80), (0, 0), (1_000, 230)])
PERSON = st.sampled_from(["", "", "", "", "advance", "resume", "approve", "pause", "full stop"])


def act(life: EvaluatedRelease, what: str) -> None:
    now = life.progress.evaluated_ms
    release = life.release
    moves: dict[str, Callable[[], Release]] = {
        "advance": lambda: machine.advance(release, now, "sure", by=Initiator.PERSON),
        "resume": lambda: machine.resume(release, now, "back"),
        "pause": lambda: machine.pause(release, now, "lunch", by=Initiator.PERSON),
        "full stop": lambda: machine.pause(release, now, "stop", stop=True, by=Initiator.PERSON),
    }
    if what in moves:
        try:
            life.release = moves[what]()
        except NotPossible:
            return


def evaluate(
    life: EvaluatedRelease, control: tuple[int, int], treatment: tuple[int, int], slow: bool
) -> tuple[Entry, Moment]:
    release, before = life.release, life.progress
    now = before.evaluated_ms + release.policy.interval_ms
    window = window_of(
        replace(release, stage=1) if release.closed else release,
        control,
        treatment,
        opened_ms=before.evaluated_ms,
        closed_ms=now,
        generation=before.generation,
    )
    if release.closed:
        stratum = replace(window.strata[0], stratum=0, share=0.0)
        window = replace(window, strata=(stratum,))
    values = tuple(
        Distribution(
            each.stratum,
            measure,
            ((40, each.control.outcomes),),
            ((60 if slow else 40, each.treatment.outcomes),),
        )
        for each in window.strata
        for measure in release.policy.distributions
    )
    window = replace(window, distributions=values)
    progress, decision = decide(release, before, window, now)
    moved = apply_decision(release, decision)
    entry = ledger_entry(release, moved, before, window, decision)
    life.release, life.progress, life.decision = moved, progress, decision
    return entry, Moment(release, progress, window)


def cli_texts(release: Release, progress: Progress) -> list[str]:
    """What the command line says about the present progress."""
    shown: Any = ProgressSchema().dump(present_progress(release, progress))
    texts = [release_view._evidence(shown)]
    texts += [release_view._check_result(each) for each in shown["checks"]]
    return texts


@pytest.mark.parametrize("bad", [False, True])
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(policies()),
    st.lists(st.tuples(ARMS, BAD, st.booleans(), PERSON), min_size=1, max_size=14),
)
def test_every_sentence_has_its_premise(
    bad: bool,
    policy: Policy,
    windows: list[tuple[tuple[int, int], tuple[int, int], bool, str]],
) -> None:
    life = EvaluatedRelease(policy)
    ledger: list[Entry] = []
    for control, treatment, slow, person in windows:
        act(life, person)
        entry, moment = evaluate(
            life, control, treatment if bad else (treatment[0], min(treatment[1], 3)), slow
        )
        ledger.append(entry)
        if not entry.decision.reason.startswith("paused in an earlier stage"):
            check(entry.decision.reason, moment)
        now_moment = Moment(life.release, life.progress, moment.window)
        for text in cli_texts(life.release, life.progress):
            shown_at = replace(now_moment, progress=life.progress)
            check(text, shown_at)
        one = explain(life.release, "production", [entry], [], FlagUse(), 10**9)
        for chapter in one.chapters[:1]:
            for each in chapter.happenings:
                check(each.text, moment)
        if life.release.state not in LIVE_STATES:
            break


def run(policy: Policy, *windows: tuple[tuple[int, int], tuple[int, int]]) -> EvaluatedRelease:
    life = EvaluatedRelease(policy)
    for control, treatment in windows:
        evaluate(life, control, treatment, slow=False)
    return life


def test_without_a_check_of_errors_nothing_is_said_to_be_tolerable() -> None:
    off = Policy(
        "blind",
        tuple(replace(each, name=f"s{n}") for n, each in enumerate(LADDERS["one jump"])),
        checks=(LATENCY,),
        error_rate=ErrorRate.OFF,
        bake_ms=10**9,
    )
    life = run(off, *[((500, 2), (500, 2))] * 300)
    assert life.release.state is State.BAKING
    held = None
    for _ in range(400):
        at_100 = life.release.stage == 2
        bad = ((0, 0), (1_000, 230)) if at_100 else ((500, 2), (500, 115))
        entry, moment = evaluate(life, *bad, slow=False)
        check(entry.decision.reason, moment)
        if entry.decision.state is State.HOLDING:
            held = entry.decision.reason
    assert life.progress.probe.retreats == 3
    assert held is not None
    assert held.startswith("errors rose 3 times where little or no control group was left")


def test_a_failed_limit_does_not_claim_a_control_group() -> None:
    policy = Policy("limit", (replace(stage(100), name="all"),), checks=(LIMIT,))
    life = run(policy, *[((0, 0), (1_000, 8))] * 2)
    entry, _ = evaluate(life, (0, 0), (1_000, 150), slow=False)

    assert "(this stage); not compared with control" in entry.decision.reason
    assert "control:" not in entry.decision.reason
