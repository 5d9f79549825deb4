"""Requests generated from the OpenAPI document get the documented responses."""

from __future__ import annotations

from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from tidegate_server.application import create_app, install_services
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings

from tests.http_application import SECRET_KEY
from tests.http_calls import Caller

CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            # JSON Schema cannot express every rule of a document (422). A generated revision
            # is a stale one (412). A number beyond 64 bits is valid JSON but ambiguous (400).
            "positive_data_acceptance": {
                "expected-statuses": ["2xx", "304", "400", "403", "404", "409", "412", "422"]
            },
            "missing_required_header": {"expected-statuses": ["401", "428", "404"]},
        }
    }
)


APP = create_app(cast(Store, None), ApiSettings(SECRET_KEY))


def documented_operations() -> dict[str, Any]:
    """Return every operation of the document, by its label."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", APP, config=CONFIG)
    operations = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    return {operation.label: operation for operation in operations}


OPERATIONS = documented_operations()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_api_matches_its_openapi_document(
    operation: str, store: Store, checkout: Caller, sdk: Caller, release: str
) -> None:
    install_services(APP, store, ApiSettings(SECRET_KEY))
    bulk = Caller(APP.test_client(), sdk.token).post_ok("/ofrep/v1/evaluate/flags", {})
    credential = bulk["eventStreams"][0]["url"].partition("credential=")[2]
    APP.extensions["tidegate"].streams.close()  # streams end after their first events

    @given(case=OPERATIONS[operation].as_strategy())
    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def matches_the_document(case: Case[Any]) -> None:
        token = sdk.token if case.path.startswith(("/sdk/", "/ofrep/")) else checkout.token
        if case.path == "/ofrep/v1/stream":
            case.query = {"credential": credential}  # signatures cannot be generated
        case.call_and_validate(headers={"Authorization": f"Bearer {token}"})

    try:
        matches_the_document()
    finally:
        APP.extensions["tidegate"].close()  # send no report into the next test's store
