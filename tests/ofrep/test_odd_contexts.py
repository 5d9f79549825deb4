"""Contexts with odd values: the server evaluates them as the SDK does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate import Client, Context
from werkzeug.test import TestResponse

from tests.http_calls import PROJECT, Caller
from tests.ofrep.test_routes import ALL, change_targeting

CONDITIONS: dict[str, dict[str, Any]] = {
    "equals": {"operator": "equals", "value": 5},
    "largest": {"operator": "equals", "value": 2**63 - 1},
    "in": {"operator": "in", "value": [1, "a", True]},
    "contains": {"operator": "contains", "value": "a"},
    "matches": {"operator": "matches", "value": "^a.*"},
    "greater": {"operator": "greater_than", "value": 2**53},
    "less": {"operator": "less_or_equal", "value": -1.5e300},
    "before": {"operator": "before", "value": "2026-05-01T12:00:00Z"},
    "after": {"operator": "after", "value": 1_700_000_000_000},
    "version": {"operator": "semver_less", "value": "1.10.0"},
    "network": {"operator": "in_cidr", "value": ["::ffff:10.0.0.0/104", "2001:db8::/32"]},
    "exists": {"operator": "exists"},
}


@pytest.fixture
def client(admin: Caller, sdk: Caller) -> Client:
    """Return an SDK client of a server with one flag for each kind of comparison."""
    for key, comparison in CONDITIONS.items():
        admin.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean"})
        rule = {
            "id": "odd",
            "when": {"attribute": "x", **comparison},
            "serve": {"variant": "on"},
        }
        change_targeting(admin, key, rules=[rule])
    snapshot = sdk.get("/sdk/v1/snapshot").json
    assert snapshot is not None
    return Client.offline(snapshot)


def served(response: TestResponse) -> dict[str, tuple[Any, str]]:
    assert response.status_code == 200, response.text
    flags = json.loads(response.text)["flags"]
    return {flag["key"]: (flag["value"], flag["reason"]) for flag in flags}


def expected(client: Client, context: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    details = {
        key: client.boolean_details(key, False, Context.of(context)) for key in sorted(CONDITIONS)
    }
    return {key: (each.value, each.reason) for key, each in details.items()}


NEAR = st.sampled_from(
    [
        2**63, -(2**63) - 1, 10**20, 10**399, -(10**399), 1e308, 5.0, -0.0, 1e-320, 1.5e9,
        1_777_636_800, 1_777_636_800_000, 10**11, 10**14, 1777636800000000,
        "2022-W03-6", "20220122", "2022-01-22t11:30:00z", "2022-01-22T24:00:00", "2022-01-22",
        "1.0.0-01", "01.2.3", "v1.9", "1.10.0-rc.1", "10.1.2.3", "::ffff:10.1.2.3", "010.0.0.1",
        "a\ud800", "\udfff", "\ufeffa", "a\u0000", "a" * 300, "\U0001f600",
    ]
)  # fmt: skip
VALUES = st.recursive(
    NEAR
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(x=VALUES)
def test_the_server_and_the_sdk_agree_on_odd_values(client: Client, sdk: Caller, x: Any) -> None:
    context = {"targetingKey": "u", "x": x}
    response = sdk.post(ALL, data=json.dumps({"context": context}), content_type="application/json")
    assert served(response) == expected(client, context)


@pytest.mark.parametrize(
    "text",
    ["9223372036854775808", "1" + "0" * 4_000, "-1" + "0" * 9_000, "1e400", "-1e999",
     '"\\ud83d"', '{"\\udfff": 1}', "[" * 200 + "]" * 200],
    ids=["beyond 64 bits", "long", "longer", "infinite", "minus infinite", "half a pair",
         "half a pair as a name", "deep"],
)  # fmt: skip
def test_an_invalid_value_affects_only_its_own_comparison(
    client: Client, sdk: Caller, text: str
) -> None:
    body = f'{{"context": {{"targetingKey": "u", "other": {text}}}}}'
    assert served(sdk.post(ALL, data=body, content_type="application/json")) == expected(
        client, {"targetingKey": "u"}
    )
    body = body.replace("other", "x")
    flags = served(sdk.post(ALL, data=body, content_type="application/json"))
    assert flags["exists"] == (True, "TARGETING_MATCH")
    assert flags["equals"] == flags["largest"] == (False, "DEFAULT")


@pytest.mark.parametrize("values", ["10" + "0" * 399, "1e400"])
def test_an_outcome_with_a_number_beyond_all_is_refused(
    client: Client, sdk: Caller, values: str
) -> None:
    body = (
        '{"context": {"targetingKey": "u"}, "flags": {"equals": "on"}, "outcome": "ok", '
        f'"values": {{"basket": {values}}}}}'
    )
    refused = sdk.post("/ofrep/v1/track", data=body, content_type="application/json")
    assert refused.status_code == 400
    assert "values must give a number" in refused.text
    body = body.replace(values, "1").replace("basket", "\\ud800")
    assert (
        sdk.post("/ofrep/v1/track", data=body, content_type="application/json").status_code == 400
    )
