"""Forms keep what they do not show, say once what they did, and remember where one was."""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import Any

import pytest
from flask import Flask, g
from tidegate_server.dashboard import api, routes
from tidegate_server.dashboard.api import ApiProblem

from tests.admin.test_me import add_second_factor
from tests.http_calls import PROJECT, Caller
from tests.people import PASSWORD, join

PLACE = "/p/default/e/production"


def etag_in(page: str) -> str:
    return page.partition('name="etag" value="')[2].partition('"')[0].replace("&#34;", '"')


def test_a_segment_keeps_its_description(checkout: Caller) -> None:
    described = {"name": "Staff", "description": "Who works here", "included": ["ann"]}
    assert checkout.put(f"{PROJECT}/segments/staff", described, match="*").status_code == 200
    page = checkout.get("/p/default/segments/staff/edit").text
    assert "Who works here" in page
    form = {"etag": etag_in(page), "name": "The staff", "description": "Who works here"}
    sent = checkout.call("POST", "/p/default/segments/staff/edit", data={**form, "included": "ann"})
    assert sent.status_code == 303, sent.text
    saved = checkout.get(f"{PROJECT}/segments/staff").json
    assert saved is not None
    assert (saved["name"], saved["description"]) == ("The staff", "Who works here")
    assert saved["included"] == ["ann"]


def test_a_conflict_loses_nothing_and_can_be_decided(checkout: Caller) -> None:
    address = "/p/default/segments/staff/edit"
    form = {"etag": etag_in(checkout.get(address).text), "name": "mine"}
    theirs = checkout.put(f"{PROJECT}/segments/staff", {"name": "theirs"}, match="*")
    assert theirs.status_code == 200
    refused = checkout.call("POST", address, data=form)
    assert refused.status_code == 412
    assert "Somebody changed it while you edited." in refused.text
    assert 'value="mine"' in refused.text
    over = checkout.call("POST", address, data={**form, "etag": etag_in(refused.text)})
    assert over.status_code == 303
    saved = checkout.get(f"{PROJECT}/segments/staff").json
    assert saved is not None
    assert saved["name"] == "mine"


def test_what_is_wrong_elsewhere_hides_no_conflict(checkout: Caller) -> None:
    address = "/p/default/segments/staff/edit"
    form = {"etag": etag_in(checkout.get(address).text), "name": "mine"}
    theirs = checkout.put(f"{PROJECT}/segments/staff", {"name": "theirs"}, match="*")
    assert theirs.status_code == 200
    wrong = checkout.call("POST", address, data={**form, "rule-0-source": "{"})
    assert wrong.status_code == 422
    assert etag_in(wrong.text) == form["etag"]


def test_what_a_form_did_is_said_once(checkout: Caller) -> None:
    sent = checkout.call("POST", f"{PLACE}/flags/new", data={"key": "new", "type": "boolean"})
    assert sent.status_code == 303, sent.text
    first = checkout.get(sent.headers["Location"]).text
    assert 'class="toast"' in first
    assert 'class="toast"' not in checkout.get(sent.headers["Location"]).text


def test_the_start_leads_to_where_one_was_last(checkout: Caller) -> None:
    assert checkout.get("/").headers["Location"] == f"{PLACE}/flags"
    checkout.get("/p/default/e/development/flags")
    assert checkout.get("/").headers["Location"] == "/p/default/e/development/flags"


def test_a_protected_environment_is_shown_and_guarded_as_production(checkout: Caller) -> None:
    address = "/p/default/e/development/flags/checkout/kill"
    assert "Hold to kill" not in checkout.get(address).text
    protected = {"required_approvals": 1}
    path = f"{PROJECT}/environments/development"
    assert checkout.put(path, protected, match="*").status_code == 200
    assert "Hold to kill" in checkout.get(address).text


