"""The store of a server: documents, commits and snapshots, and doors to everything else.

Every configuration change is one run of the commit script; there is no other way. Time is the
store's own clock. Threads and greenlets may share a ``Store``; forked processes may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import NoScriptError

from tidegate_server.domain.change import Address, Change, Kind, Stored
from tidegate_server.errors import LeaseLost, StaleRevision, StoreUnavailable, TidegateError
from tidegate_server.store import documents, keys
from tidegate_server.store.change_feed import ChangeFeed
from tidegate_server.store.commit import CommitRequest, Committed, json_object
from tidegate_server.store.connection import Connection, has_append_only_file, open_client
from tidegate_server.store.evidence import EvidenceStore
from tidegate_server.store.heard_alerts import HeardAlerts
from tidegate_server.store.history import History
from tidegate_server.store.instances import Instances
from tidegate_server.store.leases import Leases
from tidegate_server.store.logs import Logs
from tidegate_server.store.outbox import Outbox
from tidegate_server.store.series import SeriesStore
from tidegate_server.store.token_uses import TokenUses

DURABLE_MS = 3_000
"""How long a commit waits until the disk has confirmed it."""


@dataclass(frozen=True, slots=True)
class EncodedSnapshot:
    """An environment's snapshot in its wire form."""

    version: int
    body: bytes


