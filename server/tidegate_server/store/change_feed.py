"""The change feed: one reader of change streams per process, for any number of subscriptions.

Threads: ``ChangeFeed`` owns one daemon thread (a greenlet under gevent), the only one that reads
change streams. ``_lock`` guards the subscriptions and positions and is never held during network
I/O. A subscription shares only its queue with its owner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

import structlog
from tidegate.backoff import Backoff

from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import keys
from tidegate_server.store.connection import Connection
from tidegate_server.store.feed import Feed, FeedSubscription, Place

log = structlog.get_logger("tidegate.feed")

BLOCK_MS = 250
"""How long one read waits. A new subscription gets its first update after at most this time."""

QUEUE_SIZE = 1_000
CHECK_SECONDS = 5.0
RETRY: Final = Backoff(first_s=0.05, longest_s=2.0)


@dataclass(frozen=True, slots=True)
class Update:
    """A change of an environment.

    If ``data`` is None, read a snapshot: updates were missed, or the store was restored.
    """

    version: int
    data: str | None


class Subscription(FeedSubscription[Update]):
    """A queue of one environment's updates, starting after the version ``position``."""

    def __init__(
        self,
        feed: ChangeFeed,
        environment: Place,
        position: int,
        receive: Callable[[Update | None], None] | None = None,
    ) -> None:
        super().__init__(feed, environment, QUEUE_SIZE, receive)
        self.position = position

    def lost(self, event: Update) -> Update:
        """Return a request to read a snapshot."""
        return Update(event.version, None)


class ChangeFeed(Feed[Update]):
    """Reads the change streams that have subscriptions. Use ``Store.change_feed``."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, "tidegate-feed")
        self._positions: dict[Place, int] = {}
        self._incarnations: dict[Place, str] = {}
        """Of the positions; empty: the project has no version yet."""

    def subscribe(
        self,
        project: str,
        environment: str,
        receive: Callable[[Update | None], None] | None = None,
    ) -> Subscription:
        """Subscribe to an environment's changes after its current version.

        Args:
            project, environment: the environment.
            receive: takes the updates, instead of the subscription's queue; see
                ``FeedSubscription``.

        Raises:
            StoreUnavailable: the current version cannot be read.
        """
        key = (project, environment)
        ((incarnation, version),) = self._latest([key])
        with self._lock:
            # An environment that is already being read may be behind ``version``. Then the new
            # subscription also gets older updates, which the owner knows by their versions.
            position = self._positions.setdefault(key, version)
            self._incarnations.setdefault(key, incarnation)
            subscription = Subscription(self, key, position, receive)
            self._add(subscription)
        return subscription

    def _forget_positions(self) -> None:
        for environment in self._positions.keys() - self._subscriptions.keys():
            del self._positions[environment]
            self._incarnations.pop(environment, None)

    def _follow(self, lane: Hashable) -> None:
        failures = 0
        checked = 0.0
        while self._goes_on(lane):
            with self._lock:
                positions = {
                    place: version
                    for place, version in self._positions.items()
                    if self._connection.lane(place[0]) == lane
                }
            if not positions:
                time.sleep(BLOCK_MS / 1000)
                continue
            try:
                if failures or time.monotonic() - checked > CHECK_SECONDS:
                    self._check_versions(positions)
                    checked = time.monotonic()
                self._read(positions)
                if failures:
                    log.info("change_feed_resumed")
                failures = 0
            except StoreUnavailable as error:
                if self._closed:
                    return
                if not failures:
                    log.warning("change_feed_interrupted", error=error.message)
                failures += 1
                time.sleep(RETRY.wait_s(failures))

    def _read(self, positions: dict[Place, int]) -> None:
        environments = {keys.changes(*each).encode(): each for each in positions}
        after = [f"{version}-0" for version in positions.values()]
        streams = self._connection.read(
            "XREAD", "BLOCK", BLOCK_MS, "STREAMS", *environments, *after
        )
        for key, entries in streams or ():
            environment = environments[key]
            for id, fields in entries:
                version = int(id.partition(b"-")[0])
                known = self._incarnations.get(environment, "")
                # Servers of earlier versions write none.
                incarnation = fields.get(b"incarnation", b"").decode() or known
                complete = version == positions[environment] + 1 and known in ("", incarnation)
                data = fields[b"update"].decode() if complete else None
                data = data or None  # an update that was too long for the stream
                positions[environment] = version
                self._publish(environment, Update(version, data), incarnation)

    def _check_versions(self, positions: dict[Place, int]) -> None:
        """Request snapshots after a restore from a backup, and for changes that never came.

        After a restore versions are lower than the positions, so reads would find nothing; or they
        are of another incarnation, and mean something else. A version and its change are written
        at once, so a change that is not there now is lost.
        """
        environments = list(positions)
        found = self._latest(environments)
        for environment, (incarnation, version) in zip(environments, found, strict=True):
            known = self._incarnations.get(environment, "")
            restored = known not in ("", incarnation)
            if restored or version < positions[environment]:
                positions[environment] = version
                self._publish(environment, Update(version, None), incarnation)
        expected = dict(zip(environments, found, strict=True))
        if all(positions[each] >= version for each, (_, version) in expected.items()):
            return
        self._read(positions)
        for environment, (incarnation, version) in expected.items():
            if positions[environment] < version:
                positions[environment] = version
                self._publish(environment, Update(version, None), incarnation)

    def _publish(self, environment: Place, update: Update, incarnation: str) -> None:
        with self._lock:
            if environment in self._positions:
                self._positions[environment] = update.version
                self._incarnations[environment] = incarnation
            for subscription in self._subscriptions.get(environment, ()):
                subscription.put(update)

    def _latest(self, environments: list[Place]) -> list[tuple[str, int]]:
        """Return the incarnation and the version of each environment."""
        values = self._connection.read_many(
            ("GET", name)
            for project, environment in environments
            for name in (keys.incarnation(project), keys.version(project, environment))
        )
        return [
            ((incarnation or b"").decode(), int(version or 0))
            for incarnation, version in zip(values[::2], values[1::2], strict=True)
        ]
