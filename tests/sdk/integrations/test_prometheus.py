"""A client's state as a real Prometheus registry gives it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tidegate import Client
from tidegate.integrations.prometheus import STATES, ClientCollector

from tests.sdk.conftest import Connect
from tests.sdk.integrations.counted import SNAPSHOT
from tests.sdk.server import Environment


def metrics(client: Client) -> dict[str, float]:
    """Every sample, as a scrape would read it; a label's value follows the name."""
    registry = CollectorRegistry()
    registry.register(ClientCollector(client))
    text = generate_latest(registry).decode()
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def states(client: Client) -> dict[str, float]:
    found = metrics(client)
    return {state: found[f"tidegate_client_state {state}"] for state in STATES}


def test_a_connected_client_tells_its_version_and_how_fresh_it_is(
    environment: Environment, connect: Connect
) -> None:
    environment.flag("checkout")
    client = connect()
    found = metrics(client)
    assert found["tidegate_client_state connected"] == 1
    assert found["tidegate_client_version"] == client.status().version
    assert found["tidegate_client_age_seconds"] >= 0
    assert found["tidegate_client_dropped_total"] == 0
    assert found["tidegate_client_closed_here"] == 0
    client.close()
    assert states(client) == {state: float(state == "closed") for state in STATES}


def test_what_was_dropped_is_counted() -> None:
    client = Client.offline(SNAPSHOT)
    with client.operation() as operation:
        client.boolean("checkout", False)
        operation.measure("basket_value", float("nan"))
    assert metrics(client)["tidegate_client_dropped_total"] == client.status().dropped == 1


def test_what_is_not_known_is_left_out() -> None:
    offline = metrics(Client.offline(SNAPSHOT))
    assert offline["tidegate_client_version"] == 1
    assert "tidegate_client_age_seconds" not in offline
    assert offline["tidegate_client_state offline"] == 1