@pytest.mark.parametrize(("status", "shown"), [(429, 200), (503, 200), (500, 500)])
def test_a_release_is_shown_while_its_forecast_has_to_wait(
    checkout: Caller,
    release: str,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    shown: int,
) -> None:
    get = api.get

    def refuse(*parts: str, **query: Any) -> Any:
        if parts[-1] == "forecast":
            raise ApiProblem(HTTPStatus(status), {"detail": "Too much to compute."})
        return get(*parts, **query)

    monkeypatch.setattr(api, "get", refuse)
    page = checkout.get(f"{PLACE}/releases/{release.rpartition('/')[2]}")
    assert page.status_code == shown


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("key: x\nstages: [1", "is not YAML"),
        ("key: careful\nstages: []", "<b>Line 2</b>"),
        ("[]", "Nothing was changed"),
    ],
)
def test_a_policy_that_is_refused_stays_as_it_was_typed(
    admin: Caller, source: str, says: str
) -> None:
    refused = admin.call("POST", "/p/default/policies/new", data={"source": source})
    assert refused.status_code in (400, 422)
    assert says in refused.text
    assert source in refused.text.replace("\r", "")


def test_a_list_is_read_to_its_end(admin: Caller) -> None:
    for number in range(101):
        admin.post_ok(f"{PROJECT}/segments", {"key": f"s{number}"})
    admin.post_ok(f"{PROJECT}/flags", {"key": "wide", "type": "boolean"})
    page = admin.get(f"{PLACE}/flags/wide/rules").text
    assert all(f'value="s{number}"' in page for number in range(101))


def test_what_a_page_asks_leaves_what_is_noted_of_the_page_alone(
    app: Flask, checkout: Caller
) -> None:
    headers = {"Authorization": f"Bearer {checkout.token}"}
    with app.test_request_context(f"{PLACE}/flags", headers=headers):
        g.began, g.request_id = 1.0, "a-page"
        assert api.all_of("projects")
        assert (g.began, g.request_id) == (1.0, "a-page")


@pytest.mark.parametrize("way", ["sign-in", "invitation"])
def test_a_second_factor_is_asked_for_when_it_is_needed(
    app: Flask, admin: Caller, way: str
) -> None:
    ada = join(app, admin, "ada@example.com", {"role": "admin"})
    _, codes, _ = add_second_factor(ada)
    made = admin.post_ok(f"/api/v1/people/{ada.person['id']}/invitation", {})
    form = {
        "email": "ada@example.com",
        "password": PASSWORD,
        "invitation": made["link"],
        "next": f"{PLACE}/flags",
    }
    stranger = app.test_client()
    first = stranger.post(f"/{way}", data=form)
    assert first.status_code == 401
    assert 'name="code"' in first.text
    wrong = stranger.post(f"/{way}", data={**form, "code": "000000"})
    assert wrong.status_code == 401
    assert 'name="code"' in wrong.text
    right = stranger.post(f"/{way}", data={**form, "code": codes[0]})
    assert right.status_code == 303, right.text
    assert right.headers["Location"] == f"{PLACE}/flags"
    assert stranger.get(f"{PLACE}/flags").status_code == 200


