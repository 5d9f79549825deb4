from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tidegate_server import tracing

from tests.http_application import *  # noqa: F403
from tests.policy_job.deployment import deployment
from tests.receiver import start_receiver

__all__ = ["deployment", "spans", "start_receiver"]


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Trace this process, into memory."""
    exporter = InMemorySpanExporter()
    tracing.start("test", {}, SimpleSpanProcessor(exporter))
    yield exporter
    tracing.stop()
