"""The web client of the remote evaluation protocol, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.ofrep_clients.clients import ANN, Page
from tests.ofrep_clients.node import ClientError, Driver, driven
from tests.ofrep_clients.server import Shop

SPLIT = [{"variant": "red", "weight": 50}, {"variant": "blue", "weight": 50}]
POLLING = {"changeDetection": "polling", "pollInterval": 50}


@pytest.fixture(scope="module")
def web() -> Iterator[Driver]:
    with driven("web_client.mjs") as driver:
        yield driver


@pytest.fixture
def open_page(web: Driver, shop: Shop) -> Iterator[Any]:
    def open_page(**options: Any) -> Page:
        return Page(web, shop.server.url, shop.token("client"), **options)

    yield open_page
    web.do("stop")


def test_values_of_every_type(open_page: Any) -> None:
    page = open_page()
    for type, key, fallback, value, variant in (
        ("boolean", "checkout", True, False, "off"),
        ("string", "banner", "x", "#f00", "red"),
        ("number", "page-size", 1, 20, "few"),
        ("number", "discount", 0.5, 2.5, "some"),
        ("object", "limits", {}, {"rate": 1, "burst": [1, 2]}, "low"),
    ):
        details = page.details(type, key, fallback)
        assert "errorCode" not in details, details
        found = (details["value"], details["variant"], details["reason"])
        assert found == (value, variant, "STATIC")
        assert details["flagMetadata"] == {"flagVersion": 2}


def test_a_variant_without_a_value_has_no_value_in_the_response(open_page: Any) -> None:
    details = open_page().details("string", "unset", "mine")
    assert (details["value"], details["variant"]) == ("mine", "code")
    assert "errorCode" not in details


def test_each_error_gives_the_default(shop: Shop, open_page: Any) -> None:
    shop.add({"key": "internal", "type": "boolean"})
    shop.serve("banner", default={"split": SPLIT})
    page = open_page(context={})
    if page.details("string", "banner", "x").get("errorCode") != "TARGETING_KEY_MISSING":
        page.do("event", name="ConfigurationChanged")
    for details, code in (
        (page.details("string", "nope", "x"), "FLAG_NOT_FOUND"),
        (page.details("string", "internal", "x"), "FLAG_NOT_FOUND"),
        (page.details("string", "banner", "x"), "TARGETING_KEY_MISSING"),
        (page.details("string", "checkout", "x"), "TYPE_MISMATCH"),
    ):
        assert (details["value"], details["errorCode"], details["reason"]) == ("x", code, "ERROR")


def test_a_changed_flag_reaches_an_open_page_without_polling(shop: Shop, open_page: Any) -> None:
    page = open_page()
    assert page.details("boolean", "checkout", True)["value"] is False
    for variant, value in (("on", True), ("off", False)):
        shop.serve("checkout", variant)
        changed = page.do("event", name="ConfigurationChanged")
        assert changed["flags"] == ["checkout"]
        assert page.details("boolean", "checkout", not value)["value"] is value
    first, *again = page.do("requests")
    assert first["query"] == ""
    assert [each["status"] for each in again] == [200, 200]
    for each in again:
        assert "flagConfigEtag=%22" in each["query"]
        assert "flagConfigLastModified=" in each["query"]


def test_a_kill_reaches_an_open_page_at_once(shop: Shop, open_page: Any) -> None:
    shop.serve("checkout", "on")
    page = open_page()
    page.do("value", key="checkout", value=True)
    shop.server.call("POST", f"{shop.production}/flags/checkout/kill", {"reason": "fire"})
    page.do("value", key="checkout", value=False)
    details = page.details("boolean", "checkout", True)
    assert (details["reason"], details["flagMetadata"]["killed"]) == ("DISABLED", True)


def test_a_polling_page_gets_304_if_nothing_changed(shop: Shop, open_page: Any) -> None:
    page = open_page(**POLLING)
    first = page.do("requests")[0]
    unchanged = page.do("request", status=304)
    assert unchanged["known"] == unchanged["etag"] == first["etag"]
    shop.serve("checkout", "on")
    assert page.do("event", name="ConfigurationChanged")["flags"] == ["checkout"]
    assert page.details("boolean", "checkout", False)["value"] is True
    page.do("request", status=304)


def test_a_new_context_is_evaluated_again(shop: Shop, open_page: Any) -> None:
    pro = {"attribute": "plan", "operator": "equals", "value": "pro"}
    shop.serve("banner", rules=[{"id": "pro", "when": pro, "serve": {"variant": "blue"}}])
    page = open_page()
    # The web client keeps the ETag while the targeting key stays.
    page.do("context", context={**ANN, "plan": "pro"})
    if page.details("string", "banner", "x")["value"] != "#00f":
        page.do("event", name="ConfigurationChanged")
    details = page.details("string", "banner", "x")
    assert (details["value"], details["reason"]) == ("#00f", "TARGETING_MATCH")
    assert "ruleId" not in details["flagMetadata"]
    page.do("context", context=ANN)
    assert page.details("string", "banner", "x")["value"] == "#f00"


@pytest.mark.parametrize("role", ["nobody", "reader"])
def test_a_bad_token_is_fatal(web: Driver, shop: Shop, role: str) -> None:
    unknown = "tg_client_nobody_0123456789abcdef0123456789abcdef"
    token = unknown if role == "nobody" else shop.token(role)
    with pytest.raises(ClientError) as caught:
        Page(web, shop.server.url, token)
    assert caught.value.code == "PROVIDER_FATAL"
    assert web.do("status") == "FATAL"
    details = web.do("details", type="boolean", key="checkout", fallback=True)
    assert (details["value"], details["errorCode"]) == (True, "PROVIDER_FATAL")


def test_a_rate_limited_page_is_stale_and_recovers(web: Driver, shop: Shop) -> None:
    token = shop.token("client", rate_limit=30)
    page = Page(web, shop.server.url, token, **POLLING)
    page.do("request", status=429)
    assert page.do("event", name="Stale")
    assert page.details("boolean", "checkout", True)["value"] is False
    page.do("request", status=304)
    web.do("stop")
