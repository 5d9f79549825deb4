"""The Node client of the remote evaluation protocol, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.ofrep_clients.clients import ANN, NodeClient
from tests.ofrep_clients.node import Driver, driven
from tests.ofrep_clients.server import Shop
from tests.waiting import until

SPLIT = [{"variant": "red", "weight": 50}, {"variant": "blue", "weight": 50}]


@pytest.fixture(scope="module")
def node() -> Iterator[Driver]:
    with driven("server_client.mjs") as driver:
        yield driver


@pytest.fixture
def client(node: Driver, shop: Shop) -> NodeClient:
    return NodeClient(node, shop.server.url, shop.token("sdk"))


@pytest.mark.parametrize(
    ("type", "key", "fallback", "value", "variant"),
    [
        ("boolean", "checkout", True, False, "off"),
        ("string", "banner", "x", "#f00", "red"),
        ("number", "page-size", 1, 20, "few"),
        ("number", "discount", 0.5, 2.5, "some"),
        ("object", "limits", {}, {"rate": 1, "burst": [1, 2]}, "low"),
    ],
)
def test_values_of_every_type(
    client: NodeClient, type: str, key: str, fallback: Any, value: Any, variant: str
) -> None:
    details = client.details(type, key, fallback)
    assert "errorCode" not in details, details
    assert (details["value"], details["variant"], details["reason"]) == (value, variant, "STATIC")
    assert details["flagMetadata"] == {"flagVersion": 2}


def test_the_context_decides_the_value_and_the_reason(shop: Shop, client: NodeClient) -> None:
    german = {"attribute": "address.country", "operator": "equals", "value": "DE"}

    def wait_for_reason(reason: str, context: dict[str, Any]) -> None:
        until(lambda: client.details("string", "banner", "x", context)["reason"] == reason)

    shop.serve("banner", rules=[{"id": "german", "when": german, "serve": {"variant": "blue"}}])
    wait_for_reason("TARGETING_MATCH", ANN)
    details = client.details("string", "banner", "x")
    assert (details["value"], details["flagMetadata"]["ruleId"]) == ("#00f", "german")
    wait_for_reason("DEFAULT", {"targetingKey": "bob"})
    shop.serve("banner", rules=[], default={"split": SPLIT})
    wait_for_reason("SPLIT", ANN)


def test_each_error_gives_the_default(shop: Shop, client: NodeClient) -> None:
    shop.serve("banner", default={"split": SPLIT})
    until(lambda: client.details("string", "banner", "x")["reason"] == "SPLIT")
    for details, code in (
        (client.details("string", "nope", "x"), "FLAG_NOT_FOUND"),
        (client.details("string", "banner", "x", {}), "TARGETING_KEY_MISSING"),
        (client.details("string", "checkout", "x"), "TYPE_MISMATCH"),
    ):
        assert (details["value"], details["errorCode"]) == ("x", code)
        assert (details["reason"], bool(details["errorMessage"])) == ("ERROR", True)


def test_a_response_without_a_value_gives_the_default(client: NodeClient) -> None:
    """This version of the client reports such a response as an error."""
    details = client.details("string", "unset", "mine")
    assert (details["value"], details["errorCode"]) == ("mine", "GENERAL")


def test_unknown_tokens_and_other_roles_get_the_default(node: Driver, shop: Shop) -> None:
    for token in ("tg_sdk_nobody_0123456789abcdef0123456789abcdef", shop.token("reader")):
        details = NodeClient(node, shop.server.url, token).details("boolean", "checkout", True)
        assert (details["value"], details["errorCode"]) == (True, "GENERAL")


def test_a_rate_limited_client_pauses_as_long_as_retry_after(node: Driver, shop: Shop) -> None:
    client = NodeClient(node, shop.server.url, shop.token("sdk", rate_limit=1))
    messages = [client.details("boolean", "checkout", True).get("errorMessage") for _ in range(4)]
    assert messages[0] is None
    assert any("rate limit exceeded" in (each or "") for each in messages)
    assert "paused due to TooManyRequests until" in (messages[-1] or "")
