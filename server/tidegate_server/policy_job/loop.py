"""The loop of the policy job: find the releases that are due, evaluate them, never die.

Any number of processes may run it. For each project one of them leads, by a lease; the
others look again twice a second. All times are the store's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from tidegate.backoff import Backoff

from tidegate_server.decisions.decision import Action
from tidegate_server.domain.change import Fence, Kind
from tidegate_server.domain.release import LIVE_STATES
from tidegate_server.errors import Deposed, StaleRevision, StoreUnavailable
from tidegate_server.outbound.pending_requests import Place, Rounds
from tidegate_server.policy_job.evaluate_release import Evaluated, evaluate_many
from tidegate_server.policy_job.evidence_sources import Sources
from tidegate_server.policy_job.instance_cache import Roster
from tidegate_server.policy_job.lease import TTL_MS, Leases
from tidegate_server.store import Store
from tidegate_server.webhooks.confirmations import Asker
from tidegate_server.webhooks.sender import DeliverySettings, WebhookSender

log = structlog.get_logger("tidegate.policy_job")

LOOK_SECONDS = 0.5
"""How often the job looks for new releases."""

LISTEN_SECONDS = 0.05
"""How often the job looks for answers while webhooks or other sources are asked."""

SHORTEST_WAIT_SECONDS = 0.02
STORE_BACKOFF = Backoff(first_s=1.0, longest_s=5.0)
BATCH = 50
"""How many releases are read and committed at once; a lease is looked at between batches."""

RETRY_MS = 5_000
"""When a release that could not be evaluated is tried again."""


@dataclass(slots=True)
class _Known:
    """An environment's live releases, as of a version of it: release id -> when it is due."""

    version: int = -1
    due: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)


