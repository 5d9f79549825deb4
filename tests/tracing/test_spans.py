"""The spans of requests, store calls and decisions, kept in memory."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tidegate_server import tracing
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store

from tests.http_calls import PROJECT, Caller
from tests.policy_job.deployment import HEALTHY, Clock, Deployment

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def only(spans: InMemorySpanExporter, name: str) -> tuple[ReadableSpan, dict[str, Any]]:
    """Return the only span with a name, and its attributes."""
    (span,) = named(spans, name)
    return span, dict(span.attributes or {})


def parents(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def test_a_request_has_a_span_with_its_route_and_the_store_calls_in_it(
    checkout: Caller, spans: InMemorySpanExporter
) -> None:
    answer = checkout.get(f"{PROJECT}/flags/checkout?limit=7")
    span, attributes = only(spans, "GET /api/v1/projects/<key:project>/flags/<key:flag>")
    assert span.kind is SpanKind.SERVER
    assert attributes["http.response.status_code"] == 200
    assert attributes["tidegate.request_id"] == answer.headers["X-Request-ID"]
    assert span.context is not None
    calls = [each for each in spans.get_finished_spans() if each.name.startswith("store ")]
    assert calls
    assert {parents(each) for each in calls} == {span.context.span_id}
    assert {each.kind for each in calls} == {SpanKind.CLIENT}


def test_a_change_has_the_commit_in_it(checkout: Caller, spans: InMemorySpanExporter) -> None:
    checkout.post_ok(f"{PROJECT}/flags", {"key": "another", "type": "boolean"})
    _, attributes = only(spans, "store commit")
    assert attributes["db.system.name"] == "valkey"


def test_a_span_has_no_path_no_query_and_no_token(
    checkout: Caller, spans: InMemorySpanExporter
) -> None:
    checkout.get(f"{PROJECT}/flags?search=a-secret")
    checkout.get("/shared/default/s/the-secret-of-a-link")
    checkout.get("/nowhere/the-name-of-a-customer")
    text = "\n".join(span.to_json() for span in spans.get_finished_spans())
    assert checkout.token
    for secret in ("a-secret", "the-secret-of-a-link", "the-name-of-a-customer", checkout.token):
        assert secret not in text


def test_the_span_of_a_proxy_is_the_parent(checkout: Caller, spans: InMemorySpanExporter) -> None:
    checkout.get(f"{PROJECT}/flags/checkout", headers={"traceparent": PARENT})
    span, _ = only(spans, "GET /api/v1/projects/<key:project>/flags/<key:flag>")
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" in PARENT
    assert f"{span.parent.span_id:016x}" in PARENT


def test_requests_do_not_leave_a_span_for_the_next_ones(
    checkout: Caller, spans: InMemorySpanExporter
) -> None:
    for _ in range(2):
        checkout.get(f"{PROJECT}/flags/checkout")
        checkout.get(f"{PROJECT}/flags/there-is-none")
    found = named(spans, "GET /api/v1/projects/<key:project>/flags/<key:flag>")
    assert [(each.parent, each.status.status_code) for each in found] == [
        (None, StatusCode.UNSET)
    ] * 4


def test_checks_of_the_health_are_not_traced(checkout: Caller, spans: InMemorySpanExporter) -> None:
    checkout.get("/health/ready")
    checkout.get("/metrics")
    assert spans.get_finished_spans() == ()


def test_a_decision_of_the_policy_job_has_a_span_with_what_it_did_and_why(
    deployment: Deployment, spans: InMemorySpanExporter
) -> None:
    clock = Clock(deployment.store.now_ms())
    job = PolicyJob(deployment.store, "job-1", clock)
    deployment.start(now_ms=clock())
    deployment.sdk.report(deployment.release(), *HEALTHY[1])
    clock.now_ms += 1_000
    job.tick()
    span, attributes = only(spans, "decide")
    assert attributes["tidegate.release"] == "rel_checkout"
    assert attributes["tidegate.flag"] == "checkout"
    assert attributes["tidegate.stage"] == 1
    decision = deployment.ledger()[-1].decision
    assert attributes["tidegate.action"] == (decision.action or "none")
    assert attributes["tidegate.reason"] == decision.reason
    batch, _ = only(spans, "evaluate releases")
    assert batch.context is not None
    assert parents(span) == batch.context.span_id
    assert parents(named(spans, "store commit")[0]) == batch.context.span_id


def test_a_failure_is_noted_without_its_message(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="valkey://user:password"), tracing.span("work"):
        raise ValueError("valkey://user:password@host")
    span, attributes = only(spans, "work")
    assert attributes["error.type"] == "ValueError"
    assert span.status.status_code is StatusCode.ERROR
    assert "password" not in span.to_json()


def test_what_reads_outside_of_requests_has_no_span(
    store: Store, spans: InMemorySpanExporter
) -> None:
    store.ping()
    assert spans.get_finished_spans() == ()
