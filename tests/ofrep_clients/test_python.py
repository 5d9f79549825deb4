"""The Python client of the remote evaluation protocol, against a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from tests.ofrep_clients.clients import connect
from tests.ofrep_clients.server import Shop
from tests.waiting import until

Connect = Callable[[Shop, str], OpenFeatureClient]
ANN = EvaluationContext("ann", {"plan": "pro", "age": 7, "address": {"country": "DE"}})
SPLIT = [{"variant": "red", "weight": 50}, {"variant": "blue", "weight": 50}]


@pytest.fixture(autouse=True)
def clear_providers() -> Iterator[None]:
    yield
    api.clear_providers()


@pytest.fixture
def client(shop: Shop) -> OpenFeatureClient:
    """Return the client of an application."""
    return connect(shop.server.url, shop.token("sdk"))


@pytest.mark.parametrize(
    ("type_name", "key", "default", "value", "variant"),
    [
        ("boolean", "checkout", True, False, "off"),
        ("string", "banner", "x", "#f00", "red"),
        ("integer", "page-size", 1, 20, "few"),
        ("float", "discount", 0.5, 2.5, "some"),
        ("object", "limits", {}, {"rate": 1, "burst": [1, 2]}, "low"),
    ],
)
def test_values_of_every_type(
    client: OpenFeatureClient, type_name: str, key: str, default: Any, value: Any, variant: str
) -> None:
    details = getattr(client, f"get_{type_name}_details")(key, default, ANN)
    assert details.error_code is None, details.error_message
    assert (details.value, type(details.value)) == (value, type(value))
    assert (details.variant, details.reason) == (variant, "STATIC")
    assert details.flag_metadata == {"flagVersion": 2}


def test_a_whole_number_may_be_a_float(shop: Shop, client: OpenFeatureClient) -> None:
    shop.serve("discount", "whole")
    until(lambda: client.get_float_value("discount", 0.5, ANN) != 2.5)
    value = client.get_float_value("discount", 0.5, ANN)
    assert (value, type(value)) == (3.0, float)
    assert client.get_float_details("page-size", 0.5, ANN).error_code is ErrorCode.TYPE_MISMATCH


def test_the_context_decides_the_value_and_the_reason(
    shop: Shop, client: OpenFeatureClient
) -> None:
    german = {"attribute": "address.country", "operator": "equals", "value": "DE"}
    rule = {"id": "german", "when": german, "serve": {"variant": "blue"}}

    def wait_for_reason(reason: str, context: EvaluationContext | None) -> None:
        until(lambda: client.get_string_details("banner", "x", context).reason == reason)

    shop.serve("banner", rules=[rule])
    wait_for_reason("TARGETING_MATCH", ANN)
    details = client.get_string_details("banner", "x", ANN)
    assert (details.value, details.flag_metadata["ruleId"]) == ("#00f", "german")
    wait_for_reason("DEFAULT", None)
    shop.serve("banner", enabled=False)
    wait_for_reason("DISABLED", ANN)
    shop.serve("banner", enabled=True, rules=[], default={"split": SPLIT})
    wait_for_reason("SPLIT", ANN)


def test_a_variant_without_a_value_has_no_value_in_the_response(client: OpenFeatureClient) -> None:
    details = client.get_string_details("unset", "mine", ANN)
    assert (details.value, details.variant, details.error_code) == ("mine", "code", None)


def test_each_error_gives_the_default(shop: Shop, client: OpenFeatureClient) -> None:
    shop.serve("banner", default={"split": SPLIT})
    until(lambda: client.get_string_details("banner", "x", ANN).reason == "SPLIT")
    for details, code in (
        (client.get_string_details("nope", "x", ANN), ErrorCode.FLAG_NOT_FOUND),
        (client.get_string_details("banner", "x"), ErrorCode.TARGETING_KEY_MISSING),
        (client.get_string_details("checkout", "x", ANN), ErrorCode.TYPE_MISMATCH),
    ):
        assert (details.value, details.error_code, details.reason) == ("x", code, "ERROR")
        assert details.error_message


def test_unknown_tokens_and_other_roles_get_the_default(shop: Shop) -> None:
    unknown = "tg_sdk_nobody_0123456789abcdef0123456789abcdef"
    for token, word in ((unknown, "unauthorized"), (shop.token("reader"), "forbidden")):
        client = connect(shop.server.url, token)
        details = client.get_boolean_details("checkout", True, ANN)
        assert (details.value, details.error_code) == (True, ErrorCode.GENERAL)
        assert details.error_message == word


def test_a_rate_limited_client_pauses_as_long_as_retry_after(shop: Shop) -> None:
    client = connect(shop.server.url, shop.token("sdk", rate_limit=1))
    # Each of the two web processes counts separately.
    messages = [client.get_boolean_details("checkout", True, ANN).error_message for _ in range(4)]
    limited = [message for message in messages if message is not None]
    assert messages[0] is None
    assert any(message.startswith("Rate limited, retry after: ") for message in limited)
    assert "paused due to TooManyRequests until" in limited[-1]


def test_a_client_token_sees_only_flags_available_to_clients(shop: Shop) -> None:
    shop.add({"key": "internal", "type": "boolean"})
    client = connect(shop.server.url, shop.token("client"))
    assert client.get_boolean_details("checkout", True, ANN).value is False
    hidden = client.get_boolean_details("internal", True, ANN)
    assert hidden.error_code is ErrorCode.FLAG_NOT_FOUND
