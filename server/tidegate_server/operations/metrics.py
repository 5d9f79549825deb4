"""Metrics for Prometheus, read from the store.

Nothing is counted per process: each scrape reaches another worker, so such a counter would jump
back and forth. The store's numbers are the same from every worker.
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

from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.release import Release
from tidegate_server.domain.tokens import Token
from tidegate_server.store import Store
from tidegate_server.web.backend import Backend

EXTENSION = "tidegate.metrics"
CACHED_SECONDS = 1.0
ENVIRONMENT_LABELS = ("project", "environment")


@dataclass(frozen=True, slots=True)
class EnvironmentState:
    """The numbers of one environment."""

    project: str
    environment: str
    version: int
    live_instances: int
    outdated_instances: int
    ignored_entries: int
    overruns: tuple[tuple[str, float], ...]
    kills: tuple[str, ...]
    releases: tuple[Release, ...]


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

    def text(self, token: Token) -> bytes:
        """Return the metrics of what a token may read, in Prometheus's text format."""
        all_environments, all_queues = self._current()
        environments = [
            each
            for each in all_environments
            if token.project in (None, each.project)
            and token.environment in (None, each.environment)
        ]
        queues = [queue for queue in all_queues if token.project in (None, queue.project)]
        registry = CollectorRegistry()
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
        targetings: list[Targeting] = [
            stored.document for stored in store.all(project, Kind.TARGETING, environment).values()
        ]
        ids = [each.release for each in targetings if each.release is not None]
        releases = store.get_many(project, [Address(Kind.RELEASE, id, environment) for id in ids])
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
            kills=tuple(each.flag for each in targetings if each.kill is not None),
            releases=tuple(stored.document for stored in releases if stored is not None),
        )


def install(app: Flask, backend: Backend) -> None:
    """Give an application its metrics."""
    app.extensions[EXTENSION] = Metrics(backend.store)


def metrics() -> Metrics:
    """Return the metrics of the application that serves the current request."""
    return cast(Metrics, current_app.extensions[EXTENSION])


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
        waiting = GaugeMetricFamily(
            "tidegate_webhook_messages_waiting",
            "Messages that a webhook has not yet accepted",
            labels=("project", "webhook"),
        )
        for queue in self._queues:
            waiting.add_metric((queue.project, queue.webhook), float(queue.waiting))
        yield waiting

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
