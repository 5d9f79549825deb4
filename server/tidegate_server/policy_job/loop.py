"""The loop of the policy job: finds the releases that are due and evaluates them.

Any number of processes may run it. For each project one of them leads, by a lease; the others
check twice a second whether they can. All times are the store's.

Twice a second the job looks at every project and environment for what is new. In between it only
evaluates the releases that are due, so that many releases with short intervals cost no more looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from tidegate.backoff import Backoff

from tidegate_server import tracing
from tidegate_server.decisions.decision import Action
from tidegate_server.domain.change import Fence
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.network_addresses import PUBLIC_ONLY, AllowedNetworks
from tidegate_server.domain.release import LIVE_STATES
from tidegate_server.errors import LeaseLost, StaleRevision, StoreUnavailable
from tidegate_server.outbound.pending_requests import PendingRequests, ReleaseKey
from tidegate_server.policy_job.due_changes import DueChanges, ScheduledRuns
from tidegate_server.policy_job.evaluate_release import ReleaseEvaluation, ReleaseEvaluator
from tidegate_server.policy_job.evidence_sources import EvidenceSources
from tidegate_server.policy_job.lease import TTL_MS, Leases
from tidegate_server.store import Store, removal
from tidegate_server.store.document_cache import targeting_index
from tidegate_server.webhooks.confirmations import ConfirmationRequests
from tidegate_server.webhooks.sender import DeliverySettings, MessageSettings, WebhookSender

log = structlog.get_logger("tidegate.policy_job")

POLL_SECONDS = 0.5
"""How often the job looks for new releases."""

ANSWER_POLL_SECONDS = 0.05
"""How often the job looks for answers of webhooks and other sources."""

REMOVAL_SECONDS = 10.0
"""How often the job looks for deletions that another process has begun and not ended."""

MIN_WAIT_SECONDS = 0.02
STORE_BACKOFF = Backoff(first_s=1.0, longest_s=5.0)
BATCH_SIZE = 50
"""How many releases are read and committed at once. Between batches the lease is checked."""

SLOW_REST = 9
"""Slow releases together take one part in ten of the job's time at most."""

RETRY_MS = 5_000
"""How long to wait before evaluating a release again that could not be evaluated."""


@dataclass(slots=True)
class _EnvironmentReleases:
    """An environment's active releases at one of its versions.

    ``due_ms`` says when each release is due; ``failed`` are those that could not be evaluated,
    ``slow`` those whose last evaluation took too long.
    """

    version: int = -1
    due_ms: dict[str, int] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)

    def is_due(self, now_ms: int) -> bool:
        """Return whether a release is due that is not slow."""
        return any(due_ms <= now_ms for id, due_ms in self.due_ms.items() if id not in self.slow)