class PolicyJob:
    """Evaluates the releases of every project it leads.

    Args:
        store: where everything is.
        holder: this process's name in leases; no other process may have the same.
        clock: milliseconds now; the store's clock unless a test says otherwise.
        lease_ms: how long a lease lasts when it is not renewed.
        secret_key: the server's, which requests to webhooks are signed with; None: no
            webhook is told or asked anything.
        deliveries: how long to keep trying to deliver messages to webhooks.
        sources: what checks ask outside of the SDK's reports.
    """

    def __init__(
        self,
        store: Store,
        holder: str,
        clock: Callable[[], int] | None = None,
        lease_ms: int = TTL_MS,
        secret_key: bytes | None = None,
        deliveries: DeliverySettings | None = None,
        sources: Sources | None = None,
    ) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock or store.now_ms
        self._leases = Leases(store, holder, lease_ms)
        self._sources = sources or Sources()
        self._roster = Roster(store)
        self._known: dict[tuple[str, str], _Known] = {}
        self._next_due_ms: int | None = None
        self._answered: list[Place] = []
        self._sender = (
            WebhookSender(store, secret_key, deliveries) if secret_key is not None else None
        )
        self._asker = Asker(store, secret_key) if secret_key is not None else None
        self._asked: list[Rounds[Any]] = [self._sources]
        if self._asker is not None:
            self._asked.append(self._asker)

    def run(self, stop: threading.Event) -> None:
        """Evaluate until ``stop`` is set. Trouble with the store is waited out."""
        failures = 0
        while not stop.is_set():
            try:
                self.tick()
                wait = self._seconds_to_wait()
            except StoreUnavailable as error:
                if failures == 0:
                    log.warning("store unavailable", detail=error.message)
                failures += 1
                wait = STORE_BACKOFF.wait_s(failures)
            except Exception:
                if failures == 0:
                    log.exception("evaluation failed")
                failures += 1
                wait = STORE_BACKOFF.longest_s
            else:
                if failures:
                    log.info("working again", failures=failures)
                failures = 0
            self._pause(stop, wait)
        if self._sender is not None:
            self._sender.deliver_due(())
        try:
            self._leases.give_up()
        except StoreUnavailable:
            log.warning("leases left to expire")

    def tick(self) -> int:
        """Evaluate every release that is due, each at most once.

        Returns:
            How many were evaluated.

        Raises:
            StoreUnavailable: the store cannot be reached; nothing is lost by trying again.
        """
        evaluated = 0
        self._next_due_ms = None
        leads = set()
        self._make_answered_due()
        for scope in self._store.scopes():
            if self._leases.fence(scope) is None:
                self._forget(scope)
                continue
            leads.add(scope)
            for environment in self._store.all(scope, Kind.ENVIRONMENT):
                evaluated += self._evaluate_due(scope, environment)
        if self._sender is not None:
            self._sender.deliver_due(leads)
        return evaluated

    def _make_answered_due(self) -> None:
        """What waited for others is evaluated as soon as they have answered."""
        answered, self._answered = self._answered + self._hear(), []
        for scope, environment, release_id in answered:
            known = self._known.get((scope, environment))
            if known is not None and release_id in known.due:
                known.due[release_id] = 0

    def _evaluate_due(self, scope: str, environment: str) -> int:
        known = self._look(scope, environment)
        evaluated = 0
        now_ms = self._clock()
        ready = [each for each, due in known.due.items() if due <= now_ms]
        for batch in _batches(ready):
            fence = self._leases.fence(scope)
            if fence is None:
                self._forget(scope)
                return evaluated
            evaluated += self._evaluate(known, scope, environment, batch, fence)
        if known.due:
            soonest = min(known.due.values())
            self._next_due_ms = min(soonest, self._next_due_ms or soonest)
        return evaluated

    def _look(self, scope: str, environment: str) -> _Known:
        """The environment's live releases. Each begins and ends with a new version of it."""
        known = self._known.setdefault((scope, environment), _Known())
        version = self._store.version(scope, environment)
        if version != known.version:
            found = self._store.all(scope, Kind.RELEASE, environment)
            live = [key for key, each in found.items() if each.document.state in LIVE_STATES]
            known.due = {key: known.due.get(key, 0) for key in live}
            known.version = version
        return known

    def _evaluate(
        self,
        known: _Known,
        scope: str,
        environment: str,
        batch: Sequence[str],
        fence: Fence,
    ) -> int:
        now_ms = self._clock()
        try:
            outcomes = evaluate_many(
                self._store,
                scope,
                environment,
                batch,
                fence,
                now_ms,
                self._asker,
                roster=self._roster,
                sources=self._sources,
            )
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(batch) > 1:
                # One that cannot even be read must not keep the others from being evaluated.
                return sum(
                    self._evaluate(known, scope, environment, [each], fence) for each in batch
                )
            outcomes = {batch[0]: error}
        return sum(
            self._settle(known, scope, environment, release_id, outcome, now_ms)
            for release_id, outcome in outcomes.items()
        )

    def _settle(
        self,
        known: _Known,
        scope: str,
        environment: str,
        release_id: str,
        outcome: Evaluated | Exception,
        now_ms: int,
    ) -> bool:
        """Note when a release is due again; return whether it was evaluated."""
        if isinstance(outcome, StaleRevision):
            # Someone came first. The release is as due as before: read it again next tick.
            return False
        if isinstance(outcome, Deposed):
            self._leases.lost(scope)
            return False
        if isinstance(outcome, Exception):
            if release_id not in known.broken:
                log.error(
                    "release cannot be evaluated",
                    scope=scope,
                    release=release_id,
                    exc_info=outcome,
                )
            known.broken.add(release_id)
            known.due[release_id] = now_ms + RETRY_MS
            return False
        known.broken.discard(release_id)
        if outcome.next_due_ms is None:
            known.due.pop(release_id, None)
        else:
            known.due[release_id] = outcome.next_due_ms
        if outcome.decision is None:
            return False
        if outcome.decision.action is not Action.HOLD:
            log.info(
                "decided",
                scope=scope,
                environment=environment,
                release=release_id,
                action=str(outcome.decision.action),
                reason=outcome.decision.reason,
            )
        return True

    def _forget(self, scope: str) -> None:
        """Drop what was known under a lease that is gone; the next leader's word counts."""
        for key in [key for key in self._known if key[0] == scope]:
            del self._known[key]
        for each in self._asked:
            each.forget_project(scope)

    def _hear(self) -> list[Place]:
        return [place for each in self._asked for place in each.answered()]

    def _pause(self, stop: threading.Event, seconds: float) -> None:
        """Wait, but not on after somebody who was asked has answered."""
        until = time.monotonic() + seconds
        while any(each.waits for each in self._asked):
            left = until - time.monotonic()
            if left <= 0 or stop.wait(min(left, LISTEN_SECONDS)):
                return
            self._answered += self._hear()
            if self._answered:
                return
        stop.wait(max(0.0, until - time.monotonic()))

    def _seconds_to_wait(self) -> float:
        if self._next_due_ms is None:
            return LOOK_SECONDS
        due = (self._next_due_ms - self._clock()) / 1_000
        return min(LOOK_SECONDS, max(SHORTEST_WAIT_SECONDS, due))


def _batches(ready: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ready), BATCH):
        yield ready[first : first + BATCH]
