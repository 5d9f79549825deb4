"""Connections to the store: timeouts, retries, error messages, and the server versions allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeAlias, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from tidegate_server import tracing
from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.store.addresses import TLS_FILES, Topology, parse_store_url
from tidegate_server.store.breaker import Breaker
from tidegate_server.store.tls_connections import (
    PrimaryTlsConnection,
    TlsConnection,
    with_shared_tls,
)
from tidegate_server.tls_contexts import tls_context

T = TypeVar("T")
Command: TypeAlias = tuple[Any, ...]

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
"""How long a command may take. The first that takes longer opens the breaker, and every other one
fails at once: so no request waits for the store longer than this."""

ASK_SECONDS = 1.0
"""How long the breaker waits for an answer."""

MIN_VERSION = (7, 2)
"""The first Redis version with ``WAITAOF``; every Valkey has it."""

INCLUDED = {
    "commit": ("sha256", "audit_index"),
    "index_audit": ("audit_index",),
    "reports": ("batch", "hashes", "evaluations"),
}
"""The files that a script needs before its own."""

BEGINNING = "#!lua"
"""The first line of a script. With it the server refuses the whole script where it has no memory or
may not write; without it, it refuses single commands, and none after the first that wrote."""

FLAGS = {"shrink": "allow-oom", "dump": "no-writes"}
"""What servers may know of a script: that it runs without memory, too, or only reads."""

READ_ONLY = "it is a read-only replica"

REASONS: tuple[tuple[type[RedisError], str], ...] = (
    (OutOfMemoryError, "it has no memory left for writes"),
    (ReadOnlyError, READ_ONLY),
    (NoPermissionError, "its user lacks permissions that Tidegate needs"),
    (AuthenticationError, "it does not accept the user or the password"),
    (BusyLoadingError, "it is still loading its data"),
    (MasterNotFoundError, "the Sentinels name no primary of this service"),
    (RedisTimeoutError, "it did not answer in time"),
    (RedisConnectionError, "it cannot be reached, or the connection broke"),
)
"""The meaning of the client library's errors; the first that fits is used."""

NOT_TRUSTED = re.compile(r"certificate verify failed: ([^(]+?) \(_ssl")
"""What OpenSSL has against a certificate, in the text of an error."""

PIPELINE = "pipeline"
"""The name in traces of several commands in one round trip."""

NO_ANSWER = "The store cannot be used now: it did not answer in time."


