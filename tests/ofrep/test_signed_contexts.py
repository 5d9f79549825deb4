"""Signed targeting keys: what clients report of them counts as servers' reports."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from tidegate.context_signing import sign_targeting_key, signature_matches
from tidegate.counts import Counts
from tidegate_server.domain.evidence import Evidence
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import RETIRING_MS, Environment
from tidegate_server.ofrep.exposures import MAX_OUTCOMES
from tidegate_server.store import Store

from tests.http_calls import CHECKOUT, POLICY, PRODUCTION, PROJECT, SET_BY_SERVER, Caller
from tests.waiting import until

ALL = "/ofrep/v1/evaluate/flags"
ONE = f"{ALL}/checkout"
TRACK = "/ofrep/v1/track"
ROTATE = f"{PRODUCTION}/rotate-key"
HALF = {**POLICY, "stages": [{"percentage": 50}, {"percentage": 100}]}


@pytest.fixture
def web(admin: Caller) -> Caller:
    """Return a client, while half of the users get the treatment."""
    admin.post_ok(f"{PROJECT}/flags", {**CHECKOUT, "client_side": True})
    admin.post_ok(f"{PROJECT}/policies", HALF)
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    admin.post_ok(f"{PRODUCTION}/releases", body)
    return admin.token_for("client", "default", "production")


def signed(key: str, user: str, **attributes: Any) -> dict[str, Any]:
    signature = sign_targeting_key(key, user)
    return {"context": {"targetingKey": user, "tidegateSignature": signature, **attributes}}


def track(web: Caller, context: dict[str, Any], variant: str, outcome: str = "ok") -> list[str]:
    answer = web.post(TRACK, {**context, "flags": {"checkout": variant}, "outcome": outcome})
    assert answer.status_code == 202, answer.text
    assert answer.json is not None
    counted: list[str] = answer.json["counted"]
    return counted


def totals(app: Flask, store: Store) -> Evidence:
    """Return what is in the store after a last report."""
    app.extensions["tidegate"].close()
    (release,) = store.all("default", Kind.RELEASE, "production")
    return store.evidence.totals("default", "production", release)


def variant_of(web: Caller, context: dict[str, Any]) -> str:
    answer = web.post(ONE, context)
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    return str(answer.json["variant"])


def test_outcomes_of_a_signed_user_are_evidence_of_servers(
    admin: Caller, web: Caller, app: Flask, store: Store
) -> None:
    key = admin.post_ok(ROTATE, {})["secret"]
    ann, bob = signed(key, "ann"), {"context": {"targetingKey": "bob"}}
    track(web, ann, variant_of(web, ann), "error")
    track(web, bob, variant_of(web, bob), "error")

    found = totals(app, store)
    both = Counts(exposures=1, outcomes=1, errors=1, failing=1, sampled=1)
    (server,) = found.readings
    assert both in (server.control, server.treatment)
    assert server.control + server.treatment == both
    assert found.client is not None
    (client,) = found.client.readings
    assert client.control + client.treatment == both


@pytest.mark.parametrize("path", [ONE, ALL, TRACK])
def test_a_wrong_signature_is_refused_wherever_it_is_sent(
    admin: Caller, web: Caller, path: str
) -> None:
    key = admin.post_ok(ROTATE, {})["secret"]
    of_bob = sign_targeting_key(key, "bob")
    for user, signature in (
        ("ann", of_bob),
        ("ann", of_bob.upper()),
        ("bob", of_bob[:-1]),
        ("bob", of_bob + " "),
        ("bob", "ünïcode"),
        ("", sign_targeting_key(key, "")),
        (None, of_bob),
    ):
        context = {"tidegateSignature": signature}
        if user is not None:
            context["targetingKey"] = user
        refused = web.post(path, {"context": context, "flags": {"checkout": "on"}, "outcome": "ok"})
        assert refused.status_code == 400, (user, signature)
        assert refused.json is not None
        assert refused.json["errorCode"] == "INVALID_CONTEXT"
        assert "does not belong to this targetingKey" in refused.json["errorDetails"]
        assert of_bob not in refused.text


@pytest.mark.parametrize("signature", ["", None, 7, ["x"], {"a": "b"}])
def test_a_signature_that_is_no_text_is_refused(web: Caller, signature: Any) -> None:
    refused = web.post(ONE, {"context": {"targetingKey": "a", "tidegateSignature": signature}})
    assert refused.status_code == 400
    assert refused.json is not None
    assert "tidegateSignature must be" in refused.json["errorDetails"]


def test_a_signature_without_a_key_says_how_to_make_one(web: Caller) -> None:
    refused = web.post(ONE, signed("tgc_guess", "ann"))
    assert refused.status_code == 400
    assert "tidegate environment rotate-key" in refused.text


def test_the_old_key_is_valid_until_the_next_rotation(admin: Caller, web: Caller) -> None:
    first = admin.post_ok(ROTATE, {})
    assert first["old_key_until"] is None
    variant_of(web, signed(first["secret"], "ann"))
    second = admin.post_ok(ROTATE, {})
    assert second["old_key_until"] is not None
    assert second["secret"] != first["secret"]
    variant_of(web, signed(first["secret"], "ann"))
    third = admin.post_ok(ROTATE, {})
    until(lambda: web.post(ONE, signed(first["secret"], "ann")).status_code == 400)
    variant_of(web, signed(second["secret"], "ann"))
    variant_of(web, signed(third["secret"], "ann"))


def test_the_old_key_ends_after_a_day() -> None:
    environment = Environment(
        "production",
        context_key_id="new",
        retiring_context_key_id="old",
        context_key_retires_ms=RETIRING_MS,
    )
    assert environment.context_key_ids(RETIRING_MS - 1) == ("new", "old")
    assert environment.context_key_ids(RETIRING_MS) == ("new",)
    assert Environment("production").context_key_ids(0) == ()


def test_an_edit_of_the_environment_keeps_its_context_key(admin: Caller, web: Caller) -> None:
    key = admin.post_ok(ROTATE, {})["secret"]
    edited = admin.call("PUT", PRODUCTION, {"name": "Live"}, match="*")
    assert edited.status_code == 200
    assert "secret" not in edited.text
    assert key not in admin.get(PRODUCTION).text
    variant_of(web, signed(key, "ann"))


def test_another_environment_has_another_key(admin: Caller, web: Caller) -> None:
    admin.post_ok(ROTATE, {})
    elsewhere = admin.post_ok(f"{PROJECT}/environments/development/rotate-key", {})
    assert web.post(ONE, signed(elsewhere["secret"], "ann")).status_code == 400


@pytest.mark.parametrize("role", ["writer", "reader", "sdk", "client"])
def test_only_an_administrator_makes_context_keys(admin: Caller, role: str) -> None:
    token = admin.token_for(role, "default", "production")
    assert token.post(ROTATE, {}).status_code == 403


def test_the_audit_log_says_who_made_a_key_and_never_shows_it(admin: Caller) -> None:
    key = admin.post_ok(ROTATE, {})["secret"]
    audit = admin.get("/api/v1/projects/default/audit")
    assert "environment.rotate_key" in audit.text
    assert key not in audit.text


def test_rules_and_responses_never_see_the_signature(admin: Caller, web: Caller) -> None:
    key = admin.post_ok(ROTATE, {})["secret"]
    admin.post_ok(f"{PROJECT}/flags", {**CHECKOUT, "key": "banner", "client_side": True})
    targeting = f"{PRODUCTION}/flags/banner"
    current = admin.get(targeting).json
    assert current is not None
    for name in SET_BY_SERVER:
        current.pop(name, None)
    rule = {
        "id": "signed",
        "when": {"attribute": "tidegateSignature", "operator": "exists"},
        "serve": {"variant": "on"},
    }
    changed = {**current, "enabled": True, "rules": [rule]}
    edited = admin.call("PUT", targeting, changed, match="*")
    assert edited.status_code == 200, edited.text
    context = signed(key, "ann")
    until(lambda: '"banner"' in web.post(ALL, context).text)
    for path in (f"{ALL}/banner", ALL):
        answer = web.post(path, context)
        assert answer.status_code == 200
        assert context["context"]["tidegateSignature"] not in answer.text
        assert "TARGETING_MATCH" not in answer.text


def test_no_field_of_a_request_chooses_its_source(
    admin: Caller, web: Caller, app: Flask, store: Store
) -> None:
    context = {"context": {"targetingKey": "ann", "source": "server", "role": "sdk"}}
    variant = variant_of(web, context)
    body = {"flags": {"checkout": variant}, "outcome": "error", "source": "server", **context}
    assert web.post(TRACK, body).status_code == 202
    assert web.post("/sdk/v1/reports", {"schema": 1}).status_code == 403

    found = totals(app, store)
    assert found.readings == ()
    assert found.client is not None


@pytest.mark.parametrize("sign", [True, False], ids=["signed", "unsigned"])
def test_one_user_is_one_user_however_often_it_reports(
    admin: Caller, web: Caller, app: Flask, store: Store, sign: bool
) -> None:
    key = admin.post_ok(ROTATE, {})["secret"]
    context = signed(key, "ann") if sign else {"context": {"targetingKey": "ann"}}
    variant = variant_of(web, context)
    counted = [track(web, context, variant, "error") for _ in range(MAX_OUTCOMES + 5)]
    assert counted == [["checkout"]] * MAX_OUTCOMES + [[]] * 5

    found = totals(app, store)
    source = found if sign else found.client
    assert source is not None
    (reading,) = source.readings
    both = reading.control + reading.treatment
    assert (both.outcomes, both.failing) == (MAX_OUTCOMES, 1)


def test_a_service_may_report_as_often_as_it_likes(admin: Caller, web: Caller) -> None:
    service = admin.token_for("sdk", "default", "production")
    context = {"context": {"targetingKey": "batch"}}
    variant = variant_of(service, context)
    for _ in range(MAX_OUTCOMES + 5):
        assert track(service, context, variant) == ["checkout"]


@given(st.text(), st.text(), st.text())
def test_a_signature_belongs_to_one_user(key: str, user: str, other: str) -> None:
    signature = sign_targeting_key(key, user)
    assert signature_matches(key, user, signature)
    assert signature_matches(key, other, signature) is (user == other)


def test_the_signature_is_what_any_language_computes() -> None:
    # printf %s user-42 | openssl dgst -sha256 -hmac tgc_example
    assert sign_targeting_key("tgc_example", "user-42") == (
        "65cc84af8f8d7e2c835b99ab50c7c0835900fd36ea0b0a4e648d81a8494fec7d"
    )
