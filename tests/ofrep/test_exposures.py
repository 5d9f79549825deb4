"""What evaluations and outcomes through the API count for a release."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from tidegate.counts import Counts
from tidegate.evaluation.results import Evaluation, Exposure
from tidegate.histogram import LATENCY
from tidegate_server.domain.change import Kind
from tidegate_server.ofrep import exposures
from tidegate_server.ofrep.exposures import ExposureCounts, exposures_by_release
from tidegate_server.store import Store

from tests.http_calls import CHECKOUT, POLICY, PRODUCTION, PROJECT, Caller

ALL = "/ofrep/v1/evaluate/flags"
ONE = f"{ALL}/checkout"
TRACK = "/ofrep/v1/track"
HALF = {**POLICY, "stages": [{"percentage": 50}, {"percentage": 100}]}


def of(user: str) -> dict[str, Any]:
    return {"context": {"targetingKey": user}}


@pytest.fixture
def web(admin: Caller) -> Caller:
    """A page's client, while half of the users are opened."""
    admin.post_ok(f"{PROJECT}/flags", {**CHECKOUT, "client_side": True})
    admin.post_ok(f"{PROJECT}/policies", HALF)
    asked = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    admin.post_ok(f"{PRODUCTION}/releases", asked)
    return admin.token_for("client", "default", "production")


class Users:
    """Users by the arm that they are in."""

    def __init__(self, web: Caller) -> None:
        self.on: list[str] = []
        self.off: list[str] = []
        for number in range(40):
            answer = web.post(ONE, of(f"user-{number}")).json
            assert answer is not None
            (self.on if answer["value"] else self.off).append(f"user-{number}")
        assert len(self.on) > 5
        assert len(self.off) > 5

    def __len__(self) -> int:
        return len(self.on) + len(self.off)


@pytest.fixture
def users(web: Caller) -> Users:
    return Users(web)


def counts(app: Flask, store: Store) -> tuple[Counts, Counts]:
    """What the store has of both arms, after a last report."""
    app.extensions["tidegate"].close()
    (release,) = store.all("default", Kind.RELEASE, "production")
    (reading,) = store.evidence("default", "production", release).readings
    return reading.control, reading.treatment


def ended(web: Caller, user: str, variant: str, outcome: str, **more: Any) -> list[str]:
    said = {**of(user), "flags": {"checkout": variant}, "outcome": outcome, **more}
    answer = web.post(TRACK, said)
    assert answer.status_code == 202, answer.text
    assert answer.json is not None
    counted: list[str] = answer.json["counted"]
    return counted


def test_an_evaluation_is_an_exposure_without_an_outcome(
    users: Users, app: Flask, store: Store
) -> None:
    control, treatment = counts(app, store)
    assert control == Counts(exposures=len(users.off))
    assert treatment == Counts(exposures=len(users.on))


