from __future__ import annotations

import random
from dataclasses import asdict, replace

import msgspec
import pytest
from tidegate_server.decisions.apply import applied
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.entry import Entry, record
from tidegate_server.decisions.progress import Progress, begin
from tidegate_server.domain import releases
from tidegate_server.domain.release import LIVE_STATES, State
from tidegate_server.domain.releases import Mover

from tests.decisions.ramp import SEGMENT, policy, release, window_of


def a_life(seed: int, windows: int = 300) -> list[Entry]:
    """A release's ledger: noise, silences, people who pause, resume and skip, an epoch."""
    dice = random.Random(seed)
    by = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, bake_ms=10**8, min_samples=300)
    subject = release(by)
    progress = begin(subject)
    ledger = []
    for number in range(windows):
        now = progress.evaluated_ms + dice.choice([30_000, 30_500, 700_000])
        if subject.state is State.PAUSED:
            subject = releases.resume(subject, now, "go")
        elif dice.random() < 0.03:
            subject = releases.pause(subject, now, "wait", by=Mover.PERSON)
        elif dice.random() < 0.01 and subject.stage < 5 and subject.state is State.RUNNING:
            subject = releases.advance(subject, now, "skip", by=Mover.PERSON)
        shares = {stratum.stratum: stratum.share for stratum in window_of(subject).strata}
        treated: dict[int, tuple[int, int]] = {}
        control: dict[int, tuple[int, int]] = {}
        for stratum, share in shares.items():
            amount = dice.choice([0, 400, 500, 600])
            for arm, part in ((treated, share), (control, 1.0 - share)):
                operations = round(amount * part)
                failing = sum(dice.random() < 0.01 for _ in range(operations))
                arm[stratum] = (operations, failing)
        window = window_of(
            subject,
            control,
            treated,
            opened_ms=progress.evaluated_ms,
            closed_ms=now,
            generation=progress.generation,
            live_instances=number % 3,
        )
        after, decision = decide(subject, progress, window, now)
        moved = applied(subject, decision)
        ledger.append(record(subject, moved, progress, window, decision))
        subject, progress = moved, after
        if subject.state not in LIVE_STATES:
            break
    return ledger


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_entries_alone_are_enough_to_decide_everything_again(seed: int) -> None:
    written = [msgspec.json.encode(entry) for entry in a_life(seed)]
    ledger = [msgspec.json.decode(each, type=Entry) for each in written]

    assert ledger[0].checkpoint is not None
    whole = ledger[0].checkpoint.release
    progress: Progress = ledger[0].checkpoint.progress
    for entry in ledger:
        subject = replace(
            whole,
            **{name: getattr(entry.before, name) for name in asdict(entry.before)},
        )
        progress, decision = decide(subject, progress, entry.window, entry.at_ms)

        assert decision == entry.decision
        after = applied(subject, decision)
        assert (after.state, after.stage, after.step) == (
            entry.after.state,
            entry.after.stage,
            entry.after.step,
        )


def test_a_replay_may_also_begin_at_the_checkpoint_of_a_later_epoch() -> None:
    ledger = a_life(1)
    checkpoints = [entry for entry in ledger if entry.checkpoint is not None]

    assert len(checkpoints) == 2
    entry = checkpoints[1]
    assert entry.checkpoint is not None
    _, decision = decide(
        entry.checkpoint.release, entry.checkpoint.progress, entry.window, entry.at_ms
    )
    assert decision == entry.decision


def test_an_ordinary_entry_is_small() -> None:
    sizes = [len(msgspec.json.encode(entry)) for entry in a_life(1) if entry.checkpoint is None]

    assert max(sizes) < 3_000
