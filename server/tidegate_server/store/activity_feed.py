"""The activity feed: what happens in environments, for any number of open pages of one process.

It follows two streams of each environment that a page shows: the notices of commits
(``keys.activity``) and what instances do (``keys.instance_notices``). Commits have positions, from
which a page that was disconnected continues. What instances do has none. So a page also knows the
moment that it shows (``ActivityFeed.moment``), and reads everything again if its events begin at
another one.

Threads: ``ActivityFeed`` owns one daemon thread (a greenlet under gevent), the only one that reads
the streams. ``_lock`` guards the subscriptions and positions and is never held during network I/O.
A subscription shares only its queue with its owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from tidegate_server.domain.calendar import instant_text
from tidegate_server.domain.kill_switch import KILLS, RESTORES
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import keys
from tidegate_server.store.connection import Connection
from tidegate_server.store.feed import BLOCK_MS, Feed, FeedSubscription, Place

QUEUE_SIZE = 500
MOST_MISSED = 500
"""A page that missed more commits than this reads everything again."""

EVENT_NAMES = {Kind.TARGETING: "flag", Kind.PROGRESS: "release"}
"""What pages call a kind of documents, if not by its own name."""


@dataclass(frozen=True, slots=True)
class ActivityEvent:
    """Something that happened in an environment.

    Attributes:
        name: ``flag``, ``release``, ``kill``, ``receipt``, ``instance``, or another kind of
            documents; ``reset``: events were lost.
        data: more about it, as JSON on one line.
        position: of the commit; empty: it was none.
    """

    name: str
    data: str
    position: str = ""


RESET = ActivityEvent("reset", "{}")


class ActivitySubscription(FeedSubscription[ActivityEvent]):
    """A queue of one environment's events, from the moment of the subscription.

    Attributes:
        position: of the last commit before it.
        moment: when it begins, as ``ActivityFeed.moment`` has it.
    """

    def __init__(self, feed: ActivityFeed, place: Place, position: str, moment: str) -> None:
        super().__init__(feed, place, QUEUE_SIZE)
        self.position = position
        self.moment = moment

    def lost(self, event: ActivityEvent) -> ActivityEvent:
        """Return the event that lets a page read everything again."""
        return RESET


class ActivityFeed(Feed[ActivityEvent, str, str]):
    """Follows what happens in the environments that pages show. Use ``Store.activity_feed``."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, "activity")

    def subscribe(self, project: str, environment: str) -> ActivitySubscription:
        """Subscribe to what happens in an environment from now on.

        Raises:
            StoreUnavailable: the present positions cannot be read.
        """
        place = (project, environment)
        streams = _streams(place)
        latest = dict(zip(streams, self._latest(streams), strict=True))
        with self._lock:
            for stream in streams:
                # A stream that is already read may be behind its end. Then the subscription also
                # gets older events, which their owner knows by their positions. Or it was read
                # farther meanwhile, for others: then the subscription begins there.
                read = self._positions.setdefault(stream, latest[stream])
                latest[stream] = max(read, latest[stream], key=order_of)
            position, moment = latest[keys.activity(project)], _moment(latest.values())
            subscription = ActivitySubscription(self, place, position, moment)
            self._add(subscription)
        return subscription

    def moment(self, project: str, environment: str) -> str:
        """Return a text that changes whenever something happens in an environment.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        return _moment(self._latest(_streams((project, environment))))

    def _forget_positions(self) -> None:
        followed = {stream for place in self._subscriptions for stream in _streams(place)}
        for stream in self._positions.keys() - followed:
            del self._positions[stream]

    def missed(self, project: str, environment: str, after: str, until: str) -> list[ActivityEvent]:
        """Return the events of commits after a position; ``RESET`` alone if some are not kept.

        Args:
            project, environment: where.
            after: a position, as an event has it.
            until: the last position.
        """
        entries = self._connection.read(
            "XRANGE", keys.activity(project), after, until, "COUNT", MOST_MISSED + 1
        )
        if not entries or entries[0][0].decode() != after or entries[-1][0].decode() != until:
            return [RESET]
        return [
            event
            for id, fields in entries[1:]
            for event in _commit_events(id.decode(), fields, environment)
        ]

    def _project_of(self, stream: str) -> str:
        return keys.scope_of(stream)

    def _read(self, positions: dict[str, str], resumes: bool) -> None:
        if resumes:
            # After an outage the streams may be those of a backup.
            self._reset(positions)
            return
        found = self._connection.read(
            "XREAD", "BLOCK", BLOCK_MS, "STREAMS", *positions, *positions.values()
        )
        for name, entries in found or ():
            stream = name.decode()
            with self._lock:
                if stream in self._positions:
                    self._positions[stream] = entries[-1][0].decode()
                places = [each for each in self._subscriptions if stream in _streams(each)]
            for place in places:
                is_commits = stream == keys.activity(place[0])
                events = (
                    [
                        event
                        for id, fields in entries
                        for event in _commit_events(id.decode(), fields, place[1])
                    ]
                    if is_commits
                    else list(_instance_events(fields for _, fields in entries))
                )
                self._publish(place, events)

    def _reset(self, positions: dict[str, str]) -> None:
        latest = self._latest(list(positions))
        projects = {keys.scope_of(stream) for stream in positions}
        with self._lock:
            for stream, position in zip(positions, latest, strict=True):
                if stream in self._positions:
                    self._positions[stream] = position
            places = [place for place in self._subscriptions if place[0] in projects]
        for place in places:
            self._publish(place, [RESET])

    def _publish(self, place: Place, events: list[ActivityEvent]) -> None:
        with self._lock:
            subscriptions = list(self._subscriptions.get(place, ()))
        for subscription in subscriptions:
            for event in events:
                subscription.put(event)

    def _latest(self, streams: Iterable[str]) -> list[str]:
        found = self._connection.read_many(
            ("XREVRANGE", stream, "+", "-", "COUNT", 1) for stream in streams
        )
        return [each[0][0].decode() if each else "0-0" for each in found]


def order_of(position: str) -> tuple[int, int]:
    """Return what sorts the positions of a stream."""
    milliseconds, _, number = position.partition("-")
    return int(milliseconds), int(number)


def _streams(place: Place) -> tuple[str, str]:
    return keys.activity(place[0]), keys.instance_notices(*place)


def _moment(positions: Iterable[str]) -> str:
    return "_".join(positions)


def _commit_events(
    position: str, fields: dict[bytes, bytes], environment: str
) -> Iterator[ActivityEvent]:
    """Yield what one commit did in an environment, or to what all environments share."""
    action = fields.get(b"action", b"").decode()
    about = {
        "action": action,
        "actor": fields.get(b"actor", b"").decode(),
        "at": instant_text(int(fields.get(b"at", b"0"))),
    }
    for kind, where, key, revision in msgspec.json.decode(fields.get(b"documents", b"[]")):
        if where not in ("", environment):
            continue
        name = EVENT_NAMES.get(kind, kind)
        if kind == Kind.TARGETING and action in (*KILLS, *RESTORES):
            name = "kill"
        document = {"kind": kind, "key": key, "revision": revision, **about}
        yield ActivityEvent(name, msgspec.json.encode(document).decode(), position)


def _instance_events(entries: Iterable[dict[bytes, bytes]]) -> Iterator[ActivityEvent]:
    """Yield what instances did; all that applied one version at the same time are one event."""
    applied: dict[int, int] = {}
    for fields in entries:
        instance, what = fields[b"instance"].decode(), fields[b"what"].decode()
        version = int(fields[b"version"])
        if what == "applied":
            applied[version] = applied.get(version, 0) + 1
        else:
            document = {"id": instance, "what": what, "version": version}
            yield ActivityEvent("instance", msgspec.json.encode(document).decode())
    for version, count in applied.items():
        document = {"version": version, "instances": count}
        yield ActivityEvent("receipt", msgspec.json.encode(document).decode())
