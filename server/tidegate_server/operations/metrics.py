"""Gauges for Prometheus, read from the store.

Nothing is counted per process: a scrape meets one worker of many, so that such a counter
would jump back and forth. What the store knows is the same from every worker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.release import Release
from tidegate_server.domain.tokens import Token
from tidegate_server.store import Store
from tidegate_server.web.backend import Backend

EXTENSION = "tidegate.metrics"
CACHED_SECONDS = 1.0
PLACE = ("project", "environment")


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of one environment."""

    project: str
    environment: str
    version: int
    live_instances: int
    outdated_instances: int
    kills: tuple[str, ...]
    releases: tuple[Release, ...]


@dataclass(frozen=True, slots=True)
class Queue:
    """How many messages wait for a webhook of a project."""

    project: str
    webhook: str
    waiting: int


class Metrics:
    """Reads every environment and every webhook, at most once a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._places: tuple[Place, ...] = ()
        self._queues: tuple[Queue, ...] = ()

    def text(self, token: Token) -> bytes:
        """The metrics of what a token may read, in Prometheus's text format."""
        present, waiting = self._present()
        places = [
            place
            for place in present
            if token.project in (None, place.project)
            and token.environment in (None, place.environment)
        ]
        queues = [queue for queue in waiting if token.project in (None, queue.project)]
        registry = CollectorRegistry()
        registry.register(_Collected(places, queues))
        return generate_latest(registry)

    def _present(self) -> tuple[tuple[Place, ...], tuple[Queue, ...]]:
        with self._lock:
            if time.monotonic() - self._read_at > CACHED_SECONDS:
                self._places = tuple(self._read())
                self._queues = tuple(self._read_queues())
                self._read_at = time.monotonic()
            return self._places, self._queues

    def _read_queues(self) -> Iterator[Queue]:
        outbox = self._store.outbox()
        for project in self._store.scopes():
            for webhook in self._store.all(project, Kind.WEBHOOK):
                yield Queue(project, webhook, outbox.waiting(project, webhook))

    def _read(self) -> Iterator[Place]:
        for project in self._store.scopes():
            for environment in self._store.all(project, Kind.ENVIRONMENT):
                yield self._place(project, environment)

    def _place(self, project: str, environment: str) -> Place:
        store = self._store
        version = store.version(project, environment)
        live = [each for each in store.instances(project, environment) if each.live]
        targetings: list[Targeting] = [
            stored.document for stored in store.all(project, Kind.TARGETING, environment).values()
        ]
        ids = [each.release for each in targetings if each.release is not None]
        found = store.get_many(project, [Address(Kind.RELEASE, id, environment) for id in ids])
        return Place(
            project=project,
            environment=environment,
            version=version,
            live_instances=len(live),
            outdated_instances=sum(1 for each in live if each.version < version),
            kills=tuple(each.flag for each in targetings if each.kill is not None),
            releases=tuple(stored.document for stored in found if stored is not None),
        )


def install(app: Flask, backend: Backend) -> None:
    """Give an application its metrics."""
    app.extensions[EXTENSION] = Metrics(backend.store)


def metrics() -> Metrics:
    """Return the metrics of the application that serves the current request."""
    return cast(Metrics, current_app.extensions[EXTENSION])


class _Collected(Collector):
    def __init__(self, places: list[Place], queues: list[Queue]) -> None:
        self._places = places
        self._queues = queues

    def collect(self) -> Iterator[Metric]:
        """The gauges, for prometheus_client."""
        yield self._gauge(
            "tidegate_environment_version",
            "Version of an environment's configuration",
            [((), float(place.version), place) for place in self._places],
        )
        yield self._gauge(
            "tidegate_instances_live",
            "SDK instances that report",
            [((), float(place.live_instances), place) for place in self._places],
        )
        yield self._gauge(
            "tidegate_instances_outdated",
            "Live SDK instances that do not serve the newest version yet",
            [((), float(place.outdated_instances), place) for place in self._places],
        )
        yield self._gauge(
            "tidegate_kill_in_force",
            "1 for every flag that is killed",
            [((flag,), 1.0, place) for place in self._places for flag in place.kills],
            "flag",
        )
        yield self._gauge(
            "tidegate_release_percentage",
            "Percentage that an active release has opened in its present stage",
            [
                (
                    (release.flag, release.id, release.state.value, str(release.stage)),
                    release.open_percentage,
                    place,
                )
                for place in self._places
                for release in place.releases
            ],
            "flag",
            "release",
            "state",
            "stage",
        )
        waiting = GaugeMetricFamily(
            "tidegate_webhook_messages_waiting",
            "Messages that a webhook has not taken yet",
            labels=("project", "webhook"),
        )
        for queue in self._queues:
            waiting.add_metric((queue.project, queue.webhook), float(queue.waiting))
        yield waiting

    @staticmethod
    def _gauge(
        name: str, text: str, samples: list[tuple[tuple[str, ...], float, Place]], *labels: str
    ) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(name, text, labels=(*PLACE, *labels))
        for values, value, place in samples:
            gauge.add_metric((place.project, place.environment, *values), value)
        return gauge
