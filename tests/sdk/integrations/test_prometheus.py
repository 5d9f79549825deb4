"""A client's status in a real Prometheus registry."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tidegate import Client
from tidegate.integrations.prometheus import STATES, ClientCollector

from tests.sdk.conftest import Connect
from tests.sdk.integrations.treatment_counts import SNAPSHOT
from tests.sdk.server import Environment


def metrics(client: Client) -> dict[str, float]:
    """Return every sample as a scrape reads it, by its name followed by its label values."""
    registry = CollectorRegistry()
    registry.register(ClientCollector(client))
    text = generate_latest(registry).decode()
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def states(client: Client) -> dict[str, float]:
    samples = metrics(client)
    return {state: samples[f"tidegate_client_state {state}"] for state in STATES}


def test_a_connected_client_has_a_version_and_an_age(
    environment: Environment, connect: Connect
) -> None:
    environment.flag("checkout")
    client = connect()
    samples = metrics(client)
    assert samples["tidegate_client_state connected"] == 1
    assert samples["tidegate_client_version"] == client.status().version
    assert samples["tidegate_client_age_seconds"] >= 0
    assert samples["tidegate_client_dropped_total"] == 0
    assert samples["tidegate_client_closed_here"] == 0
    assert samples["tidegate_client_invalid_contexts_total"] == 0
    client.close()
    assert states(client) == {state: float(state == "closed") for state in STATES}


def test_dropped_values_are_counted() -> None:
    client = Client.offline(SNAPSHOT)
    with client.operation() as operation:
        client.boolean("checkout", False)
        operation.measure("basket_value", float("nan"))
    assert metrics(client)["tidegate_client_dropped_total"] == client.status().dropped == 1


def test_an_offline_client_has_no_age() -> None:
    offline = metrics(Client.offline(SNAPSHOT))
    assert offline["tidegate_client_version"] == 1
    assert "tidegate_client_age_seconds" not in offline
    assert offline["tidegate_client_state offline"] == 1
