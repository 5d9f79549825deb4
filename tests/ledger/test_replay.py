from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from tidegate_server.decisions.decision import Action
from tidegate_server.domain.checks import ClientEvidence, Metric
from tidegate_server.domain.release import State
from tidegate_server.domain.release_gates import Rollback, RollbackTo
from tidegate_server.ledger.entry import Entry
from tidegate_server.ledger.replay import Difference, RecordedEntry, Replay

from tests.decisions.random_releases import EVERYTHING, PLAIN, random_ledger, written
from tests.decisions.simulated_release import policy

STAGES = policy(100, 100, 10, 100, segments={1: ("team",), 2: ("beta",)})
COOLING = replace(
    STAGES,
    stages=(*STAGES.stages[:2], replace(STAGES.stages[2], min_samples=10**9), STAGES.stages[3]),
    rollback=Rollback(RollbackTo.PREVIOUS_STAGE, 10**9, 3),
)
"""A policy with cooldowns, from a stage with a control group, in which a whole segment is open."""

RECORDED = Path(__file__).parent / "recorded"


def replayed(ledger: Sequence[RecordedEntry]) -> tuple[Replay, list[Difference]]:
    """Replay a whole ledger."""
    replay = Replay()
    return replay, [each for recorded in ledger for each in replay.add(recorded)]


def changed(recorded: RecordedEntry, path: str, value: Any) -> RecordedEntry:
    """Return an entry with one value changed."""
    document = json.loads(json.dumps(recorded.written))
    *steps, last = path.split(".")
    at = document
    for step in steps:
        at = at[int(step)] if isinstance(at, list) else at[step]
    at[int(last) if isinstance(at, list) else last] = value
    return RecordedEntry(recorded.id, msgspec.convert(document, Entry), document)


def differing_fields(differences: list[Difference]) -> set[str]:
    return {each.field for each in differences}


@pytest.mark.parametrize("statistics", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_every_decision_is_computed_again_to_the_last_digit(seed: int, statistics: int) -> None:
    ledger = random_ledger(seed, statistics=statistics)
    replay, differences = replayed(written(ledger))

    assert differences == []
    assert (replay.decisions, replay.skipped) == (len(ledger), 0)


@pytest.mark.parametrize("statistics", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_a_release_with_every_check_and_gate_is_replayed_exactly(
    seed: int, statistics: int
) -> None:
    ledger = random_ledger(seed, by=EVERYTHING, draft=True, statistics=statistics)
    replay, differences = replayed(written(ledger))

    assert differences == []
    assert replay.decisions == len(ledger)


@pytest.mark.parametrize("client_evidence", ClientEvidence)
@pytest.mark.parametrize(("seed", "statistics"), [(0, 1), (0, 2), (1, 2)])
def test_a_release_that_clients_report_too_is_replayed_exactly(
    seed: int, statistics: int, client_evidence: ClientEvidence
) -> None:
    checks = tuple(
        check
        if check.metric is Metric.PROMETHEUS
        else replace(check, client_evidence=client_evidence)
        for check in EVERYTHING.checks
    )
    by = replace(EVERYTHING, checks=checks)
    ledger = random_ledger(seed, by=by, draft=True, clients=True, statistics=statistics)
    replay, differences = replayed(written(ledger))

    assert differences == []
    assert replay.decisions == len(ledger)
    assert any(entry.decision.client is not None for entry in ledger)


def test_a_cooldown_in_which_errors_rise_without_a_control_group_is_replayed_exactly() -> None:
    life = random_ledger(0, by=COOLING)
    _, differences = replayed(written(life))
    closing = [entry for entry in life if entry.decision.reason.startswith("errors rose where no")]

    assert differences == []
    assert {(entry.before.state, entry.decision.action) for entry in closing} >= {
        (State.COOLDOWN, Action.COOL_DOWN)
    }


def test_the_random_releases_include_every_important_action() -> None:
    entries = [
        entry for seed in range(6) for entry in random_ledger(seed, by=EVERYTHING, draft=True)
    ] + [entry for seed in range(6) for entry in random_ledger(seed)]
    actions = {entry.decision.action for entry in entries}

    assert actions >= {
        Action.ADVANCE, Action.HOLD, Action.ASK, Action.COOL_DOWN, Action.RETRY, Action.ROLLBACK,
    }  # fmt: skip
    assert any(entry.window.generation > 1 for entry in entries)
    assert any(entry.before.stopped for entry in entries)
    assert any(entry.decision.asks for entry in entries)


def test_changes_by_people_between_decisions_are_counted_and_followed() -> None:
    ledger = random_ledger(1)
    moves = sum(earlier.after != later.before for earlier, later in pairwise(ledger))
    replay, _ = replayed(written(ledger))

    assert moves > 5
    assert replay.moves == moves


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("decision.action", "advance"),
        ("decision.state", "paused"),
        ("decision.log_evidence", 0.123),
        ("decision.checks.0.log_advance", 0.123),
        ("after.stage", 9),
    ],
)
def test_a_value_that_was_altered_is_reported_with_its_path(path: str, value: Any) -> None:
    ledger = written(random_ledger(2, windows=40))
    ledger[20] = changed(ledger[20], path, value)
    replay, differences = replayed(ledger)

    assert [(each.id, each.field, each.recorded) for each in differences] == [("20-0", path, value)]
    assert replay.differing == 1