def test_asking_again_is_no_other_exposure(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    for user in (*users.on, *users.off):
        web.post(ONE, of(user))
        etag = web.post(ALL, of(user)).headers["ETag"]
        web.post(ALL, of(user), headers={"If-None-Match": etag})
    control, treatment = counts(app, store)
    assert control.exposures + treatment.exposures == len(users)


def test_a_bulk_evaluation_exposes_to_every_release(web: Caller, app: Flask, store: Store) -> None:
    web.post_ok(ALL, of("somebody"))
    control, treatment = counts(app, store)
    assert control.exposures + treatment.exposures == 1


def test_an_outcome_counts_for_the_arm_that_was_shown(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    for user in users.off[:3]:
        assert ended(web, user, "off", "ok", duration_ms=1.5) == ["checkout"]
    for user in users.on[:2]:
        assert ended(web, user, "on", "error") == ["checkout"]
    control, treatment = counts(app, store)
    assert (control.outcomes, control.errors, control.microseconds) == (3, 0, 4_500)
    assert (treatment.outcomes, treatment.errors, treatment.failing) == (2, 2, 2)
    assert control.exposures + treatment.exposures == len(users)


def test_a_duration_that_nobody_said_is_no_latency() -> None:
    """Else pages that say none would all be fast, and a check of latency would pass."""
    recorded = ExposureCounts()
    met = {"rel_1": Exposure("rel_1", 1, 1, "treatment", (LATENCY,))}
    recorded.count_outcome(met, "ok", None, "ann", {})
    assert recorded.reporter.compose()["values"] == []
    recorded.count_outcome(met, "ok", 0, "ann", {})
    (told,) = recorded.reporter.compose()["values"]
    assert told["treatment"] == {"0": 1}


def test_who_fails_again_is_one_failing_user(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    for _ in range(3):
        ended(web, users.on[0], "on", "error")
    _, treatment = counts(app, store)
    assert (treatment.errors, treatment.failing) == (3, 1)


def test_what_is_not_shown_any_more_is_no_evidence(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    assert ended(web, users.on[0], "off", "error") == []
    assert ended(web, users.off[0], "on", "error") == []
    assert ended(web, users.off[0], "nope", "error") == []
    control, treatment = counts(app, store)
    assert (control.outcomes, treatment.outcomes) == (0, 0)


def test_flags_without_a_release_count_for_nothing(web: Caller, admin: Caller) -> None:
    admin.post_ok(f"{PROJECT}/flags", {"key": "plain", "type": "boolean", "client_side": True})
    admin.post_ok(f"{PROJECT}/flags", {"key": "hidden", "type": "boolean"})
    said = {**of("ann"), "outcome": "ok"}
    flags = {"plain": "off", "hidden": "off", "gone": "off"}
    answer = web.post(TRACK, {**said, "flags": flags})
    assert (answer.status_code, answer.json) == (202, {"counted": []})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"context": {}}, "TARGETING_KEY_MISSING"),
        ({"context": {"targetingKey": ""}}, "TARGETING_KEY_MISSING"),
        ({"context": []}, "INVALID_CONTEXT"),
        ({"flags": {}}, "PARSE_ERROR"),
        ({"flags": ["checkout"]}, "PARSE_ERROR"),
        ({"flags": {"checkout": True}}, "PARSE_ERROR"),
        ({"flags": {f"f{n}": "on" for n in range(101)}}, "PARSE_ERROR"),
        ({"outcome": "fine"}, "PARSE_ERROR"),
        ({"outcome": None}, "PARSE_ERROR"),
        ({"duration_ms": -1}, "PARSE_ERROR"),
        ({"duration_ms": "1"}, "PARSE_ERROR"),
        ({"duration_ms": True}, "PARSE_ERROR"),
        ({"duration_ms": 1e12}, "PARSE_ERROR"),
        ({"duration_ms": None}, "PARSE_ERROR"),
        ({"values": [1]}, "PARSE_ERROR"),
        ({"values": None}, "PARSE_ERROR"),
        ({"values": {"basket": "1"}}, "PARSE_ERROR"),
        ({"values": {"basket": True}}, "PARSE_ERROR"),
        ({"values": {f"v{n}": 1 for n in range(21)}}, "PARSE_ERROR"),
    ],
)
def test_what_is_no_outcome_is_a_bad_request(
    web: Caller, change: dict[str, Any], code: str
) -> None:
    said = {**of("ann"), "flags": {"checkout": "on"}, "outcome": "ok", **change}
    answer = web.post(TRACK, said)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["errorCode"] == code


def test_what_was_not_acknowledged_is_counted_after_the_store_forgot(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    environment = app.extensions["tidegate.ofrep"].environments.get(("default", "production"))
    environment._report()
    (instance,) = store.instances("default", "production")
    store._client.delete(f"tg:{{default}}:instance:production:{instance.id}")
    ended(web, users.on[0], "on", "ok")
    control, treatment = counts(app, store)
    assert treatment.outcomes == 1
    assert control.exposures + treatment.exposures == len(users)
    assert len(store.instances("default", "production")) == 1


# Whom it remembers -------------------------------------------------------------------


def answer(release: str = "r1", step: int = 1, arm: Any = "control") -> Evaluation:
    return Evaluation(True, "on", "SPLIT", exposures=(Exposure(release, step, 1, arm),))


def exposed(recorded: ExposureCounts) -> int:
    groups = recorded.reporter.compose()["counts"]
    return sum(group[arm]["exposures"] for group in groups for arm in ("control", "treatment"))


def test_a_user_counts_once_a_window_for_each_step_of_a_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = ExposureCounts()
    for given, user, total in (
        (answer(), "ann", 1),
        (answer(), "ann", 1),
        (answer(), "bob", 2),
        (answer(step=2), "ann", 3),
        (answer("r2"), "ann", 4),
    ):
        recorded.count_evaluations([given], user)
        assert exposed(recorded) == total
    monkeypatch.setattr(exposures, "WINDOW_SECONDS", 0.0)
    recorded.count_evaluations([answer()], "ann")
    assert exposed(recorded) == 5


def test_values_are_counted_where_a_release_asks_for_them() -> None:
    recorded = ExposureCounts()
    met = {"r1": Exposure("r1", 1, 1, "treatment", ("latency", "basket"))}
    recorded.count_outcome(met, "ok", None, "ann", {"basket": 3.0, "other": 1.0, "latency": 9.0})
    recorded.count_outcome(met, "ok", 1_500, "ann", {})
    values = recorded.reporter.compose()["values"]
    found = {each["measure"]: sum(each["treatment"].values()) for each in values}
    assert found == {"latency": 1, "basket": 1}


def test_who_has_no_key_is_counted_every_time() -> None:
    recorded = ExposureCounts()
    for _ in range(3):
        recorded.count_evaluations([answer()], None)
    assert exposed(recorded) == 3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposures, "MOST_REMEMBERED", 10)
    recorded = ExposureCounts()
    for number in range(100):
        recorded.count_evaluations([answer()], f"user-{number}")
    assert len(recorded._recent) == 10
    assert exposed(recorded) == 100


def test_of_a_releases_arms_the_first_counts() -> None:
    both = [answer(arm="treatment"), answer(arm="control")]
    assert exposures_by_release(both) == {"r1": both[0].exposures[0]}
