"""What a flag serves is said of everyone whom it is true for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tidegate_server.dashboard.flag_sentences import (
    FlagState,
    charted_variant,
    flag_state,
    rungs,
    without_prerequisites,
)

NOW = datetime(2026, 11, 26, 14, 16, tzinfo=UTC)
POLICY = {
    "interval": "10s",
    "stages": [{"percentage": 25, "segments": []}, {"percentage": 100, "segments": []}],
}


def targeting(**changes: Any) -> dict[str, Any]:
    return {
        **{"enabled": True, "killed": None, "kill_variant": None, "off_variant": "off"},
        **{"default": {"variant": "off"}, "rules": []},
        **changes,
    }


def release(*openings: tuple[float, list[str]], **changes: Any) -> dict[str, Any]:
    return {
        **{"state": "running", "stopped": None, "closed": False, "rule": None, "progress": None},
        **{"treatment": "on", "control": "off", "reason": "", "policy": POLICY},
        "openings": [{"percentage": share, "segments": who} for share, who in openings],
        **changes,
    }


def state(served: dict[str, Any], live: dict[str, Any] | None = None) -> FlagState:
    return flag_state(served, live, {"on", "blue"}, NOW, UTC)


def split(**weights: float) -> dict[str, Any]:
    weighed = [{"variant": key, "weight": weight} for key, weight in weights.items()]
    return targeting(default={"variant": None, "split": weighed})


KILLED = targeting(
    killed={"at": NOW.isoformat(), "actor": "Ada", "reason": "", "tag": ""},
    default={"variant": "on"},
)


@pytest.mark.parametrize(
    ("served", "live", "everyone", "bar"),
    [
        (KILLED, None, "off", "everyone gets off"),
        (KILLED, release((25, [])), "off", "everyone gets off"),
        (targeting(enabled=False), None, "off", "everyone gets off"),
        (targeting(), None, "off", "everyone gets off"),
        (targeting(default={"variant": "on"}), None, "on", "everyone gets on"),
        (split(on=100, off=0), None, "on", "everyone gets on"),
        (split(on=25, off=75), None, "", "25\u00a0% of everyone get on"),
        (split(on=50, blue=50), None, "", "50\u00a0% of everyone get on"),
        (targeting(), release((25, [])), "", "25\u00a0% of everyone get on"),
        (targeting(), release((100, [])), "on", "everyone gets on"),
        (targeting(), release((100, []), closed=True), "off", "everyone gets off"),
        (targeting(), release((100, ["staff"])), "", "nobody gets on"),
        (targeting(), release((100, []), rule="eu"), "", "everyone gets on"),
    ],
)
def test_what_everyone_gets(
    served: dict[str, Any], live: dict[str, Any] | None, everyone: str, bar: str
) -> None:
    shown = state(served, live)
    assert shown.everyone == everyone
    assert shown.bar_says == bar


def test_no_rule_changes_what_a_kill_or_a_missing_prerequisite_decides() -> None:
    needs = [{"flag": "cart", "variants": ["on"]}]
    waits = without_prerequisites(state(targeting(default={"variant": "on"})), targeting(), needs)
    assert waits.everyone == "off"
    assert waits.settled
    assert state(KILLED).settled
    assert not state(targeting()).settled


@pytest.mark.parametrize(
    ("live", "says"),
    [
        (release((25, [])), "25\u00a0% of everyone get on, the rest gets off."),
        (release((100, [])), "Everyone gets on."),
        (release((25, []), closed=True), "Everyone gets off, nobody on."),
    ],
)
def test_a_release_says_who_gets_what(live: dict[str, Any], says: str) -> None:
    assert state(targeting(), live).status.what == says


def test_a_paused_release_is_said_to_be_paused_in_the_words_of_who_paused_it() -> None:
    paused = release((25, []), state="paused", state_by="Ada", reason="the tax is wrong")
    why = state(targeting(), paused).status.why
    assert why.startswith("Its release: paused. “the tax is wrong”.")
    unsaid = release((25, []), state="paused", state_by="Ada", reason="Paused by Ada.")
    assert state(targeting(), unsaid).status.why == (
        "Its release: paused. A rollback still happens."
    )


def test_evaluations_stand_out_of_the_new_variant_also_while_nobody_gets_it() -> None:
    two = {"variants": [{"key": "on"}, {"key": "off"}]}
    killed = state(KILLED)
    assert charted_variant(two, KILLED, None, killed) == "on"
    many = {"variants": [{"key": key} for key in ("off", "blue", "red")]}
    assert charted_variant(many, KILLED, None, killed) == "off"
    assert charted_variant(many, KILLED, release((25, []), treatment="red"), killed) == "red"


def test_the_ladder_says_that_the_default_comes_after_the_rules() -> None:
    ladder = [
        {"cause": "rule", "serves": "off, after 2 rules"},
        {"cause": "default", "serves": "off"},
    ]
    views = rungs(targeting(rules=[{}, {}], ladder=ladder), [])
    assert [(view.name, view.says) for view in views[-2:]] == [
        ("Rules", "2 rules, then the default"),
        ("Default", "off"),
    ]
