"""Connections to the store: timeouts, retries, error messages, and the server versions allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

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

from tidegate_server.errors import StartupRefused, StoreUnavailable

T = TypeVar("T")
Command: TypeAlias = tuple[Any, ...]

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
SCHEMES = ("unix", "redis", "rediss")
MIN_VERSION = (7, 2)
"""The first Redis version with ``WAITAOF``; every Valkey has it."""

INCLUDED = {"commit": ("sha256",)}
"""The files that a script needs before its own."""

REASONS: tuple[tuple[type[RedisError], str], ...] = (
    (OutOfMemoryError, "it has no memory left for writes"),
    (ReadOnlyError, "it is a read-only replica"),
    (NoPermissionError, "its user lacks permissions that Tidegate needs"),
    (AuthenticationError, "it does not accept the user or the password"),
    (BusyLoadingError, "it is still loading its data"),
    (RedisTimeoutError, "it did not answer in time"),
    (RedisConnectionError, "it cannot be reached, or the connection broke"),
)
"""The meaning of the client library's errors; the first that fits is used."""


def open_client(url: str, answer_seconds: float = ANSWER_SECONDS) -> redis.Redis:
    """Return a client that never repeats a command by itself.

    Raises:
        StartupRefused: the address has none of the ``SCHEMES``.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise StartupRefused(
            f"TIDEGATE_STORE_URL starts with {scheme!r}; use unix:///path/to.sock, "
            "redis://host:6379/0 or rediss://host:6379/0. "
            "Sentinel and Cluster are not supported."
        )
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        protocol=2,
    )


class Connection:
    """Runs commands on the store and raises ``StoreUnavailable`` if it cannot.

    A read whose connection broke is repeated once. A write never is: the store may have carried
    it out. Threads and greenlets may share a connection; each command takes a socket of a pool.
    """

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._scripts: dict[str, Script] = {}

    def read(self, *command: Any) -> Any:
        """Return the reply to a command that changes nothing."""
        return self._read(lambda: self.client.execute_command(*command))  # type: ignore[no-untyped-call]

    def read_many(self, commands: Iterable[Command], atomic: bool = False) -> list[Any]:
        """Return the replies to commands sent in one round trip, in their order.

        Args:
            commands: commands that change nothing; none is sent if there are none.
            atomic: whether all of them are answered at one moment.
        """
        batch = list(commands)
        return self._read(lambda: self._execute(batch, atomic)) if batch else []

    def write(self, *command: Any) -> Any:
        """Run a command once and return its reply."""
        return self.once(lambda: self.client.execute_command(*command))  # type: ignore[no-untyped-call]

    def write_many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands once, all or none, and return their replies."""
        return self.once(lambda: self._execute(commands, atomic=True))

    def run_script(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run one of this package's Lua scripts once and return its reply."""
        return self.once(lambda: self.script(name)(keys=keys, args=arguments))

    def script(self, name: str) -> Script:
        """Return the script of ``<name>.lua``."""
        if name not in self._scripts:
            room = files("tidegate_server.store")
            parts = (*INCLUDED.get(name, ()), name)
            texts = [(room / f"{part}.lua").read_text(encoding="utf-8") for part in parts]
            self._scripts[name] = Script(self.client, "\n".join(texts))
        return self._scripts[name]

    def once(self, action: Callable[[], T]) -> T:
        """Return what ``action`` returns.

        Raises:
            StoreUnavailable: the store cannot be reached or refuses the command.
        """
        try:
            return action()
        except RedisError as error:
            # The library's own text may contain an address with a password.
            raise StoreUnavailable(f"The store cannot be used now: {_why(error)}.") from error

    def _read(self, action: Callable[[], T]) -> T:
        def twice() -> T:
            try:
                return action()
            except (RedisConnectionError, RedisTimeoutError):
                return action()

        return self.once(twice)

    def _execute(self, commands: Sequence[Command], atomic: bool) -> list[Any]:
        pipeline = self.client.pipeline(transaction=atomic)
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        return list(pipeline.execute())


def _why(error: RedisError) -> str:
    for kind, reason in REASONS:
        if isinstance(error, kind):
            return reason
    if str(error).startswith("MISCONF"):
        return "it cannot write to its disk"
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
