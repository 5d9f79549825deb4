"""The change feed: one reader of change streams per process, for any number of subscriptions.

Threads: ``ChangeFeed`` owns one daemon thread (a greenlet under gevent), the only one that reads
change streams. ``_lock`` guards the subscriptions and positions and is never held during network
I/O. A subscription shares only its queue with its owner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace

import structlog

from tidegate_server.store import environment_versions, keys
from tidegate_server.store.commit import new_incarnation
from tidegate_server.store.connection import Connection
from tidegate_server.store.environment_versions import EnvironmentVersion, present_version
from tidegate_server.store.feed import BLOCK_MS, Feed, FeedSubscription, Place

log = structlog.get_logger("tidegate.feed")

QUEUE_SIZE = 1_000
CHECK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Update:
    """A change of an environment.

    If ``data`` is None, read a snapshot: updates were missed, or the store was restored.
    """

    version: int
    data: str | None


class Subscription(FeedSubscription[Update]):
    """A queue of one environment's updates."""

    def __init__(
        self,
        feed: ChangeFeed,
        environment: Place,
        receive: Callable[[Update | None], None] | None = None,
    ) -> None:
        super().__init__(feed, environment, QUEUE_SIZE, receive)

    def lost(self, event: Update) -> Update:
        """Return a request to read a snapshot."""
        return Update(event.version, None)


class ChangeFeed(Feed[Update, Place, EnvironmentVersion]):
    """Reads the change streams that have subscriptions. Use ``Store.change_feed``."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, "change")
        self._checked: dict[Hashable, float] = {}
        """When the versions of a lane were last compared with the store's."""

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
        place = (project, environment)
        version = present_version(self._connection, place)
        with self._lock:
            # An environment that is already being read may be behind ``version``. Then the new
            # subscription also gets older updates, which the owner knows by their versions.
            self._positions.setdefault(place, version)
            subscription = Subscription(self, place, receive)
            self._add(subscription)
        return subscription

    def _forget_positions(self) -> None:
        for environment in self._positions.keys() - self._subscriptions.keys():
            del self._positions[environment]

    def _project_of(self, stream: Place) -> str:
        return stream[0]

    def _read(self, positions: dict[Place, EnvironmentVersion], resumes: bool) -> None:
        lane, now = self._connection.lane(next(iter(positions))[0]), time.monotonic()
        if resumes or now - self._checked.get(lane, 0.0) > CHECK_SECONDS:
            self._check_versions(positions)
            self._checked[lane] = time.monotonic()
        self._read_changes(positions)

    def _read_changes(self, positions: dict[Place, EnvironmentVersion]) -> None:
        environments = {keys.changes(*each).encode(): each for each in positions}
        after = [f"{version.number}-0" for version in positions.values()]
        streams = self._connection.read(
            "XREAD", "BLOCK", BLOCK_MS, "STREAMS", *environments, *after
        )
        for key, entries in streams or ():
            environment = environments[key]
            for id, fields in entries:
                known = positions[environment]
                # Servers of earlier versions write neither.
                incarnation = fields.get(b"incarnation", b"").decode() or known.incarnation
                committed = fields.get(b"at", b"").decode()
                version = EnvironmentVersion(int(id.partition(b"-")[0]), incarnation, committed)
                complete = version.number == known.number + 1 and known.incarnation in (
                    "",
                    incarnation,
                )
                data = fields[b"update"].decode() if complete else None
                # An update that was too long for the stream is empty.
                positions[environment] = version
                self._publish(environment, version, data or None)

    def _check_versions(self, positions: dict[Place, EnvironmentVersion]) -> None:
        """Request snapshots where versions were lost, and for changes that never came.

        After a restore or a failover versions are lower than the positions, so reads would find
        nothing; or they have the same numbers and are others. A restore has changed the
        incarnation. After a failover it is changed here, so that no client goes on from a lost
        version. A version and its change are written at once, so a change that is not there now is
        lost.
        """
        found = {}
        for environment, version in self._look(positions).items():
            known = positions[environment]
            restored = known.incarnation not in ("", version.incarnation)
            lost = version.number < known.number or _are_others(known.committed, version.committed)
            if version.number != known.number:
                version = replace(version, committed="")  # which was that of the known version
            # A deleted environment has no version any more.
            if lost and version.number and not restored:
                version = self._with_new_incarnation(environment, version)
            found[environment] = version
            if restored or lost:
                positions[environment] = version
                self._publish(environment, version, None)
        if all(positions[each].number >= version.number for each, version in found.items()):
            return
        self._read_changes(positions)
        for environment, version in found.items():
            if positions[environment].number < version.number:
                positions[environment] = version
                self._publish(environment, version, None)

    def _look(
        self, positions: Mapping[Place, EnvironmentVersion]
    ) -> dict[Place, EnvironmentVersion]:
        """Return the version of each environment, with the time of the commit of the known one."""
        replies = self._connection.read_many(
            command
            for environment, version in positions.items()
            for command in environment_versions.commands(environment, version.number)
        )
        found = zip(replies[::3], replies[1::3], replies[2::3], strict=True)
        return {
            environment: environment_versions.parse(each)
            for environment, each in zip(positions, found, strict=True)
        }

    def _with_new_incarnation(
        self, environment: Place, version: EnvironmentVersion
    ) -> EnvironmentVersion:
        name = keys.incarnation(environment[0])
        arguments = (version.incarnation, new_incarnation())
        incarnation = self._connection.run_script("renew_incarnation", [name], arguments).decode()
        log.warning("changes_lost", environment="/".join(environment), version=version.number)
        return replace(version, incarnation=incarnation)

    def _publish(self, environment: Place, version: EnvironmentVersion, data: str | None) -> None:
        with self._lock:
            if environment in self._positions:
                self._positions[environment] = version
            update = Update(version.number, data)
            for subscription in self._subscriptions.get(environment, ()):
                subscription.put(update)


def _are_others(committed: str, now: str) -> bool:
    """Return whether two times are those of different commits; empty: that is not known."""
    return bool(committed and now) and committed != now
