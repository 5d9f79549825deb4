"""The one door to the Redis protocol: documents, commits, snapshots, evidence, logs, leases.

Every configuration write is the commit script; there is no other path. Time is the
store's own clock. A ``Store`` may be shared by threads and greenlets, not across a fork.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError

from tidegate_server.domain.change import Address, Change, Fence, Kind, Stored
from tidegate_server.domain.evidence import Evidence, GroupValues
from tidegate_server.errors import (
    InstanceForgotten,
    LeaseLost,
    StaleRevision,
    StoreUnavailable,
    TidegateError,
)
from tidegate_server.store import connection, documents, evidence, keys, logs
from tidegate_server.store.change_feed import Feed
from tidegate_server.store.commit import Committed, Plan, json_object
from tidegate_server.store.heard_alerts import HeardAlerts
from tidegate_server.store.outbox import Outbox
from tidegate_server.store.reports import Instance, KillReceipt, Report, Reported

DURABLE_MS = 3_000
"""How long a commit waits for its confirmation from the disk."""


@dataclass(frozen=True, slots=True)
class Snapshotted:
    """An environment's snapshot in its wire form."""

    version: int
    body: bytes


class Store:
    """A store that was reached at least once. Use ``Store.connect``."""

    def __init__(self, url: str, client: redis.Redis, on_disk: bool) -> None:
        self._url = url
        self._client = client
        self._on_disk = on_disk
        self._feed: Feed | None = None
        self._feed_lock = threading.Lock()
        self._scripts: dict[str, Script] = {}

    @classmethod
    def connect(cls, url: str) -> Store:
        """Reach a store.

        Raises:
            StartupRefused: an address of an unknown kind, or a server that is too old.
            StoreUnavailable: nobody answers there.
        """
        client = connection.open_client(url)
        return cls(url, client, connection.check_server(client))

    def close(self) -> None:
        """Let go of every connection; subscriptions end."""
        with self._feed_lock:
            if self._feed is not None:
                self._feed.close()
        self._client.close()

    def ping(self) -> None:
        """Ask for a sign of life; raises ``StoreUnavailable``."""
        connection.read(lambda: bool(self._client.ping()))

    def durability(self) -> str:
        """``disk`` when commits are acknowledged from an append-only file, else ``memory``."""
        return "disk" if self._on_disk else "memory"

    def now_ms(self) -> int:
        """The store's time, in milliseconds since the epoch."""
        seconds, micros = self._read("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    # Documents

    def get(self, scope: str, address: Address) -> Stored | None:
        """Return a document; None where there is none."""
        value = self._read("HGET", keys.documents_at(scope, address), address.key)
        return None if value is None else documents.decode(address.kind, value)

    def get_many(self, scope: str, addresses: Sequence[Address]) -> list[Stored | None]:
        """Return several documents of a scope as they are at one moment."""

        def ask() -> list[bytes | None]:
            pipe = self._client.pipeline(transaction=True)
            for address in addresses:
                pipe.hget(keys.documents_at(scope, address), address.key)
            return list(pipe.execute())

        return [
            None if value is None else documents.decode(address.kind, value)
            for address, value in zip(addresses, connection.read(ask), strict=True)
        ]

    def all(self, scope: str, kind: Kind, environment: str = "") -> dict[str, Stored]:
        """Return every document of a kind, by key."""
        found: dict[bytes, bytes] = self._hash(keys.documents(scope, kind, environment))
        return {key.decode(): documents.decode(kind, value) for key, value in found.items()}

    def scopes(self) -> list[str]:
        """Return the keys of all projects."""
        names: list[bytes] = self._read("HKEYS", keys.documents(keys.SERVER, Kind.PROJECT))
        return sorted(name.decode() for name in names)

    def commit(self, change: Change, durable: bool = True) -> Committed:
        """Carry out a change, whole or not at all.

        Args:
            change: what to write and what it rests on.
            durable: return only when the store's disk has it.

        Raises:
            StaleRevision: a document changed since it was read; nothing was written.
            LeaseLost: the change's fence does not hold any more; nothing was written.
            StoreUnavailable: the store cannot be reached, or did not confirm in time; then
                the change may or may not have been carried out.
        """
        (outcome,) = self.commit_many([change], durable)
        if isinstance(outcome, TidegateError):
            raise outcome
        return outcome

    def commit_many(
        self, changes: Sequence[Change], durable: bool = True
    ) -> list[Committed | StaleRevision | LeaseLost]:
        """Carry out changes in one round trip, each whole or not at all by itself.

        Returns:
            For each change what it made, or the error with which it was refused.

        Raises:
            StoreUnavailable: the store cannot be reached, or did not confirm in time; then
                any of them may or may not have been carried out.
        """
        plans = [Plan(change) for change in changes]
        answers, confirmed = connection.write(lambda: self._commit(plans, durable))
        outcomes: list[Committed | StaleRevision | LeaseLost] = []
        for plan, answer in zip(plans, answers, strict=True):
            try:
                outcomes.append(plan.outcome(answer))
            except (StaleRevision, LeaseLost) as refused:
                outcomes.append(refused)
        if not confirmed and any(isinstance(each, Committed) for each in outcomes):
            raise StoreUnavailable(
                "The change was made, but the store's disk did not confirm it in time; "
                "read again before you repeat it."
            )
        return outcomes

    def _commit(self, plans: Sequence[Plan], durable: bool) -> tuple[list[Any], bool]:
        wait = durable and self._on_disk
        script = self._script("commit")
        answers: list[Any] = [None] * len(plans)
        waiting = list(range(len(plans)))
        confirmed = True
        for _ in range(2):
            # One round trip, one connection: WAITAOF speaks of the writes of its own.
            pipe = self._client.pipeline(transaction=False)
            for number in waiting:
                plan = plans[number]
                pipe.evalsha(script.sha, len(plan.keys), *plan.keys, plan.argument)
            if wait:
                pipe.execute_command("WAITAOF", 1, 0, DURABLE_MS)  # type: ignore[no-untyped-call]
            given = pipe.execute(raise_on_error=False)
            if wait:
                last = given.pop()
                if isinstance(last, Exception):
                    raise last
                confirmed = last[0] >= 1
            for number, answer in zip(waiting, given, strict=True):
                answers[number] = answer
            waiting = [each for each in waiting if isinstance(answers[each], NoScriptError)]
            if not waiting:
                break
            self._client.script_load(script.script)
        for each in answers:
            if isinstance(each, Exception):
                raise each
        return answers, confirmed

    # Snapshots and changes

    def version(self, project: str, environment: str) -> int:
        """Return the environment's version; 0 before its first change."""
        return int(self._read("GET", keys.version(project, environment)) or 0)

    def snapshot(self, project: str, environment: str) -> Snapshotted:
        """Return the environment's whole configuration at one version."""

        def ask() -> list[Any]:
            pipe = self._client.pipeline(transaction=True)
            pipe.get(keys.version(project, environment))
            pipe.hgetall(keys.snapshot(project, environment))
            return list(pipe.execute())

        version, fields = connection.read(ask)
        parts: dict[str, dict[str, bytes]] = {"flag": {}, "segment": {}}
        for field, json in fields.items():
            kind, _, key = field.decode().partition(":")
            parts[kind][key] = json
        head = documents.encode(
            {
                "schema": 1,
                "project": project,
                "environment": environment,
                "version": int(version or 0),
            }
        )
        body = b"".join(
            (
                head[:-1],
                b',"flags":',
                json_object(parts["flag"]),
                b',"segments":',
                json_object(parts["segment"]),
                b"}",
            )
        )
        return Snapshotted(int(version or 0), body)

    def changes(self, project: str, environment: str, after: int) -> list[tuple[int, str]] | None:
        """Return the changes after a version, oldest first.

        Returns:
            Versions with the JSON of their stream events; None when some of them are not
            kept any more, so that only a snapshot helps.
        """
        found = self._read("XRANGE", keys.changes(project, environment), f"{after + 1}-0", "+")
        changes = [(int(id.partition(b"-")[0]), fields[b"update"].decode()) for id, fields in found]
        if changes and changes[0][0] != after + 1:
            return None
        if not changes and self.version(project, environment) > after:
            return None
        return changes

    def feed(self) -> Feed:
        """Return this process's reader of change streams; made at the first call."""
        with self._feed_lock:
            if self._feed is None:
                self._feed = Feed(self._url)
            return self._feed

    def outbox(self) -> Outbox:
        """Return the messages that wait for webhooks."""
        return Outbox(self._client, self._script("record_delivery"))

    def alerts(self) -> HeardAlerts:
        """Return what hooks have heard."""
        return HeardAlerts(self._client)

    # Evidence

    def report(self, project: str, environment: str, report: Report) -> Reported:
        """Add what an instance reports to the totals of its releases.

        Raises:
            InstanceForgotten: the report continues a count that the store no longer has.
        """
        report = self._with_used_values(project, environment, report)
        names, argument = evidence.plan_report(project, environment, report)
        answer: list[Any] = connection.write(
            lambda: self._script("report")(keys=names, args=[argument])
        )
        if answer[0] == b"forgotten":
            raise InstanceForgotten(
                "This instance is not known any more: go on under a new instance id, with "
                "only what was never acknowledged."
            )
        return Reported(answer[1])

    def _with_used_values(self, project: str, environment: str, report: Report) -> Report:
        """Return the report with only the values that checks of its releases use."""
        if not report.values:
            return report
        ids = list(dict.fromkeys(id for id, _ in report.values))
        found = self.get_many(project, [Address(Kind.RELEASE, id, environment) for id in ids])
        releases = {id: stored.document for id, stored in zip(ids, found, strict=True) if stored}
        return replace(report, values=evidence.values_used_by_checks(report.values, releases))

    def evidence(self, project: str, environment: str, release: str) -> Evidence:
        """Return a release's totals at one moment, without its values."""
        (found,) = self.evidence_many(project, environment, [release])
        return found

    def evidence_many(
        self, project: str, environment: str, releases: Sequence[str]
    ) -> list[Evidence]:
        """Return the totals of several releases, each at one moment, without their values."""

        def ask() -> list[dict[bytes, bytes]]:
            pipe = self._client.pipeline(transaction=False)
            for release in releases:
                pipe.hgetall(keys.evidence(project, environment, release))
            return list(pipe.execute())

        return [evidence.read_evidence(fields) for fields in connection.read(ask)]

    def values(
        self, project: str, environment: str, release: str, step: int
    ) -> tuple[GroupValues, ...]:
        """Return the values of one step of a release."""
        found = self._hash(keys.values(project, environment, release, step))
        return evidence.read_values(found, step)

    def forget_values(
        self, project: str, environment: str, release: str, steps: Iterable[int]
    ) -> None:
        """Delete the values of these steps of a release."""
        names = [keys.values(project, environment, release, step) for step in steps]
        if names:
            connection.write(lambda: self._client.unlink(*names))

    def instances(self, project: str, environment: str) -> list[Instance]:
        """Return the SDK instances seen in the last day, the latest first."""
        ids: list[bytes] = self._read("ZREVRANGE", keys.instances(project, environment), 0, -1)
        names = [id.decode() for id in ids]

        def ask() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.hmget(keys.instance(project, environment, name), evidence.SHOWN_FIELDS)
            return list(pipe.execute())

        now_ms = self.now_ms()
        found = connection.read(ask) if names else []
        read = (
            evidence.read_instance(name, values, now_ms)
            for name, values in zip(names, found, strict=True)
        )
        return [instance for instance in read if instance is not None]

    def kill_receipt(self, project: str, environment: str, flag: str) -> KillReceipt | None:
        """Return how far the kill in force has reached; None when there is none."""
        kill = self._read("HGET", keys.kills(project, environment), flag)
        if kill is None:
            return None
        # In this order: who has applied it by now has its time in what is read after.
        instances = self.instances(project, environment)
        found = self._hash(keys.receipts(project, environment))
        return evidence.kill_receipt(kill, flag, found, instances)

    # Logs

    def audit(
        self, scope: str, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[logs.AuditEntry], str | None]:
        """Return entries of the audit log, the latest first, and the next page's cursor."""
        found, following = self._page(keys.audit(scope), cursor, limit)
        return [logs.audit_entry(id, fields) for id, fields in found], following

    def audit_between(
        self, scope: str, from_ms: int, to_ms: int, page: int = 500
    ) -> Iterator[logs.AuditEntry]:
        """Return the entries of a span of time, the earliest first, read page by page."""
        start = str(from_ms)
        while True:
            found: list[Any] = self._read(
                "XRANGE", keys.audit(scope), start, str(to_ms), "COUNT", page
            )
            yield from (logs.audit_entry(id, fields) for id, fields in found)
            if len(found) < page:
                return
            start = f"({found[-1][0].decode()}"

    def ledger(
        self,
        project: str,
        environment: str,
        release: str,
        cursor: str | None = None,
        limit: int = 100,
    ) -> tuple[list[logs.LedgerRecord], str | None]:
        """Return entries of a release's ledger, the latest first, and the next page's cursor."""
        found, following = self._page(keys.ledger(project, environment, release), cursor, limit)
        return [logs.ledger_record(id, fields) for id, fields in found], following

    def ledger_after(
        self, project: str, environment: str, release: str, after: str | None, limit: int
    ) -> list[logs.LedgerRecord]:
        """Return entries of a release's ledger in their order, those after an entry's id."""
        start = "-" if after is None else f"({after}"
        found: list[Any] = self._read(
            *("XRANGE", keys.ledger(project, environment, release), start, "+", "COUNT", limit)
        )
        return [logs.ledger_record(id, fields) for id, fields in found]

    def ledger_length(self, project: str, environment: str, release: str) -> int:
        """Return how many entries a release's ledger has."""
        return int(self._read("XLEN", keys.ledger(project, environment, release)))

    def _page(self, key: str, cursor: str | None, limit: int) -> tuple[list[Any], str | None]:
        start = "+" if cursor is None else f"({cursor}"
        found: list[Any] = self._read("XREVRANGE", key, start, "-", "COUNT", limit + 1)
        page = found[:limit]
        return page, page[-1][0].decode() if len(found) > limit else None

    # Leases and single values

    def acquire_lease(self, scope: str, holder: str, ttl_ms: int) -> Fence | None:
        """Take or keep the policy job's lease of a scope; None while another holds it."""
        number = int(
            connection.write(
                lambda: self._script("lease")(keys=[keys.lease(scope)], args=[holder, ttl_ms])
            )
        )
        return None if number < 0 else Fence(holder, number)

    def release_lease(self, scope: str, fence: Fence) -> None:
        """Give up a lease at once, if it is still held."""
        script = (
            "if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] and "
            "redis.call('HGET', KEYS[1], 'number') == ARGV[2] then "
            "redis.call('HSET', KEYS[1], 'expires', '0') end return 1"
        )
        connection.write(
            lambda: self._client.eval(script, 1, keys.lease(scope), fence.holder, str(fence.number))
        )

    def get_value(self, name: str) -> str | None:
        """Return a single value of the server; None where there is none."""
        value: bytes | None = self._read("GET", keys.value(name))
        return None if value is None else value.decode()

    def put_value_once(self, name: str, value: str) -> str:
        """Write a single value unless there is one, and return what is there."""
        connection.write(lambda: self._client.set(keys.value(name), value, nx=True))
        return self.get_value(name) or value

    def _read(self, *command: Any) -> Any:
        return connection.read(
            lambda: self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        )

    def _hash(self, key: str) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = self._read("HGETALL", key)
        return found

    def _script(self, name: str) -> Script:
        found = self._scripts.get(name)
        if found is None:
            source = (files("tidegate_server.store") / f"{name}.lua").read_text(encoding="utf-8")
            found = self._scripts[name] = Script(self._client, source)
        return found