class PolicyJob:
    """Evaluates the releases of every project that it leads.

    Args:
        store: where everything is.
        holder: this process's name in leases; no other process may have the same.
        clock: returns the current time in ms; the store's clock unless a test replaces it.
        lease_ms: how long a lease lasts unless it is renewed.
        secret_key: the server's secret key, for signatures. Without it, no message is
            delivered to webhooks and no webhook confirms.
        deliveries: how long to keep trying to deliver messages to webhooks.
        sources: the sources that checks query.
        networks: where requests to webhooks may go.
        messages: what messages to people need.
        make_scheduled_runs: returns what makes the runs of scheduled changes; without it, none
            is made.
    """

    def __init__(
        self,
        store: Store,
        holder: str,
        clock: Callable[[], int] | None = None,
        lease_ms: int = TTL_MS,
        secret_key: bytes | None = None,
        deliveries: DeliverySettings | None = None,
        sources: EvidenceSources | None = None,
        networks: AllowedNetworks = PUBLIC_ONLY,
        messages: MessageSettings | None = None,
        make_scheduled_runs: Callable[[], ScheduledRuns] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock or store.now_ms
        self._leases = Leases(store, holder, lease_ms)
        self._releases: dict[tuple[str, str], _EnvironmentReleases] = {}
        self._led: set[str] = set()
        self._slow_from_ms = 0
        self._latest_ms = 0
        self._removed_at = float("-inf")
        self._answered: list[ReleaseKey] = []
        self._due_changes = (
            None if make_scheduled_runs is None else DueChanges(store, make_scheduled_runs)
        )
        self._sender: WebhookSender | None = None
        confirmations: ConfirmationRequests | None = None
        if secret_key is not None:
            self._sender = WebhookSender(store, secret_key, deliveries, networks, messages)
            confirmations = ConfirmationRequests(store, secret_key, networks)
        sources = sources or EvidenceSources()
        self._evaluator = ReleaseEvaluator(store, sources, confirmations)
        self._pending: list[PendingRequests[Any]] = [sources]
        if confirmations is not None:
            self._pending.append(confirmations)

    def run(self, stop: threading.Event) -> None:
        """Evaluate until ``stop`` is set. Errors are logged and do not end the loop."""
        failures, look_at = 0, 0.0
        while not stop.is_set():
            try:
                if time.monotonic() < look_at:
                    self.evaluate_due()
                else:
                    self.tick()
                    look_at = time.monotonic() + POLL_SECONDS
                wait = min(self._seconds_until_due(), max(0.0, look_at - time.monotonic()))
            except StoreUnavailable as error:
                if failures == 0:
                    log.warning("store_unavailable", problem=error.message)
                failures += 1
                wait = STORE_BACKOFF.wait_s(failures)
            except Exception:
                if failures == 0:
                    log.exception("evaluation_failed")
                failures += 1
                wait = STORE_BACKOFF.longest_s
            else:
                if failures:
                    log.info("policy_job_recovered", failures=failures)
                failures = 0
            if failures:
                look_at = 0.0
            self._wait(stop, wait)
        if self._sender is not None:
            self._sender.deliver_due(())
        if self._due_changes is not None:
            self._due_changes.close()
        try:
            self._leases.release()
        except StoreUnavailable:
            log.warning("leases_left_to_expire")

    def tick(self) -> int:
        """Look at all projects, and evaluate every release that is due, each at most once.

        Of the slow ones only one is evaluated, after all others, and then none for ``SLOW_REST``
        times as long as that took. So they delay the others by one evaluation at most.

        Returns:
            How many releases were evaluated.

        Raises:
            StoreUnavailable: the store cannot be reached. Calling again loses nothing.
        """
        evaluated = 0
        if time.monotonic() - self._removed_at >= REMOVAL_SECONDS:
            removal.go_on(self._store)
            self._removed_at = time.monotonic()
        led, places = set(), set()
        self._make_answered_due()
        for project in self._store.projects():
            if self._leases.fence(project) is None:
                self._forget(project)
                continue
            led.add(project)
            self._make_due_changes(project)
            environments = self._store.keys(project, Kind.ENVIRONMENT)
            for environment, version in self._store.versions(project, environments).items():
                places.add((project, environment))
                evaluated += self._evaluate_due(project, environment, version)
        for place in self._releases.keys() - places:
            del self._releases[place]  # the environment was deleted, or its project
        self._led = led
        if self._sender is not None:
            self._sender.deliver_due(led)
        evaluated += self._evaluate_one_slow_release()
        return evaluated

    def evaluate_due(self) -> int:
        """Do the same as ``tick`` for the releases that are known; return how many were evaluated.

        Raises:
            StoreUnavailable: as ``tick`` raises it.
        """
        evaluated, changed = 0, set()
        self._make_answered_due()
        now_ms = self._clock()
        for (project, environment), releases in list(self._releases.items()):
            if releases.is_due(now_ms) and (project, environment) in self._releases:
                version = self._store.version(project, environment)
                evaluated += self._evaluate_due(project, environment, version)
                changed.add(project)
        if changed and self._sender is not None:
            self._sender.deliver_due(self._led, changed)
        return evaluated + self._evaluate_one_slow_release()

    def _make_due_changes(self, project: str) -> None:
        """Make the scheduled changes of a project that are due.

        They come before its releases: a release may depend on what they change.
        """
        fence = self._leases.fence(project)
        if self._due_changes is None or fence is None:
            return
        try:
            self._due_changes.run_due(project, self._clock(), fence)
        except LeaseLost:
            self._leases.lose(project)

    def _make_answered_due(self) -> None:
        """Make the releases due whose answers have arrived."""
        answered, self._answered = self._answered + self._newly_answered(), []
        for project, environment, release_id in answered:
            releases = self._releases.get((project, environment))
            if releases is not None and release_id in releases.due_ms:
                releases.due_ms[release_id] = 0

    def _make_all_due(self) -> None:
        """Make every release due, because the store's clock has gone back.

        A bad release must not go on until the clock is where it was: after a failover to a
        server with another clock that may take hours.
        """
        self._slow_from_ms = 0
        for releases in self._releases.values():
            releases.due_ms = dict.fromkeys(releases.due_ms, 0)

    def _newly_answered(self) -> list[ReleaseKey]:
        return [release for each in self._pending for release in each.completed()]

    def _evaluate_due(self, project: str, environment: str, version: int) -> int:
        releases = self._read_releases(project, environment, version)
        if not releases.due_ms:
            return 0
        evaluated = 0
        now_ms = self._clock()
        if now_ms < self._latest_ms:
            self._make_all_due()
        self._latest_ms = now_ms
        due = [
            id
            for id, due_ms in releases.due_ms.items()
            if due_ms <= now_ms and id not in releases.slow
        ]
        for batch in _batches(due):
            fence = self._leases.fence(project)
            if fence is None:
                self._forget(project)
                return evaluated
            evaluated += self._evaluate(releases, project, environment, batch, fence)
        return evaluated

    def _evaluate_one_slow_release(self) -> int:
        """Evaluate the slow release that has been due for longest, if it is time for one."""
        now_ms = self._clock()
        due = [
            (releases.due_ms[id], *place, id)
            for place, releases in self._releases.items()
            for id in releases.slow & releases.due_ms.keys()
            if releases.due_ms[id] <= now_ms
        ]
        if not due or now_ms < self._slow_from_ms:
            return 0
        _, project, environment, id = min(due)
        fence = self._leases.fence(project)
        if fence is None:
            self._forget(project)
            return 0
        began = time.monotonic()
        releases = self._releases[project, environment]
        try:
            return self._evaluate(releases, project, environment, [id], fence)
        finally:
            self._slow_from_ms = self._clock() + int(SLOW_REST * (time.monotonic() - began) * 1_000)

    def _read_releases(self, project: str, environment: str, version: int) -> _EnvironmentReleases:
        """Return an environment's active releases; looked up only if its version is another one.

        The targetings name them, so releases that have ended are not read.
        """
        releases = self._releases.setdefault((project, environment), _EnvironmentReleases())
        if version != releases.version:
            targetings = self._store.cached(project, Kind.TARGETING, environment)
            live = targeting_index(targetings).released.values()
            releases.due_ms = {key: releases.due_ms.get(key, 0) for key in live}
            releases.slow.intersection_update(live)
            if releases.version < 0:
                self._forget_evidence_of_ended(project, environment)
            releases.version = version
        return releases

    def _forget_evidence_of_ended(self, project: str, environment: str) -> None:
        """Forget what releases kept that ended under an earlier version of the server."""
        stored = self._store.all(project, Kind.RELEASE, environment).values()
        ended = [each.document for each in stored if each.document.state not in LIVE_STATES]
        self._store.evidence.forget_releases(project, environment, ended)

    def _evaluate(
        self,
        releases: _EnvironmentReleases,
        project: str,
        environment: str,
        batch: Sequence[str],
        fence: Fence,
    ) -> int:
        now_ms = self._clock()
        outcomes: dict[str, ReleaseEvaluation | Exception]
        try:
            with tracing.span("evaluate releases", project=project, environment=environment):
                outcomes = self._evaluator.evaluate(project, environment, batch, fence, now_ms)
        except Exception as error:
            if isinstance(error, StoreUnavailable):
                # Is it the whole store, or only what one release has in it?
                self._store.ping()
                releases.slow.update(batch if len(batch) == 1 else ())
            if len(batch) > 1:
                # One that cannot be read must not keep the others from being evaluated.
                return sum(
                    self._evaluate(releases, project, environment, [each], fence) for each in batch
                )
            outcomes = {batch[0]: error}
        return sum(
            self._schedule(releases, project, environment, release_id, outcome, now_ms)
            for release_id, outcome in outcomes.items()
        )

    def _schedule(
        self,
        releases: _EnvironmentReleases,
        project: str,
        environment: str,
        release_id: str,
        outcome: ReleaseEvaluation | Exception,
        now_ms: int,
    ) -> bool:
        """Note when a release is due again; return whether it was evaluated."""
        if isinstance(outcome, StaleRevision):
            # The release has changed. It stays due: the next tick reads it again.
            return False
        if isinstance(outcome, LeaseLost):
            self._leases.lose(project)
            return False
        if isinstance(outcome, Exception):
            if release_id not in releases.failed:
                log.error(
                    "release_not_evaluated",
                    scope=project,
                    release=release_id,
                    exc_info=outcome,
                )
            releases.failed.add(release_id)
            releases.due_ms[release_id] = now_ms + RETRY_MS
            return False
        releases.failed.discard(release_id)
        if outcome.overrun_s:
            releases.slow.add(release_id)
        else:
            releases.slow.discard(release_id)
        if outcome.next_due_ms is None:
            releases.due_ms.pop(release_id, None)
        else:
            releases.due_ms[release_id] = outcome.next_due_ms
        if outcome.decision is None:
            return False
        if outcome.decision.action is not Action.HOLD:
            log.info(
                "decided",
                scope=project,
                environment=environment,
                release=release_id,
                action=str(outcome.decision.action),
                reason=outcome.decision.reason,
            )
        return True

    def _forget(self, project: str) -> None:
        """Drop what is known of a project that another process leads now."""
        for key in [key for key in self._releases if key[0] == project]:
            del self._releases[key]
        for each in self._pending:
            each.forget_project(project)
        if self._due_changes is not None:
            self._due_changes.forget(project)

    def _wait(self, stop: threading.Event, seconds: float) -> None:
        """Wait until the time is over, answers have arrived, or ``stop`` is set."""
        until = time.monotonic() + seconds
        while any(each.waiting for each in self._pending):
            left = until - time.monotonic()
            if left <= 0 or stop.wait(min(left, ANSWER_POLL_SECONDS)):
                return
            self._answered += self._newly_answered()
            if self._answered:
                return
        stop.wait(max(0.0, until - time.monotonic()))

    def _seconds_until_due(self) -> float:
        due_ms = [
            max(due_ms, self._slow_from_ms) if id in releases.slow else due_ms
            for releases in self._releases.values()
            for id, due_ms in releases.due_ms.items()
        ]
        if not due_ms:
            return POLL_SECONDS
        return max(MIN_WAIT_SECONDS, (min(due_ms) - self._clock()) / 1_000)


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), BATCH_SIZE):
        yield ids[first : first + BATCH_SIZE]
