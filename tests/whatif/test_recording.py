from __future__ import annotations

import pytest
from tidegate_server.whatif.recording import EVERYONE, read_recording
from tidegate_server.whatif.traffic_model import Constant, TrafficModel

from tests.decisions.random_releases import EVERYTHING, random_ledger
from tests.decisions.simulated_release import SEGMENT, policy
from tests.ledger.recorded_release import simulate_recording, simulate_with_ledger

STAFF = (SEGMENT,)
RAMP = policy(10, 5, 25, 50, 100, segments={1: STAFF}, min_samples=100)
MODEL = TrafficModel(Constant(4_000), Constant(0.01), Constant(1.0), segments={SEGMENT: 0.3})


def test_counts_are_kept_by_segments_and_not_by_stratum() -> None:
    record = simulate_recording(RAMP, MODEL)
    groups = [set(each.counts) for each in record.windows]

    assert groups[0] == {STAFF}
    assert {STAFF, EVERYONE} in groups
    assert groups[-1] == {EVERYONE}


def test_a_record_knows_its_span_its_stages_and_its_start() -> None:
    release = simulate_with_ledger(RAMP, MODEL)
    record = read_recording(release.release, release.ledger)

    assert (record.begins_ms, record.ends_ms) == (0, release.elapsed_ms)
    assert record.reached_ms[0] == 0
    assert all(at_ms is not None for at_ms in record.reached_ms)
    assert list(record.reached_ms) == sorted(record.reached_ms, key=lambda at_ms: at_ms or 0)
    assert record.from_start
    assert record.moves == 0
    assert not read_recording(release.release, release.ledger[3:]).from_start


def test_rates_and_pace_are_estimated_for_every_window() -> None:
    model = TrafficModel(Constant(40_000), Constant(0.02), Constant(1.0), segments={SEGMENT: 0.3})
    record = simulate_recording(RAMP, model)
    everyone = record.estimates[EVERYONE]
    errors, operations = everyone.treatment[-1]

    assert len(everyone.pace) == len(record.windows)
    assert everyone.pace[-1] * 60_000 == pytest.approx(40_000, rel=0.1)
    assert errors / operations == pytest.approx(0.02, rel=0.1)
    assert 0 < everyone.first_failures[1] <= 1


def test_windows_nearby_weigh_more_in_an_estimate() -> None:
    def worse_after_60_windows(time: object) -> float:
        return 0.01 if time.window <= 60 else 0.2  # type: ignore[attr-defined]

    by = policy(50, 100, min_samples=10**9)
    record = simulate_recording(
        by, TrafficModel(Constant(4_000), worse_after_60_windows), max_windows=120
    )
    control = record.estimates[EVERYONE].control

    early, late = (errors / operations for errors, operations in (control[10], control[110]))
    assert early < 0.02
    assert late > 0.15


def test_a_segment_that_is_later_counted_with_everyone_keeps_its_share() -> None:
    record = simulate_recording(RAMP, MODEL)

    assert record.shares[STAFF] == pytest.approx(0.3, abs=0.05)


def test_in_a_recorded_draft_everyone_has_the_control() -> None:
    ledger = random_ledger(0, by=EVERYTHING, draft=True)
    assert ledger[0].checkpoint is not None
    record = read_recording(ledger[0].checkpoint.release, ledger)

    assert [each.draft for each in record.windows[:7]] == [True] * 5 + [False] * 2
    assert {counts.share for counts in record.windows[0].counts.values()} == {0.0}
    assert record.moves > 0
    assert record.estimates[STAFF].values.keys() == {"latency", "basket"}
