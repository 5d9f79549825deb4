from __future__ import annotations

from tidegate_server.decisions.exposure_groups import keeps_control, stage_shares

from tests.decisions.simulated_release import SEGMENT, policy


def test_earlier_stages_stay_open_at_their_own_share() -> None:
    ramp = policy(10, 5, 25, 100, segments={1: (SEGMENT,)})

    assert stage_shares(ramp, 1) == {1: 0.10}
    assert stage_shares(ramp, 2) == {1: 0.10, 2: 0.05}
    assert stage_shares(ramp, 3) == {3: 0.25}
    assert stage_shares(ramp, 4) == {4: 1.0}


def test_a_segment_at_100_percent_next_to_everyone_at_a_percentage_keeps_a_control_group() -> None:
    ramp = policy(100, 5, 100, segments={1: ("staff",)})

    assert not keeps_control(ramp, 1)
    assert keeps_control(ramp, 2)
    assert not keeps_control(ramp, 3)


def test_a_stage_that_opens_its_segment_to_100_percent_empties_the_earlier_stratum() -> None:
    ramp = policy(10, 100, 5, 100, segments={1: ("staff",), 2: ("staff",)})

    assert stage_shares(ramp, 2) == {2: 1.0}
    assert not keeps_control(ramp, 2)
