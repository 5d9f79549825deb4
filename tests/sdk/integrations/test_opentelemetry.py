"""Evaluations as span events, with the real OpenTelemetry SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from tidegate import Client, Context
from tidegate.integrations.opentelemetry import EVENT, instrument

from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts

USER = Context("user-1")


@pytest.fixture
def client() -> Client:
    return Client.offline(SNAPSHOT)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test")


def events(
    tracer: Tracer, exporter: InMemorySpanExporter, work: Callable[[], object]
) -> list[Mapping[str, Any]]:
    """Return the attributes of the events that some work adds to a span."""
    exporter.clear()
    with tracer.start_as_current_span("work"):
        work()
    (span,) = exporter.get_finished_spans()
    assert all(event.name == EVENT for event in span.events)
    return [dict(event.attributes or {}) for event in span.events]


def test_an_evaluation_is_an_event_with_the_standard_attributes(
    client: Client, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    instrument(client)
    assert events(tracer, exporter, lambda: client.boolean("checkout", False, USER)) == [
        {
            "feature_flag.key": "checkout",
            "feature_flag.provider.name": "tidegate",
            "feature_flag.result.variant": "on",
            "feature_flag.result.reason": "default",
            "feature_flag.version": "1",
        }
    ]


def test_the_event_of_a_failed_evaluation_has_the_error(
    client: Client, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    instrument(client)
    (missing, mistyped) = events(
        tracer,
        exporter,
        lambda: (client.boolean("nothing", False, USER), client.string("checkout", "", USER)),
    )
    assert missing["error.type"] == "flag_not_found"
    assert mistyped["error.type"] == "type_mismatch"
    assert missing["feature_flag.result.reason"] == "error"
    assert "nothing" in missing["feature_flag.error.message"]
    assert "feature_flag.result.variant" not in missing


def test_the_targeting_key_is_recorded_only_on_request(
    client: Client, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    def evaluate() -> None:
        with client.operation(USER):
            client.boolean("checkout", False)

    stop = instrument(client)
    assert "feature_flag.context.id" not in events(tracer, exporter, evaluate)[0]
    stop()
    instrument(client, with_targeting_key=True)
    assert events(tracer, exporter, evaluate)[0]["feature_flag.context.id"] == "user-1"


def test_every_evaluation_is_an_event_until_instrumentation_stops(
    client: Client, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    def evaluate_twice() -> None:
        client.boolean("checkout", False, USER)
        client.boolean("checkout", False, USER)

    evaluate_twice()  # compiles the flag
    stop = instrument(client)
    assert len(events(tracer, exporter, evaluate_twice)) == 2
    stop()
    assert events(tracer, exporter, evaluate_twice) == []


def test_an_observed_evaluation_counts_as_one_exposure(client: Client, tracer: Tracer) -> None:
    instrument(client)
    with tracer.start_as_current_span("work"), client.operation(USER):
        assert client.boolean("checkout", False) is True
        assert client.boolean("checkout", False) is True
    assert counted(client) == counts(1, 1, 0)


def test_without_a_span_evaluation_works(client: Client) -> None:
    instrument(client)
    assert client.boolean("checkout", False, USER) is True


def test_an_observer_that_raises_is_ignored(client: Client) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    observed: list[str] = []
    client.observe(fail)
    client.observe(lambda details, context: observed.append(f"{details.flag_key} {context!r}"))
    assert client.boolean("checkout", False) is True
    assert len(observed) == 1


def test_an_update_while_an_observer_is_removed_takes_effect(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = {"checkout": {**SNAPSHOT["flags"]["checkout"], "killed": "off"}}
    update = Client.offline({**SNAPSHOT, "flags": killed})._flags
    assert update is not None
    stop = client.observe(lambda *_: None)
    choose = client._tables
    updates = [update]

    def choose_then_update() -> Any:
        tables = choose()
        if updates:
            client._apply_flags(updates.pop())
        return tables

    monkeypatch.setattr(client, "_tables", choose_then_update)
    stop()
    assert client.boolean("checkout", True, USER) is False
    assert client._booleans is update.ready.booleans
