"""Exposures and outcomes of remote evaluation, as counted for a release."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from tidegate.counts import Counts
from tidegate.evaluation.results import Evaluation, Exposure
from tidegate.histogram import LATENCY
from tidegate_server.domain.kinds import Kind
from tidegate_server.ofrep import exposures
from tidegate_server.ofrep.exposures import ExposureCounts, exposures_by_release
from tidegate_server.store import Store, keys

from tests.http_calls import CHECKOUT, POLICY, PRODUCTION, PROJECT, Caller
from tests.sdk.reports import report_document

ALL = "/ofrep/v1/evaluate/flags"
ONE = f"{ALL}/checkout"
TRACK = "/ofrep/v1/track"
HALF = {**POLICY, "stages": [{"percentage": 50}, {"percentage": 100}]}


def context_of(user: str) -> dict[str, Any]:
    return {"context": {"targetingKey": user}}


@pytest.fixture
def web(admin: Caller) -> Caller:
    """Return a client, while half of the users get the treatment."""
    admin.post_ok(f"{PROJECT}/flags", {**CHECKOUT, "client_side": True})
    admin.post_ok(f"{PROJECT}/policies", HALF)
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    admin.post_ok(f"{PRODUCTION}/releases", body)
    return admin.token_for("client", "default", "production")


class Users:
    """Users by their arm."""

    def __init__(self, web: Caller) -> None:
        self.on: list[str] = []
        self.off: list[str] = []
        for number in range(40):
            response = web.post(ONE, context_of(f"user-{number}")).json
            assert response is not None
            (self.on if response["value"] else self.off).append(f"user-{number}")
        assert len(self.on) > 5
        assert len(self.off) > 5

    def __len__(self) -> int:
        return len(self.on) + len(self.off)


@pytest.fixture
def users(web: Caller) -> Users:
    return Users(web)


def counts(app: Flask, store: Store) -> tuple[Counts, Counts]:
    """Return the counts of control and treatment in the store, after a last report."""
    app.extensions["tidegate"].close()
    (release,) = store.all("default", Kind.RELEASE, "production")
    reported = store.evidence.totals("default", "production", release)
    assert reported.client is not None
    assert reported.readings == ()
    (reading,) = reported.client.readings
    return reading.control, reading.treatment


def track_outcome(web: Caller, user: str, variant: str, outcome: str, **more: Any) -> list[str]:
    body = {**context_of(user), "flags": {"checkout": variant}, "outcome": outcome, **more}
    response = web.post(TRACK, body)
    assert response.status_code == 202, response.text
    assert response.json is not None
    counted: list[str] = response.json["counted"]
    return counted


def test_an_evaluation_is_an_exposure_without_an_outcome(
    users: Users, app: Flask, store: Store
) -> None:
    control, treatment = counts(app, store)
    assert control == Counts(exposures=len(users.off))
    assert treatment == Counts(exposures=len(users.on))


def test_repeated_evaluations_are_one_exposure(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    for user in (*users.on, *users.off):
        web.post(ONE, context_of(user))
        etag = web.post(ALL, context_of(user)).headers["ETag"]
        web.post(ALL, context_of(user), headers={"If-None-Match": etag})
    control, treatment = counts(app, store)
    assert control.exposures + treatment.exposures == len(users)


def test_a_bulk_evaluation_counts_for_every_release(web: Caller, app: Flask, store: Store) -> None:
    web.post_ok(ALL, context_of("somebody"))
    control, treatment = counts(app, store)
    assert control.exposures + treatment.exposures == 1


def test_an_outcome_counts_for_the_arm_of_its_variant(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    for user in users.off[:3]:
        assert track_outcome(web, user, "off", "ok", duration_ms=1.5) == ["checkout"]
    for user in users.on[:2]:
        assert track_outcome(web, user, "on", "error") == ["checkout"]
    control, treatment = counts(app, store)
    assert (control.outcomes, control.errors, control.microseconds) == (3, 0, 4_500)
    assert (treatment.outcomes, treatment.errors, treatment.failing) == (2, 2, 2)
    assert control.exposures + treatment.exposures == len(users)


def test_users_with_outcomes_are_the_sample_of_clients(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    for user in (*users.off[:4], *users.off[:2]):
        track_outcome(web, user, "off", "ok")
    for user in users.on[:3]:
        track_outcome(web, user, "on", "error")
    control, treatment = counts(app, store)
    assert (control.sampled, treatment.sampled) == (4, 3)


def test_an_outcome_without_a_duration_has_no_latency() -> None:
    """Otherwise it would count as 0 ms, and latency checks would pass."""
    recorded = ExposureCounts()
    released = {"rel_1": Exposure("rel_1", 1, 1, "treatment", (LATENCY,))}
    recorded.count_outcome(released, "ok", None, "ann", {})
    assert report_document(recorded.reporter)["values"] == []
    recorded.count_outcome(released, "ok", 0, "ann", {})
    (values,) = report_document(recorded.reporter)["values"]
    assert values["treatment"] == {"0": 1}


def test_a_user_who_fails_again_is_one_failing_user(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    for _ in range(3):
        track_outcome(web, users.on[0], "on", "error")
    _, treatment = counts(app, store)
    assert (treatment.errors, treatment.failing) == (3, 1)


def test_an_outcome_with_another_variant_is_no_evidence(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    assert track_outcome(web, users.on[0], "off", "error") == []
    assert track_outcome(web, users.off[0], "on", "error") == []
    assert track_outcome(web, users.off[0], "nope", "error") == []
    control, treatment = counts(app, store)
    assert (control.outcomes, treatment.outcomes) == (0, 0)


def test_an_outcome_counts_for_no_flag_without_a_release(web: Caller, admin: Caller) -> None:
    admin.post_ok(f"{PROJECT}/flags", {"key": "plain", "type": "boolean", "client_side": True})
    admin.post_ok(f"{PROJECT}/flags", {"key": "hidden", "type": "boolean"})
    body = {**context_of("ann"), "outcome": "ok"}
    flags = {"plain": "off", "hidden": "off", "gone": "off"}
    response = web.post(TRACK, {**body, "flags": flags})
    assert (response.status_code, response.json) == (202, {"counted": []})


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
def test_an_invalid_outcome_is_a_bad_request(
    web: Caller, change: dict[str, Any], code: str
) -> None:
    body = {**context_of("ann"), "flags": {"checkout": "on"}, "outcome": "ok", **change}
    response = web.post(TRACK, body)
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["errorCode"] == code


def test_unacknowledged_counts_are_reported_under_a_new_instance_id(
    web: Caller, users: Users, app: Flask, store: Store
) -> None:
    environment = app.extensions["tidegate.ofrep"].environments.get(("default", "production"))
    environment._report()
    (instance,) = store.instances.all("default", "production")
    raw = store._connection.client
    raw.delete(keys.instance("default", "production", instance.id))
    raw.hdel(keys.instance_descriptions("default", "production"), instance.id)
    track_outcome(web, users.on[0], "on", "ok")
    control, treatment = counts(app, store)
    assert treatment.outcomes == 1
    assert control.exposures + treatment.exposures == len(users)
    assert len(store.instances.all("default", "production")) == 1


# Recent exposures --------------------------------------------------------------------


def evaluation(release: str = "r1", step: int = 1, arm: Any = "control") -> Evaluation:
    return Evaluation(True, "on", "SPLIT", exposures=(Exposure(release, step, 1, arm),))


def exposure_count(recorded: ExposureCounts) -> int:
    groups = report_document(recorded.reporter)["counts"]
    return sum(group[arm]["exposures"] for group in groups for arm in ("control", "treatment"))


def test_a_user_is_counted_once_per_window_release_and_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = ExposureCounts()
    for given, user, total in (
        (evaluation(), "ann", 1),
        (evaluation(), "ann", 1),
        (evaluation(), "bob", 2),
        (evaluation(step=2), "ann", 3),
        (evaluation("r2"), "ann", 4),
    ):
        recorded.count_evaluations([given], user)
        assert exposure_count(recorded) == total
    monkeypatch.setattr(exposures, "WINDOW_SECONDS", 0.0)
    recorded.count_evaluations([evaluation()], "ann")
    assert exposure_count(recorded) == 5


def test_only_measures_of_the_release_are_counted() -> None:
    recorded = ExposureCounts()
    released = {"r1": Exposure("r1", 1, 1, "treatment", ("latency", "basket"))}
    recorded.count_outcome(
        released, "ok", None, "ann", {"basket": 3.0, "other": 1.0, "latency": 9.0}
    )
    recorded.count_outcome(released, "ok", 1_500, "ann", {})
    values = report_document(recorded.reporter)["values"]
    counted = {each["measure"]: sum(each["treatment"].values()) for each in values}
    assert counted == {"latency": 1, "basket": 1}


def test_evaluations_without_a_targeting_key_always_count() -> None:
    recorded = ExposureCounts()
    for _ in range(3):
        recorded.count_evaluations([evaluation()], None)
    assert exposure_count(recorded) == 3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposures, "MAX_REMEMBERED", 10)
    recorded = ExposureCounts()
    for number in range(100):
        recorded.count_evaluations([evaluation()], f"user-{number}")
    assert len(recorded._recent) == 10
    assert exposure_count(recorded) == 100


def test_the_first_exposure_of_a_release_counts() -> None:
    both = [evaluation(arm="treatment"), evaluation(arm="control")]
    assert exposures_by_release(both) == {"r1": both[0].exposures[0]}
