from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.model import Opening, Serve
from tidegate_server.domain.flags import Kill, Targeting
from tidegate_server.domain.policy import Stage
from tidegate_server.domain.snapshot import openings, report_interval, snapshot_flag

from tests.domain.builders import checkout, make_policy

TARGETING = Targeting("checkout", enabled=True, off_variant="off", default=Serve("off"))
KILL = Kill("ana", "fire", 5)


def test_a_killed_flag_names_the_variant_that_it_serves() -> None:
    definition = checkout(salt="checkout")
    killed = replace(TARGETING, kill=KILL)
    assert snapshot_flag(definition, TARGETING, None, 2).killed is None
    assert snapshot_flag(definition, killed, None, 2).killed == "off"
    to_on = replace(killed, kill_variant="on")
    assert snapshot_flag(definition, to_on, None, 2).killed == "on"


def test_a_flag_says_whether_clients_may_evaluate_it() -> None:
    definition = checkout(salt="checkout")
    assert not snapshot_flag(definition, TARGETING, None, 2).client_side
    assert snapshot_flag(replace(definition, client_side=True), TARGETING, None, 2).client_side


def test_a_flag_carries_what_its_author_wrote() -> None:
    definition = replace(checkout(salt="checkout"), metadata={"owner": "payments"})
    assert snapshot_flag(definition, TARGETING, None, 2).metadata == {"owner": "payments"}


def test_earlier_stages_stay_open() -> None:
    policy = make_policy(
        Stage("staff", 100, ("staff",)), Stage("few", 5), Stage("half", 50), Stage("all", 100)
    )
    staff = Opening(1, 100, ("staff",))
    assert openings(policy, 1) == (staff,)
    assert openings(policy, 2) == (staff, Opening(2, 5))
    assert openings(policy, 3) == (staff, Opening(3, 50))


def test_an_opening_that_a_later_one_includes_is_left_out() -> None:
    policy = make_policy(
        Stage("some", 10, ("staff",)),
        Stage("more", 20, ("staff", "testers")),
        Stage("few", 5),
        Stage("all", 100),
    )
    assert openings(policy, 2) == (Opening(2, 20, ("staff", "testers")),)
    assert openings(policy, 3) == (Opening(2, 20, ("staff", "testers")), Opening(3, 5))
    assert openings(policy, 4) == (Opening(4, 100),)


def test_a_stage_as_wide_as_the_one_before_replaces_it() -> None:
    policy = make_policy(Stage("half", 50), Stage("longer", 50), Stage("all", 100))
    assert openings(policy, 2) == (Opening(2, 50),)


@pytest.mark.parametrize(
    ("interval_ms", "seconds"), [(500, 0.5), (1_000, 0.5), (6_000, 3.0), (3_600_000, 10.0)]
)
def test_the_report_interval_is_half_of_the_interval_within_bounds(
    interval_ms: int, seconds: float
) -> None:
    assert report_interval(make_policy(interval_ms=interval_ms)) == seconds
