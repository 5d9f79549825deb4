"""What each process counts for Prometheus, added up over the processes of one server.

A scrape reaches one worker, so the numbers of all must be in one place: prometheus_client's
multiprocess mode keeps them in files of the folder ``PROMETHEUS_MULTIPROC_DIR``, which the
supervisor makes. Without it, as in tests, they are those of this process.

Labels have few values, whatever is requested: routes and not paths, ranges and not statuses.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

REGISTRY = CollectorRegistry()

REQUESTS = Histogram(
    "tidegate_http_request_duration_seconds",
    "Time until the answer to a request began, by what was asked and the class of its status",
    ["part", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    registry=REGISTRY,
)
STREAMS = Gauge(
    "tidegate_streams",
    "Open event streams of SDKs, OpenFeature clients and pages",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
REPORTS = Counter(
    "tidegate_reports", "Reports of SDK instances that were counted", registry=REGISTRY
)
DECISIONS = Counter(
    "tidegate_decisions",
    "Decisions of this server's policy job, by what it did to the release",
    ["action"],
    registry=REGISTRY,
)
CONNECTIONS = Gauge(
    "tidegate_connections",
    "Open connections to the web processes, event streams included",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
CONNECTIONS_REFUSED = Counter(
    "tidegate_connections_refused",
    "Connections that were refused because their address had too many",
    registry=REGISTRY,
)
CONNECTIONS_TIMED_OUT = Counter(
    "tidegate_connections_timed_out",
    "Connections that were closed because a request came, or its answer went, too slowly",
    ["part"],
    registry=REGISTRY,
)
STORE_BREAKER_OPEN = Gauge(
    "tidegate_store_breaker_open",
    "1 while a process gets no answer from the store and refuses at once what needs it",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
STORE_BREAKER_OPENED = Counter(
    "tidegate_store_breaker_opened",
    "How often processes got no answer from the store in time",
    registry=REGISTRY,
)
STORE_REFUSED = Counter(
    "tidegate_store_calls_refused",
    "Calls of the store that were refused at once because it did not answer",
    registry=REGISTRY,
)


PARTS = ("api", "sdk", "ofrep", "health", "metrics")
"""The first words of paths that are counted apart; everything else is a page."""

_requests: dict[tuple[str, int], Histogram] = {}


# So that rates begin at 0, and not with the first event.
for _part in ("idle", "headers", "body", "answer"):
    CONNECTIONS_TIMED_OUT.labels(_part)
DECISIONS.labels("none")


def note_request(path: str, status: int, seconds: float) -> None:
    """Count a request and how long its answer took to begin."""
    word = path[1:].partition("/")[0]
    key = (word if word in PARTS else "pages", status // 100)
    child = _requests.get(key)
    if child is None:
        child = _requests[key] = REQUESTS.labels(key[0], f"{key[1]}xx")
    child.observe(seconds)


def make_folder() -> Path:
    """Return a new folder for the numbers of this server's processes."""
    return Path(tempfile.mkdtemp(prefix="tidegate-metrics-"))


def remove_folder(folder: Path) -> None:
    """Remove the folder of the numbers."""
    shutil.rmtree(folder, ignore_errors=True)


def forget_process(pid: int, folder: str | None = None) -> None:
    """Forget the gauges of a process that has ended; what it counted stays.

    Args:
        pid: the process.
        folder: the folder of the numbers; None: that of this process.
    """
    folder = folder or os.environ.get(VARIABLE)
    if folder:
        mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def process_metrics_text() -> bytes:
    """Return the numbers of all processes of this server, in Prometheus's text format."""
    if VARIABLE not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
