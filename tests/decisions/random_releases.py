"""Random ledgers in which everything happens that a ledger can contain."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
from tidegate.counts import Counts
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.observations import Answer, Distribution, Measured, Window
from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.policy import Policy, Stage
from tidegate_server.domain.release import LIVE_STATES, STATISTICS, Approval, Release, State
from tidegate_server.domain.release_gates import ApprovalGate, Confirmation, Rollback, RollbackTo
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.ledger.entry import Entry, ledger_entry
from tidegate_server.ledger.replay import RecordedEntry

from tests.decisions.simulated_release import SEGMENT, policy, release, window_of

PLAIN = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, bake_ms=10**8, min_samples=300)

EVERYTHING = Policy(
    "everything",
    (
        Stage("staff", 50.0, (SEGMENT,), 0, 100),
        Stage("few", 10.0, (), 60_000, 100),
        Stage("half", 50.0, (), 0, 100, None, ApprovalGate(count=2)),
        Stage("all", 100.0, (), 0, 100),
    ),
    checks=(
        Check(),
        Check(metric=Metric.LATENCY, quantile=0.9),
        Check(compare=Compare.BEFORE, failure_limit=50),
        Check(metric=Metric.CUSTOM, measure="basket", compare=Compare.ABSOLUTE, threshold=1e9),
        Check(metric=Metric.PROMETHEUS, query="up", compare=Compare.ABSOLUTE, threshold=2.0),
    ),
    bake_ms=10**8,
    holdback=1.0,
    rollback=Rollback(RollbackTo.PREVIOUS_STAGE, 120_000, 3),
    confirm=(Confirmation("gatekeeper"),),
)


def random_ledger(
    seed: int,
    windows: int = 300,
    by: Policy = PLAIN,
    draft: bool = False,
    clients: bool = False,
    statistics: int = STATISTICS,
) -> list[Entry]:
    """Return a ledger with noise, silence, actions of people, epochs, and reports of clients."""
    dice, client_dice = random.Random(seed), random.Random(-seed)
    subject = release(by, statistics=statistics)
    if draft:
        subject = replace(subject, state=State.DRAFT, closed=True)
    progress = initial_progress(subject)
    ledger: list[Entry] = []
    for number in range(windows):
        now = progress.evaluated_ms + dice.choice([30_000, 30_500, 700_000])
        subject = _action_of_a_person(subject, dice, now, number)
        window = _window(subject, dice, number, progress.decision is not None)
        window = replace(
            window,
            opened_ms=progress.evaluated_ms,
            closed_ms=now,
            generation=progress.generation,
        )
        if clients and number > 10:
            window = replace(window, client=_client_window(subject, client_dice, window, progress))
        after, decision = decide(subject, progress, window, now)
        moved = apply_decision(subject, decision)
        ledger.append(ledger_entry(subject, moved, progress, window, decision))
        subject, progress = moved, after
        if subject.state not in LIVE_STATES:
            break
    return ledger


def _client_window(
    subject: Release, dice: random.Random, window: Window, progress: Progress
) -> Window:
    known = progress.client
    reported = _window(subject, dice, 0, False)
    return Window(
        opened_ms=window.opened_ms,
        closed_ms=window.closed_ms,
        step=window.step,
        strata=reported.strata,
        generation=1 if known is None else known.generation,
        distributions=reported.distributions,
    )


def _action_of_a_person(subject: Release, dice: random.Random, now: int, number: int) -> Release:
    """Return the release after what a person did between two evaluations: mostly nothing."""
    if subject.state is State.DRAFT:
        return machine.begin(subject, now, "go") if number == 5 else subject
    if subject.state is State.PAUSED:
        return machine.resume(subject, now, "go")
    if subject.state is State.AWAITING_APPROVAL and dice.random() < 0.5:
        person = f"person-{len(subject.approvals)}"
        return machine.approve(subject, Approval(person, person, now, "fine"))
    if dice.random() < 0.03 and subject.state in (State.RUNNING, State.BAKING, State.HOLDING):
        return machine.pause(subject, now, "wait", stop=dice.random() < 0.5, by=Initiator.PERSON)
    if dice.random() < 0.01 and subject.state is State.RUNNING and not _asks(subject):
        return machine.advance(subject, now, "skip", by=Initiator.PERSON)
    if dice.random() < 0.004 and subject.state in (State.RUNNING, State.BAKING):
        return machine.restart_evidence(subject, now, "another treatment")
    return subject


def _asks(subject: Release) -> bool:
    stage = subject.policy.stages[subject.stage - 1]
    return stage.approval is not None or subject.stage == len(subject.policy.stages)


def _window(subject: Release, dice: random.Random, number: int, asked: bool) -> Window:
    empty = window_of(subject) if not subject.closed else _closed(subject)
    burst = 0.5 if number % 70 > 67 and subject.policy.rollback.max_retries else 0.01
    strata, distributions = [], []
    for stratum in empty.strata:
        amount = dice.choice([0, 400, 500, 600])
        arms = []
        for part, rate in ((1.0 - stratum.share, 0.01), (stratum.share, burst)):
            operations = round(amount * part)
            errors = sum(dice.random() < rate for _ in range(operations))
            # Later in an epoch ever more of the errors are of users who have failed before.
            failing = errors if number % 40 < 20 else errors // 5
            arms.append(
                Counts(
                    operations,
                    operations,
                    errors,
                    failing,
                    operations * 900,
                    sampled=operations // 2,
                )
            )
        strata.append(replace(stratum, control=arms[0], treatment=arms[1]))
        for measure in subject.policy.distributions:
            values = [tuple((bucket, dice.randrange(20)) for bucket in range(40, 44)) for _ in "ct"]
            distributions.append(Distribution(stratum.stratum, measure, *values))
    answers = (
        (Answer("gatekeeper", dice.random() < 0.8, "no"),) if asked and dice.random() < 0.7 else ()
    )
    value = None if dice.random() < 0.2 else dice.random()
    return replace(
        empty,
        strata=tuple(strata),
        distributions=tuple(distributions),
        measured=(Measured(4, "treatment", value, "" if value else "no answer"),),
        answers=answers,
        live_instances=number % 3,
    )


def _closed(subject: Release) -> Window:
    opened = window_of(replace(subject, stage=1))
    return replace(opened, strata=(replace(opened.strata[0], stratum=0, share=0.0),))


def written(ledger: list[Entry]) -> list[RecordedEntry]:
    """Return a ledger as it is read from the store."""
    entries = []
    for number, entry in enumerate(ledger):
        text = msgspec.json.encode(entry)
        document = msgspec.json.decode(text)
        entries.append(RecordedEntry(f"{number}-0", msgspec.convert(document, Entry), document))
    return entries