@pytest.mark.parametrize(
    "path",
    [
        "decision.reason",
        "after.reason",
        "decision.checks.0.label",
        "decision.checks.0.problem",
        "checkpoint.progress.decision.reason",
        "checkpoint.progress.checks.0.problem",
    ],
)
def test_another_wording_is_no_difference(path: str) -> None:
    ledger = written(random_ledger(1))
    number = 0 if path.startswith("decision") or path.startswith("after") else _checkpoint(ledger)
    ledger[number] = changed(ledger[number], path, "in the words of another version")
    replay, differences = replayed(ledger[: number + 1])

    assert differences == []
    assert replay.decisions == number + 1


def _checkpoint(ledger: Sequence[RecordedEntry]) -> int:
    """The number of the second entry with a checkpoint."""
    return [number for number, each in enumerate(ledger) if each.entry.checkpoint is not None][1]


def test_the_last_digit_counts() -> None:
    ledger = written(random_ledger(2, windows=40))
    was = ledger[30].entry.decision.log_evidence
    ledger[30] = changed(ledger[30], "decision.log_evidence", was * (1 + 2**-52))
    _, differences = replayed(ledger)

    assert differing_fields(differences) == {"decision.log_evidence"}


def test_altered_counts_change_every_number_that_rests_on_them() -> None:
    ledger = written(random_ledger(2, windows=40))
    ledger[10] = changed(ledger[10], "window.strata.0.treatment.failing", 9)
    replay, differences = replayed(ledger)

    assert "decision.log_evidence" in differing_fields(differences)
    assert replay.differing > 20


def test_a_missing_entry_is_reported_and_the_replay_continues_at_the_next_checkpoint() -> None:
    ledger = written(random_ledger(1))
    second = next(
        number for number, each in enumerate(ledger) if number and each.entry.checkpoint is not None
    )
    replay, differences = replayed(ledger[:100] + ledger[101:])

    assert [(each.field, each.recorded, each.recomputed) for each in differences] == [
        ("decision.window", 102, 101)
    ]
    assert replay.skipped == second - 101
    assert replay.decisions == len(ledger) - 1 - replay.skipped


def test_a_trimmed_ledger_is_replayed_from_its_first_checkpoint() -> None:
    ledger = written(random_ledger(1))[50:]
    first = next(number for number, each in enumerate(ledger) if each.entry.checkpoint)
    replay, differences = replayed(ledger)

    assert differences == []
    assert (replay.skipped, replay.decisions) == (first, len(ledger) - first)


def test_a_checkpoint_that_does_not_follow_from_the_entries_is_reported() -> None:
    ledger = written(random_ledger(1))
    second = next(
        number for number, each in enumerate(ledger) if number and each.entry.checkpoint is not None
    )
    ledger[second] = changed(ledger[second], "checkpoint.progress.control.errors", 10**6)
    replay, differences = replayed(ledger[: second + 1])

    assert "checkpoint.progress.control.errors" in differing_fields(differences)
    assert replay.differing == 1


def test_a_field_that_an_earlier_version_did_not_have_is_not_compared() -> None:
    ledger = written(random_ledger(2, windows=40))
    older = json.loads(json.dumps(ledger[20].written))
    del older["decision"]["overdispersion"], older["after"]["retries"]
    older["decision"]["of_a_later_version"] = 1
    ledger[20] = RecordedEntry("20-0", msgspec.convert(older, Entry), older)

    assert replayed(ledger)[1] == []


def required(of: type, seen: set[type]) -> set[str]:
    """Return the fields without a default, of an entry and of everything in it."""
    if of in seen:
        return set()
    seen.add(of)
    hints = get_type_hints(of)
    found = set()
    for field in fields(of):
        if field.default is MISSING and field.default_factory is MISSING:
            found.add(f"{of.__name__}.{field.name}")
        for part in _classes(hints[field.name]):
            found |= required(part, seen)
    return found


def _classes(hint: Any) -> list[type]:
    inner = [each for argument in get_args(hint) for each in _classes(argument)]
    return [hint, *inner] if is_dataclass(hint) and isinstance(hint, type) else inner


def test_no_field_without_a_default_was_added_since_earlier_versions() -> None:
    known = set((RECORDED / "required_fields.txt").read_text().split())

    assert required(Entry, set()) <= known


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDED.glob("*.jsonl")))
def test_ledgers_of_earlier_versions_are_replayed_without_differences(name: str) -> None:
    written_entries = [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]
    ledger = [
        RecordedEntry(f"{number}-0", msgspec.convert(each, Entry), each)
        for number, each in enumerate(written_entries)
    ]
    replay, differences = replayed(ledger)

    # Logarithms may differ in their last digit between systems; the replay allows no difference.
    assert [each for each in differences if each.recorded != pytest.approx(each.recomputed)] == []
    assert replay.decisions == len(ledger)


def test_replays_of_parts_that_meet_at_checkpoints_agree_with_the_whole() -> None:
    ledger = written(random_ledger(1))
    second = next(
        number for number, each in enumerate(ledger) if number and each.entry.checkpoint is not None
    )
    first, later = Replay(), Replay()
    found = [difference for each in ledger[:second] for difference in first.add(each)]
    found += first.start_at_checkpoint(ledger[second])
    found += [difference for each in ledger[second:] for difference in later.add(each)]

    assert found == []
    assert first.decisions + later.decisions == len(ledger)


def test_a_decision_that_cannot_be_carried_out_is_a_difference() -> None:
    ledger = written(random_ledger(2, windows=3, by=replace(PLAIN, bake_ms=0)))
    ended = changed(ledger[0], "before.state", "completed")
    _, differences = replayed([ended, *ledger[1:]])

    assert "decision.action" in differing_fields(differences) or "after.state" in differing_fields(
        differences
    )