class Store:
    """A store that was reached at least once. Use ``Store.connect``.

    Attributes:
        url: the store's address.
        change_feed: the committed changes of snapshots, as they happen.
        evidence: what instances counted of releases.
        instances: the SDK instances that report.
        logs: the audit log and the ledgers.
        history: the versions of documents.
        series: the readings of releases over time.
        leases: the leases of the policy job.
        outbox: the messages for webhooks.
        heard_alerts: the alerts that hooks have acted on.
        token_uses: when each token was last used.
    """

    def __init__(self, url: str, client: redis.Redis, on_disk: bool) -> None:
        connection = Connection(client)
        self.url = url
        self._connection = connection
        self._on_disk = on_disk
        self.change_feed = ChangeFeed(url)
        self.evidence = EvidenceStore(connection)
        self.instances = Instances(connection)
        self.logs = Logs(connection)
        self.history = History(connection)
        self.series = SeriesStore(connection)
        self.leases = Leases(connection)
        self.outbox = Outbox(connection)
        self.heard_alerts = HeardAlerts(connection)
        self.token_uses = TokenUses(connection)

    @classmethod
    def connect(cls, url: str) -> Store:
        """Connect to a store.

        Raises:
            StartupRefused: the address is of an unknown kind, or the server is too old.
            StoreUnavailable: the store cannot be reached.
        """
        client = open_client(url)
        return cls(url, client, has_append_only_file(Connection(client)))

    def close(self) -> None:
        """Close every connection; subscriptions end."""
        self.change_feed.close()
        self._connection.client.close()

    def ping(self) -> None:
        """Check that the store answers; raise ``StoreUnavailable`` if it does not."""
        self._connection.read("PING")

    def durability(self) -> str:
        """Return ``disk`` if commits wait for an append-only file, else ``memory``."""
        return "disk" if self._on_disk else "memory"

    def now_ms(self) -> int:
        """Return the store's time, in milliseconds since 1970."""
        seconds, micros = self._connection.read("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    # Documents

    def get(self, scope: str, address: Address) -> Stored | None:
        """Return a document; None if it does not exist."""
        value = self._connection.read("HGET", keys.documents_at(scope, address), address.key)
        return None if value is None else documents.decode(address.kind, value)

    def get_many(self, scope: str, addresses: Sequence[Address]) -> list[Stored | None]:
        """Return several documents of a scope, all read at one moment."""
        values = self._connection.read_many(
            [("HGET", keys.documents_at(scope, address), address.key) for address in addresses],
            atomic=True,
        )
        return [
            None if value is None else documents.decode(address.kind, value)
            for address, value in zip(addresses, values, strict=True)
        ]

    def all(self, scope: str, kind: Kind, environment: str = "") -> dict[str, Stored]:
        """Return every document of a kind, by key."""
        values = self._connection.read("HGETALL", keys.documents(scope, kind, environment))
        return {key.decode(): documents.decode(kind, value) for key, value in values.items()}

    def projects(self) -> list[str]:
        """Return the keys of all projects."""
        return self.keys(keys.SERVER, Kind.PROJECT)

    def keys(self, scope: str, kind: Kind, environment: str = "") -> list[str]:
        """Return the key of every document of a kind, in order."""
        names = self._connection.read("HKEYS", keys.documents(scope, kind, environment))
        return sorted(name.decode() for name in names)

    def get_server_value(self, name: str) -> str | None:
        """Return a single value of the server; None if it does not exist."""
        value = self._connection.read("GET", keys.value(name))
        return None if value is None else value.decode()

    def put_server_value_once(self, name: str, value: str) -> str:
        """Write a single value unless it exists, and return the value that is stored."""
        self._connection.write("SET", keys.value(name), value, "NX")
        return self.get_server_value(name) or value

    # Commits

    def commit(self, change: Change, durable: bool = True) -> Committed:
        """Make a change: all of it or none.

        Args:
            change: the writes, and the revisions that they depend on.
            durable: return only when the store's disk has the change.

        Raises:
            StaleRevision: a document has changed since it was read; nothing was written.
            LeaseLost: the lease in the change's fence is no longer held; nothing was written.
            StoreUnavailable: the store cannot be reached or did not confirm in time. The
                change may or may not have been made.
        """
        (outcome,) = self.commit_many([change], durable)
        if isinstance(outcome, TidegateError):
            raise outcome
        return outcome

    def commit_many(
        self, changes: Sequence[Change], durable: bool = True
    ) -> list[Committed | StaleRevision | LeaseLost]:
        """Make several independent changes in one round trip.

        Returns:
            For each change its result, or the error that refused it.

        Raises:
            StoreUnavailable: the store cannot be reached or did not confirm in time. Any of
                the changes may or may not have been made.
        """
        requests = [CommitRequest(change) for change in changes]
        replies, confirmed = self._connection.once(lambda: self._commit(requests, durable))
        outcomes: list[Committed | StaleRevision | LeaseLost] = []
        for request, reply in zip(requests, replies, strict=True):
            try:
                outcomes.append(request.outcome(reply))
            except (StaleRevision, LeaseLost) as refused:
                outcomes.append(refused)
        if not confirmed and any(isinstance(outcome, Committed) for outcome in outcomes):
            raise StoreUnavailable(
                "The change was made, but the store's disk did not confirm it in time. "
                "Read again before you repeat it."
            )
        return outcomes

    def _commit(self, requests: Sequence[CommitRequest], durable: bool) -> tuple[list[Any], bool]:
        wait = durable and self._on_disk
        client, script = self._connection.client, self._connection.script("commit")
        replies: list[Any] = [None] * len(requests)
        pending = list(range(len(requests)))
        confirmed = True
        for _ in range(2):
            # WAITAOF covers the writes of its own connection, so it goes in the same pipeline.
            pipeline = client.pipeline(transaction=False)
            for number in pending:
                request = requests[number]
                pipeline.evalsha(script.sha, len(request.keys), *request.keys, request.argument)
            if wait:
                pipeline.execute_command("WAITAOF", 1, 0, DURABLE_MS)  # type: ignore[no-untyped-call]
            batch = pipeline.execute(raise_on_error=False)
            if wait:
                synced = batch.pop()
                if isinstance(synced, Exception):
                    raise synced
                confirmed = synced[0] >= 1
            for number, reply in zip(pending, batch, strict=True):
                replies[number] = reply
            pending = [each for each in pending if isinstance(replies[each], NoScriptError)]
            if not pending:
                break
            client.script_load(script.script)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies, confirmed

    # Snapshots and changes

    def version(self, project: str, environment: str) -> int:
        """Return the environment's version; 0 before its first change."""
        return int(self._connection.read("GET", keys.version(project, environment)) or 0)

    def snapshot(self, project: str, environment: str) -> EncodedSnapshot:
        """Return the environment's whole configuration at one version."""
        version, fields = self._connection.read_many(
            [
                ("GET", keys.version(project, environment)),
                ("HGETALL", keys.snapshot(project, environment)),
            ],
            atomic=True,
        )
        parts: dict[str, dict[str, bytes]] = {"flag": {}, "segment": {}}
        for field, json in fields.items():
            kind, _, key = field.decode().partition(":")
            parts[kind][key] = json
        body = json_object(
            {
                "schema": b"1",
                "project": documents.encode(project),
                "environment": documents.encode(environment),
                "version": version or b"0",
                "flags": json_object(parts["flag"]),
                "segments": json_object(parts["segment"]),
            }
        )
        return EncodedSnapshot(int(version or 0), body)

    def changes(self, project: str, environment: str, after: int) -> list[tuple[int, str]] | None:
        """Return the changes after a version, oldest first.

        Returns:
            Versions with the JSON of their stream events; None if some of them are no longer
            kept, so that the caller needs a snapshot.
        """
        entries = self._connection.read(
            "XRANGE", keys.changes(project, environment), f"{after + 1}-0", "+"
        )
        changes = [
            (int(id.partition(b"-")[0]), fields[b"update"].decode()) for id, fields in entries
        ]
        if changes:
            return changes if changes[0][0] == after + 1 else None
        return None if self.version(project, environment) > after else []
