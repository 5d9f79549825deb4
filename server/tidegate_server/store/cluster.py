"""Connections to a Valkey Cluster: every command goes to the node that has its keys.

All keys of a project are in one slot, so a script or a transaction is for one node. What names keys
of several projects takes a round trip for each. ``RedisCluster`` knows which node has which slot;
commands go through its clients of single nodes, because a commit and its ``WAITAOF`` must use one
connection.

Threads: ``_lock`` guards the table of breakers. The map of slots is replaced as a whole.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tidegate_server.errors import StoreUnavailable
from tidegate_server.store.addresses import StoreAddress
from tidegate_server.store.breaker import Breaker
from tidegate_server.store.connection import (
    ASK_SECONDS,
    PIPELINE,
    Command,
    Connection,
    client_options,
    reason_of,
)
from tidegate_server.store.tls_connections import with_shared_tls

T = TypeVar("T")

REFRESH_SECONDS = 0.2
"""The least time between two looks at which node has which slot."""

MOST_MOVES = 5
"""How often a command follows its slot to another node."""

SERVER_SLOT = b"{/server}"
"""Where commands without a key go."""

MOVING = (MovedError, AskError, TryAgainError)
"""The node has not carried the command out, because the slot is elsewhere."""


class ClusterConnection(Connection):
    """Runs commands on a Cluster, as ``Connection`` does on one server.

    Args:
        address: the Cluster.
        answer_seconds: how long a command may take.

    Raises:
        StoreUnavailable: no node can be reached.
    """

    def __init__(self, address: StoreAddress, answer_seconds: float) -> None:
        self._options = {**client_options(answer_seconds), **with_shared_tls(address.credentials)}
        first, *others = address.hosts
        nodes = [ClusterNode(*each) for each in others]  # type: ignore[no-untyped-call]
        try:
            # The library uses a class of connections only with a URL; its own reads every
            # authority of the machine for each connection.
            self._cluster = RedisCluster(
                url=_url(*first),
                startup_nodes=nodes,
                require_full_coverage=False,
                **self._options,
            )
        except (RedisError, RedisClusterException) as error:
            cause = error.__cause__ if isinstance(error.__cause__, RedisError) else None
            reason = f"; of the last one: {reason_of(cause)}" if cause else ""
            raise StoreUnavailable(
                f"The store cannot be used now: no node of the Cluster can be used{reason}."
            ) from error
        self._lock = threading.Lock()
        self._breakers: dict[str, Breaker] = {}
        self._refreshed_at = time.monotonic()
        node = self._node(SERVER_SLOT)
        super().__init__(self._cluster.get_redis_connection(node))

    def for_feed(self) -> Connection:
        """Return this connection: feeds take sockets of the same pools."""
        return self

    def release(self) -> None:
        """Close the sockets that nobody uses; a connection in use stays open."""
        for node in self._cluster.get_nodes():  # type: ignore[no-untyped-call]
            if node.redis_connection is not None:
                node.redis_connection.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Close every connection; those of feeds end with their present reads."""
        for breaker in list(self._breakers.values()):
            breaker.close()
        self.release()

    def lane(self, project: str) -> Hashable:
        """Return what one reader of streams can follow: the streams of one project."""
        return project

    def scan_names(self, pattern: str, size: int) -> Iterator[bytes]:
        """Yield the names of keys: of one node, if the pattern names a slot, else of all."""
        if "}" in pattern:
            yield from self._scan_node(lambda: self._node(pattern.encode()), pattern, size)
            return
        for node in self._primaries():
            yield from self._scan_node(lambda node=node: node, pattern, size)  # type: ignore[misc]

    def read_many(self, commands: Iterable[Command], atomic: bool = False) -> list[Any]:
        """Return the replies to commands; those of one project are answered at one moment."""
        batch = list(commands)
        slots = [_first_key(command) for command in batch]
        # A command without a key, such as TIME, is answered with the others.
        default = next((slot for slot in slots if slot is not None), SERVER_SLOT)
        groups: dict[int, list[int]] = {}
        for number, key in enumerate(slots):
            groups.setdefault(key_slot(default if key is None else key), []).append(number)
        replies: list[Any] = [None] * len(batch)
        for numbers in groups.values():
            some = [batch[number] for number in numbers]
            key = next((slots[number] for number in numbers if slots[number]), default)
            found = self._read(
                lambda client, some=some: self._execute(client, some, atomic),  # type: ignore[misc]
                key,
            )
            for number, reply in zip(numbers, found, strict=True):
                replies[number] = reply
        return replies

    def _key(self, command: Sequence[Any]) -> bytes | None:
        return _first_key(command)

    def once(
        self, action: Callable[[redis.Redis], T], key: bytes | None = None, what: str = PIPELINE
    ) -> T:
        """Return what ``action`` returns for the client of the node that has a key.

        Raises:
            StoreUnavailable: the node cannot be reached or refuses the command.
        """
        for _ in range(MOST_MOVES):
            try:
                node = self._node(key or SERVER_SLOT)
                client = self._cluster.get_redis_connection(node)
            except (RedisError, RedisClusterException):
                self._refresh()
                raise StoreUnavailable(
                    "The store cannot be used now: a part of the Cluster has no node."
                ) from None
            try:
                return self._attempt(client, self._breaker_of(node), action, what)
            except StoreUnavailable as error:
                cause = error.__cause__
                if isinstance(cause, MOVING):
                    if isinstance(cause, MovedError):
                        self._cluster.nodes_manager.move_slot(cause)
                    else:
                        time.sleep(REFRESH_SECONDS)
                    continue
                if isinstance(cause, (RedisConnectionError, RedisTimeoutError, ClusterDownError)):
                    self._refresh()
                raise
        raise StoreUnavailable("The store cannot be used now: its keys move to other nodes.")

    def _scan_node(
        self, get_node: Callable[[], ClusterNode], pattern: str, size: int
    ) -> Iterator[bytes]:
        cursor = 0
        while True:
            node = get_node()
            client = self._cluster.get_redis_connection(node)

            def scan(client: redis.Redis, cursor: int = cursor) -> Any:
                return client.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", size)  # type: ignore[no-untyped-call]

            breaker = self._breaker_of(node)
            cursor, names = self._attempt(client, breaker, scan, "SCAN")
            yield from names
            if cursor == 0:
                return

    def _node(self, key: bytes) -> ClusterNode:
        node: ClusterNode = self._cluster.get_node_from_key(key)  # type: ignore[no-untyped-call]
        return node

    def _primaries(self) -> list[ClusterNode]:
        return list(self._cluster.get_primaries())  # type: ignore[no-untyped-call]

    def _breaker_of(self, node: ClusterNode) -> Breaker:
        breaker = self._breakers.get(node.name)
        if breaker is None:
            with self._lock:
                breaker = self._breakers.setdefault(node.name, self._new_breaker(node))
        return breaker

    def _new_breaker(self, node: ClusterNode) -> Breaker:
        def ask() -> None:
            self._refresh()
            primaries = {each.name for each in self._primaries()}
            if node.name not in primaries:
                return  # nothing is sent to it any more
            options = {**self._options, "socket_timeout": ASK_SECONDS}
            with redis.Redis.from_url(_url(node.host, node.port), **options) as asking:
                asking.ping()

        def reconnect() -> None:
            client = self._cluster.get_redis_connection(node)
            client.connection_pool.disconnect(inuse_connections=False)

        return Breaker(ask, reconnect)

    def _refresh(self) -> None:
        """Look which node has which slot, unless that was done just now."""
        now = time.monotonic()
        if now - self._refreshed_at < REFRESH_SECONDS:
            return
        self._refreshed_at = now
        with suppress(RedisError, RedisClusterException):
            self._cluster.nodes_manager.initialize()


WITHOUT_KEYS = frozenset({"PING", "TIME", "INFO", "SCAN"})


def _url(host: str, port: int) -> str:
    return f"redis://{f'[{host}]' if ':' in host else host}:{port}"


def _first_key(command: Sequence[Any]) -> bytes | None:
    """Return the first key of a command, which names its slot; None: it has none."""
    name = command[0]
    if name in WITHOUT_KEYS:
        return None
    if name == "XREAD":
        key = command[command.index("STREAMS") + 1]
    elif name == "EVAL":
        key = command[3]
    else:
        key = command[1]
    return key if isinstance(key, bytes) else str(key).encode()
