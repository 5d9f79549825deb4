"""Requests generated from the OpenAPI document get the documented responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from tidegate_server.application import create_app, install_services
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings

from tests.http_application import SECRET_KEY
from tests.http_calls import Caller

CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            # Statuses beyond schemathesis' own lists, each with its reason:
            # - 400: a number beyond 64 bits is valid JSON, but parsers read it differently.
            # - 412: a generated revision is a stale one; it is checked before a reference to
            #   another document is.
            # - 413: a generated document may be longer than its kind may be.
            # - 422: JSON Schema cannot express every rule of a document, or a cursor.
            # - 401: a password or a one-time code that is not the right one is no invalid one.
            # - 429: guessing is slowed.
            # - 428: an update without If-Match is answered as RFC 6585 says.
            "positive_data_acceptance": {
                "expected-statuses": [
                    *("2xx", "304", "400", "401", "403", "404", "409", "412", "413", "422", "429"),
                ]
            },
            "negative_data_rejection": {
                "expected-statuses": ["4xx", "5xx"],
            },
            "missing_required_header": {
                "expected-statuses": ["400", "401", "403", "404", "406", "415", "422", "428"]
            },
        },
        # Of documents that depend on each other, no generated order makes sense.
        "phases": {"stateful": {"enabled": False}},
    }
)

APP = create_app(cast(Store, None), ApiSettings(SECRET_KEY))
SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", APP, config=CONFIG)

SAME_AS_POLICY = re.compile(r"(GET|PUT|DELETE) .*/policies/(simulate|backtest)")
OPERATIONS = [
    name
    for path, item in SCHEMA.raw_schema["paths"].items()
    for method in item
    if method in ("get", "post", "put", "patch", "delete", "head", "options")
    and not SAME_AS_POLICY.fullmatch(name := f"{method.upper()} {path}")
]


SHORT, LONG = 3, 30
"""How many requests are generated at random for each operation."""


@pytest.fixture
def caller(
    store: Store, checkout: Caller, sdk: Caller, release: str
) -> Iterator[Callable[[Case[Any]], None]]:
    """Return a function that makes a generated request, and applies every check."""
    install_services(APP, store, ApiSettings(SECRET_KEY))
    bulk = Caller(APP.test_client(), sdk.token).post_ok("/ofrep/v1/evaluate/flags", {})
    credential = bulk["eventStreams"][0]["url"].partition("credential=")[2]
    APP.extensions["tidegate"].streams.close()  # streams end after their first events

    def call(case: Case[Any]) -> None:
        token = sdk.token if case.path.startswith(("/sdk/", "/ofrep/")) else checkout.token
        if case.path == "/ofrep/v1/stream":
            case.query = {"credential": credential}  # signatures cannot be generated
        case.call_and_validate(headers={"Authorization": f"Bearer {token}"})

    yield call
    APP.extensions["tidegate"].close()  # send no report into the next test's store


def call_generated(case: Case[Any], caller: Callable[[Case[Any]], None]) -> None:
    caller(case)


@pytest.mark.parametrize("examples", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_api_matches_its_openapi_document(
    name: str, examples: int, caller: Callable[[Case[Any]], None]
) -> None:
    """Every request that schemathesis generates, examples and edge cases too, passes its checks.

    Its own decorator would generate all requests while pytest collects, in each worker.
    """
    [found] = SCHEMA.include(name=name).get_all_operations()
    assert isinstance(found, Ok)
    load_all_checks()
    generated = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run = build_operation_test(
        config=SCHEMA.config,
        operation=found.ok(),
        test_func=call_generated,
        given_kwargs={},
        feedback=FeedbackSources(),
        explicit_settings=generated,
    )
    # Of the cases that cover each keyword of a schema, short runs make a third.
    cases = cast(Any, run).hypothesis_explicit_examples
    assert cases
    if examples < LONG:
        cases[:] = cases[::3]
    run(caller=caller)


def test_a_policy_with_the_key_of_an_action_is_documented_at_its_address() -> None:
    paths = SCHEMA.raw_schema["paths"]
    policy = paths["/api/v1/projects/{project}/policies/{policy}"]
    for action in ("simulate", "backtest"):
        item = paths[f"/api/v1/projects/{{project}}/policies/{action}"]
        assert {method: item[method] for method in ("get", "put", "delete")} == {
            method: policy[method] for method in ("get", "put", "delete")
        }
        assert item["post"] not in policy.values()
        assert len(item["parameters"]) == 1


def test_a_path_has_the_parameters_that_its_address_names() -> None:
    for path, item in SCHEMA.raw_schema["paths"].items():
        named = [each["name"] for each in item.get("parameters", ()) if each["in"] == "path"]
        assert named == re.findall(r"{(\w+)}", path), path


def test_a_field_that_may_be_null_says_so() -> None:
    stage = SCHEMA.raw_schema["components"]["schemas"]["Stage"]
    assert stage["properties"]["max_duration"]["type"] == ["string", "null"]
    assert stage["properties"]["min_duration"]["type"] == "string"


def test_a_flag_that_is_not_found_may_be_an_address_that_is_not(sdk: Caller) -> None:
    operation = SCHEMA.raw_schema["paths"]["/ofrep/v1/evaluate/flags/{key}"]["post"]
    documented = operation["responses"]["404"]["content"]
    for path in ("none", "a%0Ab"):
        missing = sdk.post(f"/ofrep/v1/evaluate/flags/{path}", {})
        assert missing.status_code == 404
        assert missing.mimetype in documented
