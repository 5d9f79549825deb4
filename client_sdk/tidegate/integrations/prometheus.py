"""A client's status as Prometheus metrics of the application."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidegate.client import Client

STATES = ("starting", "connected", "stale", "offline", "closed", "postponed")


class ClientCollector(Collector):
    """Collects a client's status at every scrape.

    Register one per process, for instance with ``prometheus_client.REGISTRY``. Before the first
    flags there is no version and no age.

    Args:
        client: the client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        status = self._client.status()
        states = GaugeMetricFamily(
            "tidegate_client_state", "1 for the client's state, 0 for the others.", labels=["state"]
        )
        for state in STATES:
            states.add_metric([state], float(state == status.state))
        yield states
        if status.version is not None:
            yield GaugeMetricFamily(
                "tidegate_client_version", "Version of the flags in use.", status.version
            )
        if status.age is not None:
            yield GaugeMetricFamily(
                "tidegate_client_age_seconds",
                "Seconds since the server last confirmed the flags.",
                status.age,
            )
        yield CounterMetricFamily(
            "tidegate_client_dropped",
            "Operations and values that were not counted.",
            status.dropped,
        )
        yield CounterMetricFamily(
            "tidegate_client_invalid_contexts",
            "Contexts that could not be used: of a wrong type, or their function raised.",
            status.invalid_contexts,
        )
        yield GaugeMetricFamily(
            "tidegate_client_closed_here",
            "Flags whose release the local breaker closed in this process.",
            len(status.closed_here),
        )
