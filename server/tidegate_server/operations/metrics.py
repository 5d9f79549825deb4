"""Metrics for Prometheus: the store's, and those of this server's processes.

The store's numbers are the same from every worker and every server. What processes count is added
up over the processes of one server (``process_metrics``), because each scrape reaches another
worker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.release import Release, State
from tidegate_server.errors import StoreUnavailable
from tidegate_server.process_metrics import process_metrics_text
from tidegate_server.store import Store
from tidegate_server.store.document_cache import targeting_index
from tidegate_server.web.backend import Backend

EXTENSION = "tidegate.metrics"
CACHED_SECONDS = 1.0
HELD = frozenset({State.HOLDING, State.AWAITING_APPROVAL, State.PAUSED})
ENVIRONMENT_LABELS = ("project", "environment")


@dataclass(frozen=True, slots=True)
class EnvironmentState:
    """The numbers of one environment.

    ``propagation_seconds``: within what time the slowest instance so far applied the latest
    version; None: none has confirmed it.
    """

    project: str
    environment: str
    version: int
    live_instances: int
    outdated_instances: int
    ignored_entries: int
    overruns: tuple[tuple[str, float], ...]
    kills: tuple[str, ...]
    releases: tuple[Release, ...]
    progress: tuple[Progress, ...]
    propagation_seconds: float | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class WebhookQueue:
    """How many messages wait for one webhook."""

    project: str
    webhook: str
    waiting: int


class Metrics:
    """The state of all environments and webhooks, read at most once a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._environments: tuple[EnvironmentState, ...] = ()
        self._queues: tuple[WebhookQueue, ...] = ()

    def text(self, caller: Caller) -> bytes:
        """Return the metrics of what a caller may read, in Prometheus's text format.

        Without the store there are those of the processes, which say so. They are for callers who
        may read the whole server.
        """
        text = b""
        if caller.allows(Permission.READ, None, None):
            text = process_metrics_text()
        try:
            return text + self._state_text(caller)
        except StoreUnavailable:
            return text + generate_latest(_reachable(0.0))

    def _state_text(self, caller: Caller) -> bytes:
        all_environments, all_queues = self._current()
        environments = [
            each
            for each in all_environments
            if caller.allows(Permission.READ, each.project, each.environment)
        ]
        queues = [
            queue for queue in all_queues if caller.allows(Permission.READ, queue.project, None)
        ]
        registry = _reachable(1.0)
        registry.register(_StateCollector(environments, queues))
        return generate_latest(registry)

    def _current(self) -> tuple[tuple[EnvironmentState, ...], tuple[WebhookQueue, ...]]:
        with self._lock:
            if time.monotonic() - self._read_at > CACHED_SECONDS:
                self._environments = tuple(self._read_environments())
                self._queues = tuple(self._read_queues())
                self._read_at = time.monotonic()
            return self._environments, self._queues

    def _read_queues(self) -> Iterator[WebhookQueue]:
        outbox = self._store.outbox
        for project in self._store.projects():
            for webhook in self._store.all(project, Kind.WEBHOOK):
                yield WebhookQueue(project, webhook, outbox.waiting(project, webhook))

    def _read_environments(self) -> Iterator[EnvironmentState]:
        for project in self._store.projects():
            for environment in self._store.all(project, Kind.ENVIRONMENT):
                yield self._read_environment(project, environment)

    def _read_environment(self, project: str, environment: str) -> EnvironmentState:
        store = self._store
        version = store.version(project, environment)
        live = [each for each in store.instances.all(project, environment) if each.live]
        targetings = store.cached(project, Kind.TARGETING, environment)
        index = targeting_index(targetings)
        ids = sorted(index.released.values())
        releases = store.get_many(project, [Address(Kind.RELEASE, id, environment) for id in ids])
        progress = store.get_many(project, [Address(Kind.PROGRESS, id, environment) for id in ids])
        receipt = store.receipts.of_version(project, environment, version)
        return EnvironmentState(
            project=project,
            environment=environment,
            version=version,
            live_instances=len(live),
            outdated_instances=sum(1 for each in live if each.version < version),
            ignored_entries=store.evidence.ignored_entries(project, environment),
            overruns=tuple(
                (id, seconds)
                for id, seconds in store.evidence.overruns(project, environment).items()
                if id in ids
            ),
            kills=tuple(sorted(index.killed)),
            releases=tuple(stored.document for stored in releases if stored is not None),
            progress=tuple(stored.document for stored in progress if stored is not None),
            propagation_seconds=(
                None if receipt is None or receipt.slowest_ms is None else receipt.slowest_ms / 1000
            ),
            now_ms=store.now_ms(),
        )


def install(app: Flask, backend: Backend) -> None:
    """Give an application its metrics."""
    app.extensions[EXTENSION] = Metrics(backend.store)


def metrics() -> Metrics:
    """Return the metrics of the application that serves the current request."""
    return cast(Metrics, current_app.extensions[EXTENSION])


def _reachable(value: float) -> CollectorRegistry:
    """Return a registry of whether the store answered this scrape."""
    registry = CollectorRegistry()
    registry.register(_ReachableCollector(value))
    return registry


class _ReachableCollector(Collector):
    def __init__(self, value: float) -> None:
        self._value = value

    def collect(self) -> Iterator[Metric]:
        """Yield the metric, for prometheus_client."""
        yield GaugeMetricFamily(
            "tidegate_store_reachable", "1 if the store answered this scrape", value=self._value
        )