def client_options(answer_seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
    """Return the client library's options of every connection: it never repeats a command."""
    return {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": answer_seconds,
        "protocol": 2,
    }


class Sentinels(Sentinel):
    """The Sentinels of a store."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        if options["sentinel_kwargs"].get("ssl"):
            for each in self.sentinels:
                each.connection_pool.connection_class = TlsConnection

    def discover_master(self, service_name: str) -> Any:
        """Return the address of the primary; where none answers, the error says why."""
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            # The library's error does not say what is wrong with the Sentinels; this one does.
            self.sentinels[0].ping()
            raise


def open_client(url: str, answer_seconds: float = ANSWER_SECONDS) -> redis.Redis:
    """Return a client of a single server, or of the primary that Sentinels name.

    Raises:
        StartupRefused: the address is not valid, or is a Cluster's.
    """
    address = parse_store_url(url)
    options = client_options(answer_seconds)
    if address.topology is Topology.SENTINEL:
        asking = {**options, "socket_timeout": ASK_SECONDS, **address.sentinel_credentials}
        sentinel = Sentinels(
            address.hosts,
            sentinel_kwargs=asking,
            **options,
            **with_shared_tls(address.credentials, PrimaryTlsConnection),
        )
        client: redis.Redis = sentinel.master_for(address.service)  # type: ignore[no-untyped-call]
        return client
    if address.topology is Topology.CLUSTER:
        raise StartupRefused("A Cluster has no single server to connect to.")
    return redis.Redis.from_url(address.url, **options, **with_shared_tls(address.credentials))


def open_connection(url: str, answer_seconds: float = ANSWER_SECONDS) -> Connection:
    """Return a connection to a store, with a breaker of its own.

    Raises:
        StartupRefused: the address is not valid, or names a file that is of no use for TLS.
        StoreUnavailable: it is a Cluster, and no node can be reached.
    """
    address = parse_store_url(url)
    _check_tls_files(address.credentials)
    if address.topology is Topology.CLUSTER:
        from tidegate_server.store.cluster import ClusterConnection  # it imports this module

        return ClusterConnection(address, answer_seconds)
    client = open_client(url, answer_seconds)

    def ask() -> None:
        with open_client(url, ASK_SECONDS) as asking:
            asking.ping()

    # Afterwards the client opens new connections: another server may have the store's place.
    breaker = Breaker(ask, lambda: client.connection_pool.disconnect(inuse_connections=False))
    return Connection(client, breaker, lambda: open_client(url, answer_seconds))


def _check_tls_files(credentials: Mapping[str, Any]) -> None:
    if credentials.keys().isdisjoint(TLS_FILES.values()):
        return  # to read the machine's authorities takes longer than the rest of a start
    try:
        tls_context(*(credentials.get(word) for word in TLS_FILES.values()))
    except OSError as error:
        raise StartupRefused(
            "TIDEGATE_STORE_URL has the option ca, cert or key, whose file cannot be read, or has "
            f"no certificate or key: {error.strerror or error}."
        ) from error


class Connection:
    """Runs commands on the store and raises ``StoreUnavailable`` if it cannot.

    A read whose connection broke is repeated once. A write never is: the store may have carried
    it out. Threads and greenlets may share a connection; each command takes a socket of a pool.

    Args:
        client: the store.
        breaker: what every connection of this process to the store shares; None: there is none.
        open_another: returns another client of the same store; None: the same one is used.
    """

    def __init__(
        self,
        client: redis.Redis,
        breaker: Breaker | None = None,
        open_another: Callable[[], redis.Redis] | None = None,
    ) -> None:
        self.client = client
        self._breaker = breaker
        self._open_another = open_another
        self._scripts: dict[str, Script] = {}

    def for_feed(self) -> Connection:
        """Return a connection for a feed, which ``release`` closes without closing this one."""
        client = self.client if self._open_another is None else self._open_another()
        return Connection(client, self._breaker)

    def release(self) -> None:
        """Close the sockets that nobody uses; a connection in use stays open."""
        self.client.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Close every connection."""
        if self._breaker is not None:
            self._breaker.close()
        self.client.close()

    def lane(self, project: str) -> Hashable:
        """Return what names of several projects have in common if one command may have them."""
        return ""

    def read(self, *command: Any) -> Any:
        """Return the reply to a command that changes nothing."""
        return self._read(
            lambda client: client.execute_command(*command),  # type: ignore[no-untyped-call]
            self._key(command),
            command[0],
        )

    def scan_names(self, pattern: str, size: int) -> Iterator[bytes]:
        """Yield the names of keys, in steps of about ``size``.

        A key that exists all the time comes at least once.
        """
        cursor = 0
        while True:
            cursor, names = self.read("SCAN", cursor, "MATCH", pattern, "COUNT", size)
            yield from names
            if cursor == 0:
                return

    def scan_fields(self, key: str, size: int, pattern: str = "*") -> Iterator[tuple[bytes, bytes]]:
        """Yield the fields of a hash with their values, as ``scan_names`` yields names."""
        cursor = 0
        while True:
            cursor, fields = self.read("HSCAN", key, cursor, "MATCH", pattern, "COUNT", size)
            yield from fields.items()
            if cursor == 0:
                return

    def read_many(self, commands: Iterable[Command], atomic: bool = False) -> list[Any]:
        """Return the replies to commands sent in one round trip, in their order.

        Args:
            commands: commands that change nothing; none is sent if there are none.
            atomic: whether all of them are answered at one moment; they name one project.
        """
        batch = list(commands)
        return self._read(lambda client: self._execute(client, batch, atomic)) if batch else []

    def write(self, *command: Any) -> Any:
        """Run a command once and return its reply."""
        return self.once(
            lambda client: client.execute_command(*command),  # type: ignore[no-untyped-call]
            self._key(command),
            command[0],
        )

    def write_many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands of one project once, all or none, and return their replies."""
        return self.once(
            lambda client: self._execute(client, commands, atomic=True), self._key(commands[0])
        )

    def run_script(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run one of this package's Lua scripts once and return its reply."""
        script = self.script(name)
        return self.once(
            lambda client: script(keys=keys, args=arguments, client=client), keys[0].encode(), name
        )

    def script(self, name: str) -> Script:
        """Return the script of ``<name>.lua``."""
        if name not in self._scripts:
            room = files("tidegate_server.store")
            parts = (*INCLUDED.get(name, ()), name)
            texts = [(room / f"{part}.lua").read_text(encoding="utf-8") for part in parts]
            beginning = f"{BEGINNING} flags={FLAGS[name]}" if name in FLAGS else BEGINNING
            self._scripts[name] = Script(self.client, "\n".join([beginning, *texts]))
        return self._scripts[name]

    def once(
        self, action: Callable[[redis.Redis], T], key: bytes | None = None, what: str = PIPELINE
    ) -> T:
        """Return what ``action`` returns for the client of the server that has a key.

        ``what`` names it in traces.

        Raises:
            StoreUnavailable: the store cannot be reached or refuses the command.
        """
        return self._attempt(self.client, self._breaker, action, what)

    def _attempt(
        self,
        client: redis.Redis,
        breaker: Breaker | None,
        action: Callable[[redis.Redis], T],
        what: str,
    ) -> T:
        if breaker is not None and breaker.is_open:
            breaker.refuse()
            raise StoreUnavailable(NO_ANSWER)
        try:
            with tracing.store_span(what):
                return action(client)
        except RedisError as error:
            if breaker is not None and isinstance(error, RedisTimeoutError):
                breaker.open()
            reason = reason_of(error)
            if reason == READ_ONLY:
                # It was the primary before. A new connection asks who is it now.
                client.connection_pool.disconnect(inuse_connections=False)
            # The library's own text may contain an address with a password.
            raise StoreUnavailable(f"The store cannot be used now: {reason}.") from error

    def _key(self, command: Sequence[Any]) -> bytes | None:
        """Return the key that decides which server a command is for; None: there is only one."""
        return None

    def _read(
        self, action: Callable[[redis.Redis], T], key: bytes | None = None, what: str = PIPELINE
    ) -> T:
        def twice(client: redis.Redis) -> T:
            try:
                return action(client)
            except RedisConnectionError:
                return action(client)

        return self.once(twice, key, what)

    def _execute(self, client: redis.Redis, commands: Sequence[Command], atomic: bool) -> list[Any]:
        pipeline = client.pipeline(transaction=atomic)
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        return list(pipeline.execute())


def reason_of(error: RedisError) -> str:
    """Return why the store cannot be used, in words that contain nothing of its address."""
    text = str(error)
    if found := NOT_TRUSTED.search(text):
        return f"its certificate is not accepted: {found[1]}"
    if "certificate required" in text:
        return "it asks for a certificate: use the options cert and key"
    for kind, reason in REASONS:
        if isinstance(error, kind):
            return reason
    if text.startswith("MISCONF"):
        return "it cannot write to its disk"
    if "on readonly replica" in text or "with replica instances" in text:
        return READ_ONLY
    return type(error).__name__


def has_append_only_file(connection: Connection) -> bool:
    """Return whether the server keeps an append-only file.

    Raises:
        StoreUnavailable: it cannot be reached.
        StartupRefused: it is too old.
    """
    server: dict[str, Any] = connection.read("INFO", "server")
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = str(server.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
        raise StartupRefused(f"The store is {name} {version}; Tidegate needs 7.2 or later.")
    return str(connection.read("INFO", "persistence").get("aof_enabled", "0")) == "1"