DIGITS, DEEP = "9" * 5_000, '{"a":' * 30_000


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        (f"{PLACE}/flags/checkout/playground", {"attributes": DEEP}),
        (f"{PLACE}/flags/checkout/playground", {"version": DIGITS}),
        (f"{PLACE}/flags/checkout/edit", {"do": f"remove-variant {DIGITS}"}),
        (f"{PLACE}/flags/checkout/edit", {"metadata": f"ticket: {DEEP[:60_000]}"}),
        (f"{PLACE}/flags/checkout/edit", {"variants-0-key": "on", "variants-0-value": DEEP}),
        (f"{PLACE}/flags/checkout/edit", {"variants-0-key": "on", "variants-0-value": DIGITS}),
        (f"{PLACE}/flags/new", {"key": "new", "type": "object", "variants": f"on = {DEEP}"}),
        (f"{PLACE}/flags/checkout/rules", {"do": f"remove-rule {DIGITS}"}),
        (f"{PLACE}/flags/checkout/rules", {"do": f"move 0 {DIGITS}"}),
        (f"{PLACE}/flags/checkout/promote?to=development", {"from": DIGITS, "do": "promote"}),
        ("/p/default/segments/new", {"do": f"remove-line 0 {DIGITS}"}),
        ("/p/default/segments/staff/edit", {"rule-0-id": "r", "rule-0-source": DEEP}),
        ("/p/default/policies/careful/edit", {"do": f"remove stages {DIGITS}", "shown": DEEP}),
        ("/p/default/policies/new", {"source": DEEP}),
        ("/p/default/policies/new", {"source": "- " * 30_000}),
        ("/p/default/schedules/new/yaml", {"operations": DEEP}),
        ("/p/default/schedules/new", {"how": "every", "every": "09:00", "month_days": DIGITS}),
        ("/p/default/settings/tokens", {"name": "web", "role": "client", "rate_limit": DIGITS}),
        ("/p/default/settings/environments/production", {"required_approvals": DIGITS}),
        ("/sign-in/kept", {"kept_form": DEEP}),
    ],
)
def test_what_nobody_types_is_refused_and_breaks_no_page(
    checkout: Caller, page: str, fields: dict[str, str]
) -> None:
    sent = checkout.call("POST", page, data=fields)
    assert sent.status_code < 500, sent.text


def test_addresses_and_cookies_that_nobody_made_break_no_page(checkout: Caller) -> None:
    history = f"{PLACE}/flags/checkout/history/definition/1?with={DIGITS}"
    assert checkout.get(history).status_code < 500
    for text in ("\\ud800", "%ED%A0%80", "%", "\\N{nothing}", "\xff"):
        checkout.client.set_cookie("tidegate-done", text)
        assert checkout.get(f"{PLACE}/flags").status_code == 200, text


def test_json_that_parsers_read_differently_is_refused(checkout: Caller) -> None:
    twice = '{"attribute": "plan", "attribute": "country", "operator": "equals", "value": "DE"}'
    form = {"key": "de", "rule-0-id": "r", "rule-0-source": twice}
    sent = checkout.call("POST", "/p/default/segments/new", data=form)
    assert sent.status_code == 422
    assert "has the key &#39;attribute&#39; twice" in sent.text


def test_a_form_that_is_too_long_is_refused_to_who_may_not_send_it_either(
    checkout: Caller,
) -> None:
    viewer = checkout.token_for("viewer", "default", None)
    for caller in (Caller(checkout.client, None), viewer):
        for length in (600_000, 2_000_000):
            data = {"name": "x" * length, "file": (BytesIO(b""), "")}
            assert caller.call("POST", f"{PLACE}/flags/new", data=data).status_code == 413


def test_a_form_with_more_fields_than_a_page_has_is_refused(
    checkout: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MOST_FIELDS", 10)
    for caller in (Caller(checkout.client, None), checkout):
        for page in (f"{PLACE}/flags/checkout/rules", "/sign-in"):
            sent = caller.call("POST", page, data={f"f{number}": "" for number in range(11)})
            assert sent.status_code == 413
            sent = caller.call("POST", page, data={f"f{number}": "" for number in range(10)})
            assert sent.status_code != 413


def test_a_flag_of_many_rules_and_variants_can_be_edited(
    checkout: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of up to 500 rules has a weight for each of up to 100 variants."""
    monkeypatch.setattr(routes, "MOST_FIELDS", 10)
    weights = {f"rule-{rule}-serve-v{variant}": "" for rule in range(5) for variant in range(10)}
    sent = checkout.call(
        "POST", f"{PLACE}/flags/checkout/rules", data={**weights, "do": "add-rule"}
    )
    assert sent.status_code == 200


@pytest.mark.parametrize(("page", "field"), [("edit", "metadata"), ("playground", "attributes")])
def test_lines_that_are_too_long_are_refused(checkout: Caller, page: str, field: str) -> None:
    lines = "\n".join(f"a{number}: b" for number in range(10_000))
    sent = checkout.call("POST", f"{PLACE}/flags/checkout/{page}", data={field: lines})
    assert sent.status_code == 422
    assert "at most 64,000 characters" in sent.text
