from __future__ import annotations

from dataclasses import asdict, replace

import msgspec
import pytest
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.progress import Progress
from tidegate_server.ledger.entry import Entry

from tests.decisions.random_releases import EVERYTHING, PLAIN, random_ledger


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_entries_alone_are_enough_to_compute_every_decision_again(seed: int) -> None:
    written = [msgspec.json.encode(entry) for entry in random_ledger(seed)]
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
        after = apply_decision(subject, decision)
        assert (after.state, after.stage, after.step) == (
            entry.after.state,
            entry.after.stage,
            entry.after.step,
        )


def test_a_replay_may_start_at_the_checkpoint_of_a_later_epoch() -> None:
    ledger = random_ledger(1)
    checkpoints = [entry for entry in ledger if entry.checkpoint is not None]

    assert len(checkpoints) == 2
    entry = checkpoints[1]
    assert entry.checkpoint is not None
    _, decision = decide(
        entry.checkpoint.release, entry.checkpoint.progress, entry.window, entry.at_ms
    )
    assert decision == entry.decision


def test_an_ordinary_entry_is_small() -> None:
    sizes = [
        len(msgspec.json.encode(entry)) for entry in random_ledger(1) if entry.checkpoint is None
    ]

    assert max(sizes) < 3_300


def test_the_stored_statistics_of_a_release_are_small_and_do_not_grow() -> None:
    plain, everything = (
        [
            len(msgspec.json.encode(entry.checkpoint.progress))
            for entry in random_ledger(0, windows=300, by=by, draft=clients, clients=clients)
            if entry.checkpoint is not None
        ]
        for by, clients in ((PLAIN, False), (EVERYTHING, True))
    )

    assert len(plain) == 2
    assert max(plain) < 5_000
    assert max(everything) < 20_000
