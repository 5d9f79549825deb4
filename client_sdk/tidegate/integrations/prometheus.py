"""How a client stands, on the application's own page of Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidegate.client import Client

STATES = ("starting", "connected", "stale", "offline", "closed", "postponed")


class ClientCollector(Collector):
    """Reads ``client.status()`` whenever the metrics are asked for.

    Register one per process, for instance with ``prometheus_client.REGISTRY``. What is not
    known yet (the version and the age before the first flags) is left out.

    Args:
        client: whose state is shown.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        status = self._client.status()
        states = GaugeMetricFamily(
            "tidegate_client_state", "1 for the state that the client is in.", labels=["state"]
        )
        for state in STATES:
            states.add_metric([state], float(state == status.state))
        yield states
        if status.version is not None:
            yield GaugeMetricFamily(
                "tidegate_client_version", "Version of the flags in force.", status.version
            )
        if status.age is not None:
            yield GaugeMetricFamily(
                "tidegate_client_age_seconds",
                "Seconds since the server last confirmed the flags.",
                status.age,
            )
        yield CounterMetricFamily(
            "tidegate_client_dropped",
            "Operations and values that could not be counted.",
            status.dropped,
        )
        yield GaugeMetricFamily(
            "tidegate_client_closed_here",
            "Flags whose release this process closed for itself, without the server.",
            len(status.closed_here),
        )
