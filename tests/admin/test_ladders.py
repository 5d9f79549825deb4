"""Every view of a flag and a release says what decides now, in each state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.domain.change import Address, Change, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.release import Release
from tidegate_server.store import Store

from tests.decisions.simulated_release import window_of
from tests.http_calls import PRODUCTION, PROJECT, Caller

FLAG = f"{PRODUCTION}/flags/checkout"


def targeting(caller: Caller) -> dict[str, Any]:
    read: dict[str, Any] | None = caller.get(FLAG).json
    assert read is not None
    return read


def disable(caller: Caller) -> None:
    read = caller.get(FLAG)
    assert read.json is not None
    fields = ("enabled", "off_variant", "kill_variant", "default", "rules", "prerequisites")
    body = {name: read.json[name] for name in fields}
    answer = caller.put(FLAG, {**body, "enabled": False}, match=read.headers["ETag"])
    assert answer.status_code == 200, answer.text


def act(path: str, **body: Any) -> Callable[[Caller, str], None]:
    def do(caller: Caller, release: str) -> None:
        caller.post_ok(path.format(release=release), body)

    return do


PAUSE = act("{release}/pause", reason="lunch")
STATES: dict[str, tuple[list[Callable[[Caller, str], None]], str, str, float | None]] = {
    "running": ([], "policy", "running", 5),
    "paused": ([PAUSE], "stop", "paused", 5),
    "full stop": ([act("{release}/pause", stop=True)], "stop", "full stop", 5),
    "disabled": ([lambda caller, _: disable(caller)], "disabled", "disabled", 0),
    "paused and disabled": (
        [PAUSE, lambda caller, _: disable(caller)],
        "disabled",
        "disabled",
        0,
    ),
    "killed": ([act(f"{FLAG}/kill", reason="it burns")], "kill", "killed", 0),
    "disabled and killed": (
        [lambda caller, _: disable(caller), act(f"{FLAG}/kill")],
        "kill",
        "killed",
        0,
    ),
    "restored": ([act(f"{FLAG}/kill"), act(f"{FLAG}/restore")], "stop", "paused", 5),
    "rolled back": ([act("{release}/rollback")], "default", "default rule", None),
    "completed": ([act("{release}/complete")], "default", "default rule", None),
}


@pytest.mark.parametrize("state", STATES)
def test_the_flag_the_release_and_both_lists_agree(
    checkout: Caller, release: str, state: str
) -> None:
    moves, cause, word, opened = STATES[state]
    for move in moves:
        move(checkout, release)
    shown = checkout.get(release).json
    listed = checkout.get(f"{PRODUCTION}/releases").json
    flags = checkout.get(f"{PRODUCTION}/flags").json
    assert shown is not None
    assert listed is not None
    assert flags is not None

    flag = targeting(checkout)
    assert (flag["ladder"][0]["cause"], flag["ladder"][0]["state"]) == (cause, word)
    assert flags["items"] == [flag]
    assert listed["items"] == [shown]
    assert shown["open_percentage"] == opened
    assert shown["ladder"] == ([] if opened is None else flag["ladder"])
    explanation = checkout.get(f"{release}/explanation").json
    assert explanation is not None
    if opened is not None:
        assert word in explanation["headline"]
        assert explanation["ending"].startswith(f"Now: {flag['ladder'][0]['text']}.")


def test_who_disabled_a_flag_and_when_is_known(checkout: Caller, release: str) -> None:
    disable(checkout)
    first = targeting(checkout)["ladder"][0]

    assert first["actor"].startswith("first admin (")
    assert first["since"] is not None
    assert first["text"].startswith("disabled by first admin (")
    disable(checkout)  # disabling it again changes nothing
    assert targeting(checkout)["ladder"][0] == first


def test_a_frozen_release_says_so(checkout: Caller) -> None:
    policy = checkout.get(f"{PROJECT}/policies/careful").json
    assert policy is not None
    frozen = {name: policy[name] for name in ("stages", "interval", "bake")}
    today = datetime.now(UTC).date()
    begins, ends = today - timedelta(days=1), today + timedelta(days=5)
    freeze = {"from": str(begins), "to": str(ends), "reason": "sale"}
    checkout.post_ok(
        f"{PROJECT}/policies", {"key": "frozen", **frozen, "windows": {"freeze": [freeze]}}
    )
    started = checkout.post_ok(
        f"{PRODUCTION}/releases", {"flag": "checkout", "treatment": "on", "policy": "frozen"}
    )

    assert started["ladder"][0]["text"].startswith(f"frozen since {begins} 00:00:00 UTC: until ")
    assert started["ladder"][0]["text"].endswith(": sale")


def evaluate(store: Store, release: str, outcomes: int = 100) -> Progress:
    """Store the progress after one evaluation, as the policy job does."""
    id = release.rpartition("/")[2]
    stored = store.get("default", Address(Kind.RELEASE, id, "production"))
    assert stored is not None
    subject: Release = stored.document
    address = Address(Kind.PROGRESS, id, "production")
    known = store.get("default", address)
    before: Progress = known.document if known else initial_progress(subject)
    now = before.next_due_ms
    window = window_of(
        subject, (19 * outcomes, 9), (outcomes, 0), opened_ms=before.evaluated_ms, closed_ms=now
    )
    after, _ = decide(subject, before, window, now)
    revision = known.revision if known else 0
    store.commit(Change("default", (Put(address, after, revision),)))
    return after


def progress(caller: Caller, release: str) -> dict[str, Any]:
    read = caller.get(release).json
    assert read is not None
    found: dict[str, Any] = read["progress"]
    return found


NONE = {"exposures": 0, "outcomes": 0, "errors": 0, "failing": 0, "sampled": 0}


def test_right_after_an_advance_the_counts_of_the_stage_are_those_of_the_new_stage(
    checkout: Caller, release: str, store: Store
) -> None:
    evaluate(store, release)
    assert progress(checkout, release)["stage_treatment"]["outcomes"] == 100
    before = progress(checkout, release)["checks"][0]
    tag = checkout.get(release).headers["ETag"]
    checkout.post_ok(f"{release}/advance", {"reason": "sure"})
    after = progress(checkout, release)

    assert (after["stage_control"], after["stage_treatment"]) == (NONE, NONE)
    assert after["treatment"]["outcomes"] == 100
    assert after["checks"][0]["evidence"] == before["evidence"]
    assert after["checks"][0]["compared"] is False  # the last stage opens 100 %
    assert (after["advance"], after["advance_at"]) == (None, None)
    assert after["last_decision"]["reason"].startswith("waiting: ")
    assert checkout.get(release).headers["ETag"] != tag
    shown = checkout.get(release).json
    assert shown is not None
    assert shown["ladder"][0]["reason"] == "sure; not evaluated since"
    evaluate(store, release, 7)
    assert progress(checkout, release)["stage_treatment"]["outcomes"] == 7


@pytest.mark.parametrize(
    ("path", "evaluated"),
    [
        ("{release}/pause", True),
        ("{release}/rollback", False),
        ("{release}/complete", False),
        (f"{FLAG}/kill", False),
    ],
)
def test_only_a_release_that_is_evaluated_has_a_next_evaluation(
    checkout: Caller, release: str, store: Store, path: str, evaluated: bool
) -> None:
    evaluate(store, release)
    assert progress(checkout, release)["next_evaluation_at"] is not None
    act(path)(checkout, release)
    assert (progress(checkout, release)["next_evaluation_at"] is not None) is evaluated


def test_without_a_check_against_control_there_is_no_evidence(
    checkout: Caller, store: Store
) -> None:
    checkout.post_ok(
        f"{PROJECT}/policies",
        {
            "key": "limit",
            "stages": [{"percentage": 5}, {"percentage": 100}],
            "error_rate": "off",
            "checks": [{"compare": "absolute", "threshold": 0.02}],
        },
    )
    started = checkout.post_ok(
        f"{PRODUCTION}/releases", {"flag": "checkout", "treatment": "on", "policy": "limit"}
    )
    release = f"{PRODUCTION}/releases/{started['id']}"
    evaluate(store, release)
    shown = progress(checkout, release)

    numbers = (
        *("evidence", "rollback_at", "advance", "advance_at", "overdispersion"),
        *("wobble", "detectable_ratio"),
    )
    assert {name: shown[name] for name in numbers} == dict.fromkeys(numbers)
    assert shown["checks"][0]["compared"] is None
