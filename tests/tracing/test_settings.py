"""When traces are on, and where they go: OpenTelemetry's own variables say so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from tidegate_server import tracing
from tidegate_server.errors import StartupRefused

from tests.receiver import StartReceiver

COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.fixture
def stopped() -> Iterator[None]:
    yield
    tracing.stop()


@pytest.mark.parametrize(
    ("variables", "exporter"),
    [
        ({}, "none"),
        (COLLECTOR, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, "none"),
        ({**COLLECTOR, "OTEL_SDK_DISABLED": "true"}, "none"),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "otlp"),
    ],
)
def test_the_usual_variables_turn_traces_on(variables: dict[str, str], exporter: str) -> None:
    assert tracing.exporter_of(variables) == exporter
    tracing.check(variables)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "is one of otlp, console, none"),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "Tidegate sends http/protobuf"),
    ],
)
def test_what_there_is_not_is_refused_at_the_start(variables: dict[str, str], message: str) -> None:
    with pytest.raises(StartupRefused, match=message):
        tracing.check(variables)


def test_without_the_packages_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "PACKAGES", ("opentelemetry.there_is_none",))
    tracing.check({})
    with pytest.raises(StartupRefused, match=r'Install "tidegate\[server,tracing\]"'):
        tracing.check(COLLECTOR)


def test_spans_reach_a_collector_with_the_name_of_the_service(
    start_receiver: StartReceiver, stopped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = start_receiver()
    url = collector.url.partition("/secret-path")[0]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    tracing.start("web", {"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    with tracing.span("a piece of work", release="rel_1"):
        pass
    tracing.stop()
    (sent,) = collector.wait_for(1)
    assert sent.path == "/v1/traces"
    for text in (b"a piece of work", b"tidegate.release", b"rel_1", b"service.name"):
        assert text in sent.body


def test_the_server_imports_nothing_to_trace_with_while_traces_are_off() -> None:
    code = (
        "import sys, os; from tidegate_server import application, tracing, policy_job; "
        "tracing.check({}); tracing.start('web', {}); "
        "print([each for each in sys.modules if each.startswith('opentelemetry.sdk.trace')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
