from __future__ import annotations

import pytest
from tidegate_server.whatif.recording import EVERYONE, recording
from tidegate_server.whatif.traffic_model import Always, World

from tests.decisions.ramp import SEGMENT, policy
from tests.decisions.random_releases import EVERYTHING, a_life
from tests.ledger.recorded_release import noted, recorded

STAFF = (SEGMENT,)
RAMP = policy(10, 5, 25, 50, 100, segments={1: STAFF}, min_samples=100)
WORLD = World(Always(4_000), Always(0.01), Always(1.0), segments={SEGMENT: 0.3})


def test_counts_stand_by_people_and_not_by_stratum() -> None:
    found = recorded(RAMP, WORLD)
    people = [set(each.people) for each in found.slices]

    assert people[0] == {STAFF}
    assert {STAFF, EVERYONE} in people
    assert people[-1] == {EVERYONE}


def test_the_record_has_its_span_its_stages_and_its_beginning() -> None:
    release = noted(RAMP, WORLD)
    found = recording(release.release, release.ledger)

    assert (found.begins_ms, found.ends_ms) == (0, release.elapsed_ms)
    assert found.reached[0] == 0
    assert all(at_ms is not None for at_ms in found.reached)
    assert list(found.reached) == sorted(found.reached, key=lambda at_ms: at_ms or 0)
    assert found.from_start
    assert found.moves == 0
    assert not recording(release.release, release.ledger[3:]).from_start


def test_rates_and_pace_are_estimated_for_every_window() -> None:
    world = World(Always(40_000), Always(0.02), Always(1.0), segments={SEGMENT: 0.3})
    found = recorded(RAMP, world)
    everyone = found.fitted[EVERYONE]
    failed, ended = everyone.treatment[-1]

    assert len(everyone.pace) == len(found.slices)
    assert everyone.pace[-1] * 60_000 == pytest.approx(40_000, rel=0.1)
    assert failed / ended == pytest.approx(0.02, rel=0.1)
    assert 0 < everyone.first[1] <= 1


def test_near_windows_weigh_more() -> None:
    def turning_bad(moment: object) -> float:
        return 0.01 if moment.window <= 60 else 0.2  # type: ignore[attr-defined]

    by = policy(50, 100, min_samples=10**9)
    found = recorded(by, World(Always(4_000), turning_bad), most_windows=120)
    control = found.fitted[EVERYONE].control

    early, late = (failed / ended for failed, ended in (control[10], control[110]))
    assert early < 0.02
    assert late > 0.15


def test_people_who_are_later_counted_with_everyone_keep_their_part_of_it() -> None:
    found = recorded(RAMP, WORLD)

    assert found.part[STAFF] == pytest.approx(0.3, abs=0.05)


def test_a_draft_is_recorded_as_one_where_everyone_has_the_control() -> None:
    ledger = a_life(0, by=EVERYTHING, draft=True)
    assert ledger[0].checkpoint is not None
    found = recording(ledger[0].checkpoint.release, ledger)

    assert [each.draft for each in found.slices[:7]] == [True] * 5 + [False] * 2
    assert {seen.share for seen in found.slices[0].people.values()} == {0.0}
    assert found.moves > 0
    assert found.fitted[STAFF].values.keys() == {"latency", "basket"}
