"""The store of a server: documents, commits and snapshots, and doors to everything else.

Every configuration change is one run of the commit script; there is no other way. Time is the
store's own clock. Threads and greenlets may share a ``Store``; forked processes may not.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import redis
from redis.exceptions import NoScriptError

from tidegate_server.domain.change import Address, Change, Moment, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import (
    LeaseLost,
    NotKept,
    StaleRevision,
    StoreUnavailable,
    TidegateError,
)
from tidegate_server.store import documents, keys
from tidegate_server.store.activity_feed import ActivityFeed
from tidegate_server.store.addresses import parse_store_url
from tidegate_server.store.change_feed import ChangeFeed
from tidegate_server.store.code_references import CodeReferences
from tidegate_server.store.commit import CommitRequest, Committed
from tidegate_server.store.connection import (
    ANSWER_SECONDS,
    Connection,
    has_append_only_file,
    open_connection,
)
from tidegate_server.store.device_sign_ins import DeviceSignIns
from tidegate_server.store.document_cache import CachedDocuments, DocumentCache
from tidegate_server.store.environment_versions import EnvironmentVersion, present_version
from tidegate_server.store.evaluations import EvaluationStore
from tidegate_server.store.evidence import EvidenceStore
from tidegate_server.store.heard_alerts import HeardAlerts
from tidegate_server.store.history import History
from tidegate_server.store.instances import Instances
from tidegate_server.store.key_sets import KeySets
from tidegate_server.store.leases import Leases
from tidegate_server.store.logs import Logs
from tidegate_server.store.outbox import Outbox
from tidegate_server.store.receipts import Receipts
from tidegate_server.store.refused_requests import RefusedRequests
from tidegate_server.store.seen_users import SeenUsersStore
from tidegate_server.store.series import SeriesStore
from tidegate_server.store.sessions import Sessions
from tidegate_server.store.sign_in_attempts import SignInAttempts
from tidegate_server.store.snapshots import EncodedSnapshot, Snapshots
from tidegate_server.store.token_uses import TokenUses
from tidegate_server.store.used_once import UsedOnce

SCAN_SIZE = 1_000
"""How many names one step of a scan looks at."""

DURABLE_MS = 3_000
"""How long a commit waits until the disk has confirmed it."""


class Store:
    """A store that was reached at least once. Use ``Store.connect``.

    Attributes:
        url: the store's address.
        change_feed: the committed changes of snapshots, as they happen.
        activity_feed: what happens in environments, for pages that stay open.
        evaluations: how often flags were evaluated.
        evidence: what instances counted of releases.
        instances: the SDK instances that report.
        receipts: how fast each version reached the instances.
        seen_users: the samples of recently seen users.
        logs: the audit log and the ledgers.
        history: the versions of documents.
        key_sets: the keys that were uploaded to segments.
        series: the readings of releases over time.
        leases: the leases of the policy job.
        outbox: the messages for webhooks.
        heard_alerts: the alerts that hooks have acted on.
        token_uses: when each token was last used.
        refused_requests: the latest requests of applications that were refused.
        code_references: where source code uses flags.
        sessions: the sessions of people.
        sign_in_attempts: how often somebody tried to sign in.
        used_once: what counts once.
    """

    def __init__(
        self,
        url: str,
        connection: Connection,
        on_disk: bool,
        replicas: int = 0,
        durable_ms: int = DURABLE_MS,
    ) -> None:
        self.url = url
        self._connection = connection
        self._on_disk = on_disk
        self._replicas = replicas
        self._durable_ms = durable_ms
        self.change_feed = ChangeFeed(connection.for_feed())
        self.activity_feed = ActivityFeed(connection.for_feed())
        self._cache = DocumentCache(connection)
        self._snapshots = Snapshots(connection)
        self.evaluations = EvaluationStore(connection)
        self.evidence = EvidenceStore(connection)
        self.instances = Instances(connection)
        self.receipts = Receipts(connection)
        self.seen_users = SeenUsersStore(connection)
        self.logs = Logs(connection)
        self.history = History(connection)
        self.key_sets = KeySets(connection)
        self.series = SeriesStore(connection)
        self.leases = Leases(connection)
        self.outbox = Outbox(connection)
        self.heard_alerts = HeardAlerts(connection)
        self.token_uses = TokenUses(connection)
        self.refused_requests = RefusedRequests(connection)
        self.code_references = CodeReferences(connection)
        self.sessions = Sessions(connection)
        self.sign_in_attempts = SignInAttempts(connection)
        self.device_sign_ins = DeviceSignIns(connection)
        self.used_once = UsedOnce(connection)

    @classmethod
    def connect(cls, url: str, patience: int = 1) -> Store:
        """Connect to a store.

        Args:
            url: its address.
            patience: how many times longer than usual a command may take, and a commit until it is
                confirmed.

        Raises:
            StartupRefused: the address is of an unknown kind, or the server is too old.
            StoreUnavailable: the store cannot be reached.
        """
        connection = open_connection(url, ANSWER_SECONDS * patience)
        on_disk, replicas = has_append_only_file(connection), parse_store_url(url).replicas
        return cls(url, connection, on_disk, replicas, DURABLE_MS * patience)

    def close(self) -> None:
        """Close every connection; subscriptions end."""
        self.change_feed.close()
        self.activity_feed.close()
        self._connection.close()

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
        return documents.decode_all(kind, values)

    def cached(self, scope: str, kind: Kind, environment: str = "") -> CachedDocuments:
        """Return every document of a kind, read again only where something changed.

        They are as recent as those of ``all``. Not for kinds of which almost all documents change
        all the time, such as progress.
        """
        [found] = self.cached_all(scope, [(kind, environment)])
        return found

    def cached_all(
        self, scope: str, kinds: Sequence[tuple[Kind, str]]
    ) -> Sequence[CachedDocuments]:
        """Return every document of several kinds, as ``cached`` does, all of one moment.

        Args:
            scope: the scope of the documents.
            kinds: each kind with its environment, or ``""``.
        """
        return self._cache.all(scope, kinds)

    def moment(self, scope: str) -> Moment:
        """Return the present state of a scope, for the guards of what is read after it."""
        return self._cache.moment(scope)

    def all_of(self, scope: str, kinds: Sequence[tuple[Kind, str]]) -> list[dict[str, Stored]]:
        """Return every document of several kinds, by key, all read at one moment.

        Args:
            scope: the scope of the documents.
            kinds: each kind with its environment, or ``""``.
        """
        answers = self._connection.read_many(
            [("HGETALL", keys.documents(scope, *each)) for each in kinds], atomic=True
        )
        return [
            documents.decode_all(kind, values)
            for (kind, _), values in zip(kinds, answers, strict=True)
        ]

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

    def put_server_value(self, name: str, value: str) -> None:
        """Write a single value of the server."""
        self._connection.write("SET", keys.value(name), value)

    def put_incarnation_once(self, project: str, incarnation: str) -> None:
        """Give a project an incarnation unless it has one."""
        self._connection.write("SET", keys.incarnation(project), incarnation, "NX")

    # Whole scopes

    def scopes(self) -> set[str]:
        """Return the scopes that have keys: projects, and empty for the server."""
        names = self._connection.scan_names(keys.EVERYTHING, SCAN_SIZE)
        return {keys.scope_of(name.decode()) for name in names}

    def dump_scope(self, scope: str) -> list[tuple[bytes, int, bytes]]:
        """Return the keys of a scope as of one moment: name, when it expires or -1, and a dump."""
        names = [keys.incarnation(scope)]
        found = self._connection.run_script("dump", names, [keys.all_of_scope(scope)])
        return [tuple(each) for each in found]

    def replace_scope(
        self, scope: str, content: Sequence[tuple[bytes, int, bytes]], incarnation: str
    ) -> None:
        """Replace all keys of a scope at once.

        Args:
            scope: a project, or the server.
            content: the new keys, as ``dump_scope`` returns them.
            incarnation: the new incarnation; empty: there is none.
        """
        names = [keys.incarnation(scope), *(name.decode() for name, _, _ in content)]
        arguments: list[Any] = [keys.all_of_scope(scope), incarnation]
        for _, expires_ms, dump in content:
            arguments += [max(expires_ms, 0), dump]
        self._connection.run_script("replace", names, arguments)

    # Commits

    def commit(self, change: Change, durable: bool = True) -> Committed:
        """Make a change: all of it or none.

        Args:
            change: the writes, and the revisions that they depend on.
            durable: return only when the store's disk has the change.

        Raises:
            StaleRevision: a document has changed since it was read; nothing was written.
            LeaseLost: the lease in the change's fence is no longer held; nothing was written.
            NotKept: a key set that the change restores is no longer kept; nothing was written.
            StoreUnavailable: the store cannot be reached or did not confirm in time. The
                change may or may not have been made.
        """
        (outcome,) = self.commit_many([change], durable)
        if isinstance(outcome, TidegateError):
            raise outcome
        return outcome

    def commit_many(
        self, changes: Sequence[Change], durable: bool = True
    ) -> list[Committed | StaleRevision | LeaseLost | NotKept]:
        """Make several independent changes in one round trip.

        Returns:
            For each change its result, or the error that refused it.

        Raises:
            StoreUnavailable: the store cannot be reached or did not confirm in time. Any of
                the changes may or may not have been made.
        """
        requests = [CommitRequest(change) for change in changes]
        lanes: dict[Hashable, list[CommitRequest]] = {}
        for request, change in zip(requests, changes, strict=True):
            lanes.setdefault(self._connection.lane(change.scope), []).append(request)
        replies: dict[int, Any] = {}
        unconfirmed: set[int] = set()
        for some in lanes.values():
            key = some[0].keys[0].encode()
            found, confirmed = self._connection.once(
                lambda client, some=some: self._commit(client, some, durable),  # type: ignore[misc]
                key,
                "commit",
            )
            replies.update(zip(map(id, some), found, strict=True))
            unconfirmed |= set() if confirmed else {id(each) for each in some}
        outcomes: list[Committed | StaleRevision | LeaseLost | NotKept] = []
        for request in requests:
            try:
                outcomes.append(request.outcome(replies[id(request)]))
            except (StaleRevision, LeaseLost, NotKept) as refused:
                outcomes.append(refused)
        for request, outcome in zip(requests, outcomes, strict=True):
            if id(request) in unconfirmed and isinstance(outcome, Committed):
                raise StoreUnavailable(
                    "The change was made, but was not confirmed in time by "
                    f"{'a replica' if self._replicas else 'the disk of the store'}. Read again "
                    "before you repeat it."
                )
        return outcomes

    def _commit(
        self, client: redis.Redis, requests: Sequence[CommitRequest], durable: bool
    ) -> tuple[list[Any], bool]:
        wait = self._confirmation() if durable else None
        script = self._connection.script("commit")
        replies: list[Any] = [None] * len(requests)
        pending = list(range(len(requests)))
        confirmed = True
        for _ in range(2):
            # It covers the writes of its own connection, so it goes in the same pipeline.
            pipeline = client.pipeline(transaction=False)
            for number in pending:
                request = requests[number]
                pipeline.evalsha(script.sha, len(request.keys), *request.keys, request.argument)
            if wait is not None:
                pipeline.execute_command(*wait)  # type: ignore[no-untyped-call]
            batch = pipeline.execute(raise_on_error=False)
            if wait is not None:
                synced = batch.pop()
                if isinstance(synced, Exception):
                    # The error of the commit itself says more.
                    refused = (each for each in batch if isinstance(each, Exception))
                    raise next(refused, synced)
                confirmed = self._is_confirmed(synced)
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

    def _confirmation(self) -> tuple[Any, ...] | None:
        """Return the command that waits until a commit is confirmed; None: nothing confirms it."""
        if self._on_disk:
            return "WAITAOF", 1, self._replicas, self._durable_ms
        return ("WAIT", self._replicas, self._durable_ms) if self._replicas else None

    def _is_confirmed(self, reply: Any) -> bool:
        if self._on_disk:
            return bool(reply[0] >= 1 and reply[1] >= self._replicas)
        return bool(reply >= self._replicas)

    # Snapshots and changes

    def version(self, project: str, environment: str) -> int:
        """Return the environment's version; 0 before its first change."""
        return int(self._connection.read("GET", keys.version(project, environment)) or 0)

    def versions(self, project: str, environments: Sequence[str]) -> dict[str, int]:
        """Return the versions of environments of a project, as ``version`` does, in one look."""
        commands = [("GET", keys.version(project, each)) for each in environments]
        values = self._connection.read_many(commands)
        return {
            environment: int(value or 0)
            for environment, value in zip(environments, values, strict=True)
        }

    def incarnation_and_version(self, project: str, environment: str) -> tuple[str, int]:
        """Return the incarnation of a project's versions, and an environment's version."""
        incarnation, version = self._connection.read_many(
            [
                ("GET", keys.incarnation(project)),
                ("GET", keys.version(project, environment)),
            ],
            atomic=True,
        )
        return (incarnation or b"").decode(), int(version or 0)

    def exact_version(self, project: str, environment: str, number: int = 0) -> EnvironmentVersion:
        """Return an environment's version, with what tells it from others of the same number.

        ``number`` is the one that it probably has: then the store is asked once.
        """
        return present_version(self._connection, (project, environment), number)

    def snapshot(self, project: str, environment: str) -> EncodedSnapshot:
        """Return the environment's whole configuration at one version.

        Raises:
            NotFound: the environment was deleted: an SDK keeps the flags that it has.
        """
        return self._snapshots.read(project, environment)

    def changes(self, project: str, environment: str, after: int) -> list[tuple[int, str]] | None:
        """Return the changes after a version, oldest first.

        Returns:
            Versions with the JSON of their stream events; None if some of them are not kept, so
            that the caller needs a snapshot.
        """
        entries = self._connection.read(
            "XRANGE", keys.changes(project, environment), f"{after + 1}-0", "+"
        )
        changes = [
            (int(id.partition(b"-")[0]), fields[b"update"].decode()) for id, fields in entries
        ]
        if changes:
            # An update that was too long for the stream is empty.
            complete = changes[0][0] == after + 1 and all(update for _, update in changes)
            return changes if complete else None
        return None if self.version(project, environment) > after else []
