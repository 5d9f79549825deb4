"""What decides now what a flag serves, by state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.model import All, Rule, Serve, WeightedVariant
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.flags import Disabled, Kill, Targeting
from tidegate_server.domain.ladder import Cause, LastDecision, Rung, ladder, open_percentage
from tidegate_server.domain.policy import Policy, Stage
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_commits import moved_by
from tidegate_server.domain.release_gates import ApprovalGate, Freeze, Rollback, Windows
from tidegate_server.domain.release_state_machine import Initiator

HOUR = 3_600_000
ANN, POLICY = "ann (tok_1)", "policy"
FROZEN = Windows(freeze=(Freeze("1970-01-01T02:00", "1970-01-01T05:00", "sale"),))
RAMP = Policy(
    "ramp",
    (Stage("few", 5.0, approval=ApprovalGate()), Stage("half", 50.0), Stage("all", 100.0)),
    rollback=Rollback(cooldown_ms=HOUR, max_retries=1),
)
PLAIN = Targeting("checkout", True, "off", Serve("off"), release="rel_1")


def started(policy: Policy = RAMP, **changes: Any) -> Release:
    release = Release(
        id="rel_1",
        flag="checkout",
        rule=None,
        control="off",
        treatment="on",
        salt="rel_1",
        policy=policy,
        policy_revision=1,
        state=State.RUNNING,
        stage=1,
        step=1,
        reason="Started.",
        started_by=ANN,
        started_ms=1_000,
        stage_entered_ms=1_000,
        updated_ms=1_000,
        state_since_ms=1_000,
        state_by=ANN,
    )
    return replace(release, **changes)


def acted(actor: str, move: Callable[..., Release], release: Release, **options: Any) -> Release:
    """Carry out a move at 10 s with the reason ``why``."""
    by = Initiator.POLICY if actor == POLICY else Initiator.PERSON
    return moved_by(actor, release, move(release, 10_000, "why", by=by, **options))


def first(
    release: Release | None, decision: LastDecision | None = None, now_ms: int = HOUR, **to: Any
) -> Rung:
    return ladder(replace(PLAIN, **to), release, decision, now_ms)[0]


SINCE = "since 1970-01-01 00:00:10 UTC: why"

STATES: dict[str, tuple[Release, Cause, str]] = {
    "paused by a person": (
        acted(ANN, machine.pause, started()),
        Cause.STOP,
        f"paused by {ANN} {SINCE}",
    ),
    "a full stop": (
        acted(ANN, machine.pause, started(), stop=True),
        Cause.STOP,
        f"full stop by {ANN} {SINCE}",
    ),
    "paused by the policy": (
        acted(POLICY, machine.pause, started()),
        Cause.POLICY,
        f"paused by the policy {SINCE}",
    ),
    "held": (
        acted(POLICY, machine.hold, started()),
        Cause.POLICY,
        f"holding by the policy {SINCE}",
    ),
    "waiting for approval": (
        acted(POLICY, machine.request_approval, started()),
        Cause.POLICY,
        f"awaiting approval {SINCE}; 0 of 1 given",
    ),
    "in a cooldown": (
        acted(POLICY, machine.start_cooldown, started()),
        Cause.POLICY,
        f"cooldown {SINCE}",
    ),
    "a draft": (
        started(state=State.DRAFT, closed=True),
        Cause.POLICY,
        "draft since 1970-01-01 00:00:01 UTC: Started",
    ),
    "running, not evaluated yet": (
        started(),
        Cause.POLICY,
        "running since 1970-01-01 00:00:01 UTC: Started; not evaluated since",
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_the_first_rung_says_what_holds_a_release_who_and_since_when(state: str) -> None:
    release, cause, text = STATES[state]
    rung = first(release)

    assert (rung.cause, rung.text, rung.release) == (cause, text, "rel_1")


@pytest.mark.parametrize("state", STATES)
def test_a_kill_and_a_disabled_flag_come_before_every_state(state: str) -> None:
    release, cause, _ = STATES[state]
    kill, disabled = Kill(ANN, "it burns", 5_000), Disabled("bob (tok_2)", "", 7_000)
    rungs = ladder(
        replace(PLAIN, kill=kill, enabled=False, disabled=disabled, kill_variant="on"),
        acted(ANN, machine.kill, release),
        None,
        HOUR,
    )

    assert [each.cause for each in rungs[:2]] == [Cause.KILL, Cause.DISABLED]
    assert rungs[0].text == f"killed by {ANN} since 1970-01-01 00:00:05 UTC: it burns"
    assert rungs[1].text == "disabled by bob (tok_2) since 1970-01-01 00:00:07 UTC"
    assert (rungs[0].serves, rungs[1].serves) == ("on", "off")
    assert first(release, enabled=False).text == "disabled"
    assert cause in (Cause.STOP, Cause.POLICY)


def test_a_running_release_says_what_its_last_decision_said() -> None:
    said = LastDecision("waiting: 3 min of 15 min in this stage", 5_000, step=1)

    assert first(started(), said).text == (
        "running since 1970-01-01 00:00:01 UTC: waiting: 3 min of 15 min in this stage"
    )
    advanced = moved_by(ANN, started(), replace(started(), step=2, stage=2, updated_ms=9_000))
    assert first(advanced, said).text.endswith("Started; not evaluated since")
    resumed = replace(started(), updated_ms=9_000, reason="back")
    assert first(resumed, said).text.endswith("back; not evaluated since")


def test_a_freeze_holds_a_running_release_and_says_since_when() -> None:
    frozen = started(replace(RAMP, windows=FROZEN))
    said = LastDecision("waiting: evidence", 5_000, step=1)

    assert first(frozen, said, HOUR).state == "running"
    assert first(frozen, said, 3 * HOUR).text == (
        "frozen since 1970-01-01 02:00:00 UTC: until Thu 1970-01-01 05:00 UTC: sale"
    )
    baking = replace(frozen, stage=3, state=State.BAKING)
    assert first(baking, said, 3 * HOUR).state == "baking"
    behind_a_stop = acted(ANN, machine.pause, frozen)
    assert [each.state for each in ladder(PLAIN, behind_a_stop, said, 3 * HOUR)[:2]] == [
        "paused",
        "frozen",
    ]


def test_a_pause_keeps_its_reason_when_the_policy_goes_back_a_stage() -> None:
    paused = acted(ANN, machine.pause, replace(started(), stage=2))
    back = moved_by(POLICY, paused, machine.retreat(paused, 20_000, "errors rose"))

    assert first(back).text == (
        f"paused by {ANN} since 1970-01-01 00:00:10 UTC: in an earlier stage: why"
    )


def test_a_hold_began_when_it_began_and_has_its_latest_reason() -> None:
    held = acted(POLICY, machine.hold, started())
    later = machine.hold(held, 90_000, "no data for 2 min")

    assert first(later).text == (
        "holding by the policy since 1970-01-01 00:00:10 UTC: no data for 2 min"
    )


def test_a_release_of_an_earlier_version_does_not_name_whom_it_does_not_know() -> None:
    old = started(state=State.PAUSED, reason="lunch", state_since_ms=None, state_by="")

    assert first(old).text == "paused: lunch"


def test_without_a_release_the_rules_decide() -> None:
    rules = (Rule("staff", All(()), Serve("on")),)
    split = Serve(split=(WeightedVariant("on", 25.0), WeightedVariant("off", 75.0)))

    assert [each.cause for each in ladder(PLAIN, None, None, 0)] == [Cause.DEFAULT]
    assert first(None, rules=rules, default=split).serves == "on 25 %, off 75 %, after 1 rule"
    assert first(None).serves == "off"


def test_what_a_release_serves_is_what_its_stages_opened() -> None:
    assert first(started()).serves == "on to 5 % of everyone, else off"
    assert first(started(closed=True, state=State.DRAFT)).serves == "off"
    staff = replace(RAMP, stages=(Stage("staff", 50.0, ("staff",)), *RAMP.stages))
    assert first(started(staff, rule="germans")).serves == (
        "on to 50 % of staff, else off in rule germans"
    )


def test_an_ended_release_decides_nothing() -> None:
    ended = acted(ANN, machine.roll_back, started())

    assert [each.cause for each in ladder(PLAIN, ended, None, HOUR)] == [Cause.DEFAULT]
    assert open_percentage(PLAIN, ended) is None


def test_nobody_has_the_treatment_of_a_killed_disabled_or_closed_release() -> None:
    assert open_percentage(PLAIN, started()) == 5.0
    assert open_percentage(replace(PLAIN, enabled=False), started()) == 0.0
    assert open_percentage(replace(PLAIN, kill=Kill(ANN, "", 1)), started()) == 0.0
    assert open_percentage(PLAIN, started(closed=True)) == 0.0


ORDER = list(Cause)


@given(
    st.sampled_from(sorted(LIVE_STATES)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([ANN, POLICY, ""]),
    st.integers(0, 8 * HOUR),
)
def test_the_order_is_kill_disabled_stop_policy_rule_default(
    state: State, killed: bool, enabled: bool, stopped: bool, by: str, now_ms: int
) -> None:
    release = started(replace(RAMP, windows=FROZEN), state=state, stopped=stopped, state_by=by)
    targeting = replace(
        PLAIN,
        enabled=enabled,
        kill=Kill(ANN, "", 1) if killed else None,
        rules=(Rule("staff", All(()), Serve("on")),),
    )
    causes = [each.cause for each in ladder(targeting, release, None, now_ms)]

    assert causes == sorted(causes, key=ORDER.index)
    assert len(set(causes)) == len(causes)
    assert (Cause.KILL in causes) is killed
    assert (Cause.DISABLED in causes) is not enabled
    assert causes[-3:] == [Cause.POLICY, Cause.RULE, Cause.DEFAULT]
    stop = stopped or (state is State.PAUSED and by != POLICY)
    assert (Cause.STOP in causes) is stop