def _held_ms(release: Release, now_ms: int) -> int | None:
    """Return for how long a release has not gone on; None: it goes on."""
    if release.state not in HELD:
        return None
    return now_ms - (release.state_since_ms or release.stage_entered_ms)


def _overdue_ms(release: Release, progress: Progress | None, now_ms: int) -> int:
    """Return for how long a release should have been evaluated; 0: it is not due."""
    if release.state is State.KILLED:
        return 0  # nothing is decided until it is restored
    since_ms = max(release.state_since_ms or 0, release.stage_entered_ms)
    # Before the first evaluation nothing is stored, and it is due after an interval.
    next_due_ms = (progress or initial_progress(release)).next_due_ms
    return max(0, now_ms - max(since_ms, next_due_ms))


class _StateCollector(Collector):
    def __init__(self, environments: list[EnvironmentState], queues: list[WebhookQueue]) -> None:
        self._environments = environments
        self._queues = queues

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, for prometheus_client."""
        yield self._gauge(
            "tidegate_environment_version",
            "Version of an environment's configuration",
            [((), float(each.version), each) for each in self._environments],
        )
        yield self._gauge(
            "tidegate_instances_live",
            "SDK instances that report",
            [((), float(each.live_instances), each) for each in self._environments],
        )
        yield self._gauge(
            "tidegate_instances_outdated",
            "Live SDK instances that do not yet serve the latest version",
            [((), float(each.outdated_instances), each) for each in self._environments],
        )
        ignored = CounterMetricFamily(
            "tidegate_report_entries_ignored",
            "Entries of reports that were not counted, because they cannot be evidence",
            labels=ENVIRONMENT_LABELS,
        )
        for each in self._environments:
            ignored.add_metric((each.project, each.environment), float(each.ignored_entries))
        yield ignored
        yield self._gauge(
            "tidegate_release_evaluation_overrun_seconds",
            "Seconds of a release's last evaluation, where it took too long",
            [
                ((release,), seconds, each)
                for each in self._environments
                for release, seconds in each.overruns
            ],
            "release",
        )
        yield self._gauge(
            "tidegate_kill_in_force",
            "1 for every flag that is killed",
            [((flag,), 1.0, each) for each in self._environments for flag in each.kills],
            "flag",
        )
        yield self._gauge(
            "tidegate_release_percentage",
            "Percentage that an active release has opened in its current stage",
            [
                (
                    (release.flag, release.id, release.state.value, str(release.stage)),
                    release.open_percentage,
                    each,
                )
                for each in self._environments
                for release in each.releases
            ],
            "flag",
            "release",
            "state",
            "stage",
        )
        yield self._gauge(
            "tidegate_propagation_seconds",
            "Time in which the slowest instance so far applied the latest version",
            [
                ((), each.propagation_seconds, each)
                for each in self._environments
                if each.propagation_seconds is not None
            ],
        )
        yield self._gauge(
            "tidegate_release_stage_seconds",
            "Time since an active release entered its current stage",
            [
                ((release.flag, release.id), (each.now_ms - release.stage_entered_ms) / 1000, each)
                for each in self._environments
                for release in each.releases
            ],
            *("flag", "release"),
        )
        yield self._gauge(
            "tidegate_release_held_seconds",
            "Time since an active release began to hold, to wait for approval, or was paused",
            [
                ((release.flag, release.id, release.state.value), held / 1000, each)
                for each in self._environments
                for release in each.releases
                if (held := _held_ms(release, each.now_ms)) is not None
            ],
            *("flag", "release", "state"),
        )
        yield self._gauge(
            "tidegate_release_overdue_seconds",
            "Time since the evaluation of an active release was due",
            [
                ((release.flag, release.id), overdue / 1000, each)
                for each in self._environments
                for release, overdue in self._overdue(each)
            ],
            *("flag", "release"),
        )
        yield from self._arms()
        waiting = GaugeMetricFamily(
            "tidegate_webhook_messages_waiting",
            "Messages that a webhook has not yet accepted",
            labels=("project", "webhook"),
        )
        for queue in self._queues:
            waiting.add_metric((queue.project, queue.webhook), float(queue.waiting))
        yield waiting

    @staticmethod
    def _overdue(state: EnvironmentState) -> Iterator[tuple[Release, int]]:
        progress = {each.release: each for each in state.progress}
        for release in state.releases:
            yield release, _overdue_ms(release, progress.get(release.id), state.now_ms)

    def _arms(self) -> Iterator[Metric]:
        """Yield what the arms of active releases counted: at most one release for each flag."""
        labels = (*ENVIRONMENT_LABELS, "flag", "release", "arm")
        operations = CounterMetricFamily(
            "tidegate_release_operations", "Operations with an outcome, of an arm", labels=labels
        )
        errors = CounterMetricFamily(
            "tidegate_release_errors", "Operations that failed, of an arm", labels=labels
        )
        for each in self._environments:
            flags = {release.id: release.flag for release in each.releases}
            for progress in each.progress:
                for arm in ("control", "treatment"):
                    counts = getattr(progress, arm)
                    flag = flags.get(progress.release, "")
                    place = (each.project, each.environment, flag, progress.release, arm)
                    operations.add_metric(place, float(counts.outcomes))
                    errors.add_metric(place, float(counts.errors))
        yield operations
        yield errors

    @staticmethod
    def _gauge(
        name: str,
        text: str,
        samples: list[tuple[tuple[str, ...], float, EnvironmentState]],
        *labels: str,
    ) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(name, text, labels=(*ENVIRONMENT_LABELS, *labels))
        for values, value, state in samples:
            gauge.add_metric((state.project, state.environment, *values), value)
        return gauge
